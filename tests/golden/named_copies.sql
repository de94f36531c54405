        INSERT INTO named_copies
        SELECT copy_file_no, copy_row, same_text, similarity, false, printf('%016x%016x', raw_hash_high, raw_hash_low) || if(k > 1, '#' || k, '')
        FROM here_copies JOIN (FROM part) USING (file_no, row) LEFT JOIN here_repeated USING (file_no, row)
