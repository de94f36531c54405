        CREATE TEMP VIEW judged AS
        WITH named AS (
            SELECT signals.*, position, printf('%016x%016x', raw_hash_high, raw_hash_low) || if(k > 1, '#' || k, '') AS doc_id
            FROM signals JOIN files USING (file_no) LEFT JOIN here_repeated USING (file_no, row)
        )
        SELECT * REPLACE (coalesce(n_bytes, raw_n_bytes) AS n_bytes, coalesce(n_tokens, 0) AS n_tokens),
            (list_avg([
                coalesce(CASE WHEN n_words IS NOT NULL THEN greatest(0, least(1, (ln(greatest(n_words, 1)) - 2.302585092994046) / (6.907755278982137 - 2.302585092994046))) END, 0),
                coalesce(CASE WHEN stop_word_ratio IS NOT NULL THEN greatest(0, least(1, (stop_word_ratio - 0) / (0.35 - 0))) END, 0),
                coalesce(CASE WHEN terminal_line_ratio IS NOT NULL THEN greatest(0, least(1, (terminal_line_ratio - 0) / (1 - 0))) END, 0),
                coalesce(CASE WHEN alpha_word_ratio IS NOT NULL THEN greatest(0, least(1, (alpha_word_ratio - 0.6) / (0.95 - 0.6))) END, 0),
                coalesce(CASE WHEN short_line_ratio IS NOT NULL THEN greatest(0, least(1, (short_line_ratio - 1) / (0 - 1))) END, 0),
                coalesce(CASE WHEN mean_line_length IS NOT NULL THEN greatest(0, least(1, (ln(greatest(mean_line_length, 1)) - 2.995732273553991) / (5.298317366548036 - 2.995732273553991))) END, 0),
                coalesce(CASE WHEN uppercase_ratio IS NOT NULL THEN greatest(0, least(1, (uppercase_ratio - 0.18) / (0.03 - 0.18))) END, 0),
                coalesce(CASE WHEN symbol_ratio IS NOT NULL THEN greatest(0, least(1, (symbol_ratio - 0.03) / (0 - 0.03))) END, 0)
            ]))::FLOAT AS coarse_score,
            list_filter([
                CASE WHEN coalesce(is_null OR (is_utf8 AND n_words = 0), false) THEN 'empty_text' END,
                CASE WHEN coalesce(NOT is_utf8, false) THEN 'invalid_utf8' END,
                CASE WHEN coalesce(raw_n_bytes > 10000000, false) THEN 'too_large' END
            ], lambda reason: reason IS NOT NULL) AS input_reasons,
            list_filter([
                CASE WHEN coalesce("n_words" < 50::BIGINT, false) THEN 'too_few_words' END,
                CASE WHEN coalesce("n_words" > 100000::BIGINT, false) THEN 'too_many_words' END,
                CASE WHEN coalesce((coalesce(spaceless_ratio, 0) < 0.1) AND "mean_word_length" < 3.0::FLOAT, false) THEN 'words_too_short' END,
                CASE WHEN coalesce((coalesce(spaceless_ratio, 0) < 0.1) AND "mean_word_length" > 10.0::FLOAT, false) THEN 'words_too_long' END,
                CASE WHEN coalesce("hash_word_ratio" > 0.1::FLOAT, false) THEN 'too_many_hashes' END,
                CASE WHEN coalesce("ellipsis_word_ratio" > 0.1::FLOAT, false) THEN 'too_many_ellipses' END,
                CASE WHEN coalesce("bullet_line_ratio" > 0.9::FLOAT, false) THEN 'too_many_bullet_lines' END,
                CASE WHEN coalesce("ellipsis_line_ratio" > 0.3::FLOAT, false) THEN 'too_many_ellipsis_lines' END,
                CASE WHEN coalesce("alpha_word_ratio" < 0.8::FLOAT, false) THEN 'too_few_alpha_words' END,
                CASE WHEN coalesce("n_stop_words" < 2::BIGINT, false) THEN 'too_few_stop_words' END,
                CASE WHEN coalesce((input.license = 'MIT' AND n_words < 100), false) THEN 'own' END
            ], lambda reason: reason IS NOT NULL) AS rule_reasons
        FROM named
