        CREATE TEMP TABLE named AS
        WITH hashed AS (
            SELECT file_no, position, row, raw_hash_high AS high, raw_hash_low AS low FROM signals
        ), repeated AS (
            SELECT file_no, row, row_number() OVER (PARTITION BY high, low ORDER BY position, row) AS k
            FROM hashed JOIN (SELECT high, low FROM hashed GROUP BY ALL HAVING count(*) > 1) USING (high, low)
        )
        SELECT file_no, position, row, printf('%016x%016x', high, low) || if(k > 1, '#' || k, '') AS doc_id
        FROM hashed LEFT JOIN repeated USING (file_no, row)
