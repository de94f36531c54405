        CREATE TEMP TABLE duplicates AS
        SELECT file_no, row, if(same_text IS NULL, 'near', 'exact') AS duplicate_stage,
            CASE WHEN same_text IS NULL THEN 'near_duplicate'
                 WHEN same_text THEN 'exact_duplicate' ELSE 'normalised_duplicate' END
                || if(of_earlier, '_of_earlier_run', '') AS duplicate_reason,
            similarity, doc_id AS duplicate_of
        FROM (FROM named_copies ORDER BY file_no, row);
        DROP TABLE named_copies; DROP VIEW here_copies; DROP TABLE copies
