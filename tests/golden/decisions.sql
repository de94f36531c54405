        SELECT file_no, row, doc_id,
            if(stage IS NULL, coalesce(left_bytes, trimmed_bytes, n_bytes), n_bytes) AS n_bytes,
            if(stage IS NULL, n_bytes - coalesce(left_bytes, trimmed_bytes, n_bytes), 0) AS n_bytes_cut,
            if(stage IS NULL, coalesce(coalesce(trimmed_bytes, n_bytes) - left_bytes, 0), 0) AS n_passage_bytes_cut,
            if(stage IS NULL, coalesce(left_tokens, trimmed_tokens, n_tokens), n_tokens) AS n_tokens,
            if(stage IS NULL, n_tokens - coalesce(left_tokens, trimmed_tokens, n_tokens), 0) AS n_tokens_cut,
            if(stage IS NULL, coalesce(coalesce(trimmed_tokens, n_tokens) - left_tokens, 0), 0) AS n_passage_tokens_cut,
            coarse_score,
            stage IS NULL AS kept, stage,
            reasons[1] AS reason, reasons,
            duplicate_of, similarity,
            p_bad, coalesce(own_grade, grade) AS grade, attack, evidence,
            likeness, importance, domain, cluster, quality, rung, if(stage IS NULL, coalesce(weight, share), NULL) AS weight
        FROM (
            SELECT *,
                CASE WHEN len(input_reasons) > 0 THEN 'input'
                     WHEN len(rule_reasons) > 0 THEN 'rules'
                     WHEN duplicate_stage = 'exact' THEN 'exact'
                     WHEN duplicate_stage = 'near' THEN 'near'
                     WHEN band_reason IS NOT NULL THEN 'bands'
                     WHEN line_reason IS NOT NULL THEN 'lines'
                     WHEN purify_reason IS NOT NULL THEN 'purify'
                     WHEN distil_reason IS NOT NULL THEN 'distil' END AS stage,
                CASE WHEN len(input_reasons) > 0 THEN input_reasons
                     WHEN len(rule_reasons) > 0 THEN rule_reasons
                     WHEN duplicate_stage = 'exact' THEN [duplicate_reason]
                     WHEN duplicate_stage = 'near' THEN [duplicate_reason]
                     WHEN band_reason IS NOT NULL THEN [band_reason]
                     WHEN line_reason IS NOT NULL THEN [line_reason]
                     WHEN purify_reason IS NOT NULL THEN [purify_reason]
                     WHEN distil_reason IS NOT NULL THEN [distil_reason]
                     ELSE [] END AS reasons
            FROM judged
                LEFT JOIN here_duplicates USING (file_no, row)
                LEFT JOIN here_banded USING (file_no, row)
                LEFT JOIN here_trimmed USING (file_no, row)
                LEFT JOIN here_purified USING (file_no, row)
                LEFT JOIN here_distilled USING (file_no, row)
                LEFT JOIN here_shared USING (file_no, row)
            WHERE position BETWEEN 3 AND 7
        )
        ORDER BY position, row
