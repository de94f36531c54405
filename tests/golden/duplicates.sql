        INSERT INTO duplicates
        SELECT file_no, row, if(same_text IS NULL, 'near', 'exact'),
            CASE WHEN same_text IS NULL THEN 'near_duplicate'
                 WHEN same_text THEN 'exact_duplicate' ELSE 'normalised_duplicate' END
                || if(of_earlier, '_of_earlier_run', ''),
            similarity, doc_id
        FROM named_copies ORDER BY file_no, row
