        INSERT INTO named_copies
        SELECT copy_file_no, copy_row, same_text, similarity, false, doc_id
        FROM here_copies JOIN (SELECT file_no, row, printf('%016x%016x', raw_hash_high, raw_hash_low) || if(k > 1, '#' || k, '') AS doc_id FROM (FROM part) LEFT JOIN here_repeated USING (file_no, row)) USING (file_no, row)
