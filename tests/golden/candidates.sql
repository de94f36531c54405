        SELECT file_no, row, position, xor(coalesce(lines_sum, 0), coalesce(passages_sum, 0))::UBIGINT AS lines_sum, coalesce(left_tokens, trimmed_tokens, n_tokens) AS n_tokens, raw_hash_low, score_0, coalesce(left_bytes, trimmed_bytes, n_bytes) AS n_bytes, p_bad, grade
        FROM survivors
        WHERE position BETWEEN 3 AND 7 ORDER BY position, row
