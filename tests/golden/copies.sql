        INSERT INTO copies
        SELECT survivor_file_no, survivor_row, file_no, row, same_text, similarity
        FROM (
            SELECT *, 1::FLOAT AS similarity FROM exact
            UNION ALL BY NAME
            FROM near
        ) ORDER BY survivor_file_no, survivor_row
