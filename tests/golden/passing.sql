        SELECT file_no, position, row, n_bytes, coarse_score, text_hash_high, text_hash_low, normal_hash_high, normal_hash_low, n_words, stop_word_ratio, NULL::FLOAT AS bits_per_byte, n_tokens, raw_hash_low, coarse_score AS score_0
        FROM judged WHERE position BETWEEN 3 AND 7 AND len(input_reasons) + len(rule_reasons) = 0
