        SELECT file_no, row, position, xor(coalesce(lines_sum, 0), coalesce(passages_sum, 0))::UBIGINT AS lines_sum, coalesce(left_tokens, trimmed_tokens, n_tokens) AS n_tokens, raw_hash_low, p_bad, grade
        FROM survivors WHERE position BETWEEN 3 AND 7 ORDER BY position, row
