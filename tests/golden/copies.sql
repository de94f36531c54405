        CREATE TEMP TABLE copies AS
        SELECT survivor_file_no AS file_no, survivor_row AS row, file_no AS copy_file_no, row AS copy_row,
            same_text, similarity
        FROM (
            SELECT survivor_file_no, survivor_row, file_no, row, same_text, 1::FLOAT AS similarity FROM exact
            UNION ALL
            SELECT survivor_file_no, survivor_row, file_no, row, NULL, similarity FROM near
        ) ORDER BY survivor_file_no, survivor_row;
        DROP TABLE exact; DROP TABLE near;
        CREATE TEMP TABLE named_copies
            (file_no INTEGER, row BIGINT, same_text BOOLEAN, similarity FLOAT, of_earlier BOOLEAN, doc_id VARCHAR)
