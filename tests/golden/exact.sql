        INSERT INTO exact
        WITH copied AS (
            SELECT * FROM passing
            JOIN (SELECT normal_hash_high, normal_hash_low FROM passing GROUP BY ALL HAVING count(*) > 1)
                USING (normal_hash_high, normal_hash_low)
        ), ranked AS (
            SELECT file_no, row, row_number() OVER best AS rank,
                first_value(file_no) OVER best AS survivor_file_no, first_value(row) OVER best AS survivor_row,
                text_hash_high = first_value(text_hash_high) OVER best
                    AND text_hash_low = first_value(text_hash_low) OVER best AS same_text
            FROM copied
            WINDOW best AS (PARTITION BY normal_hash_high, normal_hash_low ORDER BY position < 0 DESC, coarse_score DESC, position, row)
        )
        SELECT file_no, row, survivor_file_no, survivor_row, same_text FROM ranked WHERE rank > 1 AND file_no >= 0
