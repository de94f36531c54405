        CREATE TEMP TABLE exact AS
        WITH left_over AS (
            SELECT file_no, position, row, doc_id, local.n_bytes, coarse_score,
                text_hash_high, text_hash_low, normal_hash_high, normal_hash_low
            FROM local JOIN signals USING (file_no, position, row)
            WHERE len(input_reasons) + len(rule_reasons) = 0
        ), copied AS (
            SELECT * FROM left_over
            JOIN (SELECT normal_hash_high, normal_hash_low FROM left_over GROUP BY ALL HAVING count(*) > 1)
                USING (normal_hash_high, normal_hash_low)
        ), ranked AS (
            SELECT file_no, row, row_number() OVER best AS place, first_value(doc_id) OVER best AS duplicate_of,
                text_hash_high = first_value(text_hash_high) OVER best
                    AND text_hash_low = first_value(text_hash_low) OVER best AS same_text
            FROM copied
            WINDOW best AS (PARTITION BY normal_hash_high, normal_hash_low ORDER BY coarse_score DESC, position, row)
        )
        SELECT file_no, row, duplicate_of, if(same_text, 'exact_duplicate', 'normalised_duplicate') AS reason
        FROM ranked WHERE place > 1
