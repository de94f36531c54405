        CREATE TEMP TABLE exact AS
        WITH copied AS (
            SELECT * FROM passing
            JOIN (SELECT normal_hash_high, normal_hash_low FROM passing GROUP BY ALL HAVING count(*) > 1)
                USING (normal_hash_high, normal_hash_low)
        ), ranked AS (
            SELECT file_no, row, row_number() OVER best AS place,
                first_value(file_no) OVER best AS survivor_file_no, first_value(row) OVER best AS survivor_row,
                text_hash_high = first_value(text_hash_high) OVER best
                    AND text_hash_low = first_value(text_hash_low) OVER best AS same_text
            FROM copied
            WINDOW best AS (PARTITION BY normal_hash_high, normal_hash_low ORDER BY coarse_score DESC, position, row)
        )
        SELECT ranked.file_no, ranked.row, survivor.doc_id AS duplicate_of,
            if(same_text, 'exact_duplicate', 'normalised_duplicate') AS reason
        FROM ranked JOIN (
            SELECT file_no, row, printf('%016x%016x', raw_hash_high, raw_hash_low) || if(k > 1, '#' || k, '') AS doc_id FROM texts LEFT JOIN repeated USING (file_no, row)
        ) survivor ON survivor.file_no = survivor_file_no AND survivor.row = survivor_row
        WHERE place > 1
