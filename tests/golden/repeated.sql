        INSERT INTO repeated
        SELECT file_no, row,
            row_number() OVER (PARTITION BY raw_hash_high, raw_hash_low ORDER BY position, row) AS k
        FROM texts
        JOIN (SELECT raw_hash_high, raw_hash_low FROM texts GROUP BY ALL HAVING count(*) > 1)
            USING (raw_hash_high, raw_hash_low)
        JOIN files USING (file_no)
        ORDER BY file_no, row
