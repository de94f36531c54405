        CREATE TEMP TABLE duplicates AS
        SELECT found.file_no, found.row, duplicate_stage,
            duplicate_reason || if(survivor_file_no < 0, '_of_earlier_run', '') AS duplicate_reason,
            similarity, doc_id AS duplicate_of
        FROM (
            SELECT file_no, row, survivor_file_no, survivor_row, 'exact' AS duplicate_stage,
                if(same_text, 'exact_duplicate', 'normalised_duplicate') AS duplicate_reason, 1::FLOAT AS similarity
            FROM exact
            UNION ALL
            SELECT file_no, row, survivor_file_no, survivor_row, 'near', 'near_duplicate', similarity FROM near
        ) found JOIN (
            SELECT file_no, row, printf('%016x%016x', raw_hash_high, raw_hash_low) || if(k > 1, '#' || k, '') AS doc_id FROM texts LEFT JOIN repeated USING (file_no, row)
            UNION ALL SELECT file_no, row, doc_id FROM earlier
        ) survivor ON survivor.file_no = survivor_file_no AND survivor.row = survivor_row
        ORDER BY found.file_no, found.row;
        DROP TABLE exact; DROP TABLE near
