        SELECT file_no, row, doc_id,
            if(stage IS NULL, coalesce(trimmed_bytes, n_bytes), n_bytes) AS n_bytes,
            if(stage IS NULL, coalesce(trimmed_tokens, n_tokens), n_tokens) AS n_tokens,
            if(stage IS NULL, coalesce(n_tokens - trimmed_tokens, 0), 0) AS n_tokens_cut,
            coarse_score,
            stage IS NULL AS kept, stage,
            reasons[1] AS reason, reasons,
            duplicate_of, similarity,
            p_bad, coalesce(own_grade, grade) AS grade, attack, evidence,
            likeness, importance, domain, cluster, quality, rung, weight
        FROM (
            SELECT *,
                CASE WHEN len(input_reasons) > 0 THEN 'input'
                     WHEN len(rule_reasons) > 0 THEN 'rules'
                     WHEN duplicate_stage IS NOT NULL THEN duplicate_stage
                     WHEN band_reason IS NOT NULL THEN 'bands'
                     WHEN cut_share > 1::FLOAT OR trimmed_tokens = 0 THEN 'lines'
                     WHEN p_bad > p_bad_bound THEN 'purify'
                     WHEN distil_reason IS NOT NULL THEN 'distil' END AS stage,
                CASE WHEN len(input_reasons) > 0 THEN input_reasons
                     WHEN len(rule_reasons) > 0 THEN rule_reasons
                     WHEN duplicate_reason IS NOT NULL THEN [duplicate_reason]
                     WHEN band_reason IS NOT NULL THEN [band_reason]
                     WHEN cut_share > 1::FLOAT OR trimmed_tokens = 0 THEN ['too_much_boilerplate']
                     WHEN p_bad > p_bad_bound THEN ['p_bad_too_high']
                     WHEN distil_reason IS NOT NULL THEN [distil_reason]
                     ELSE [] END AS reasons
            FROM judged LEFT JOIN here_duplicates USING (file_no, row) LEFT JOIN here_banded USING (file_no, row)
                LEFT JOIN here_trimmed USING (file_no, row) LEFT JOIN here_purified USING (file_no, row)
                LEFT JOIN here_distilled USING (file_no, row)
            WHERE position BETWEEN 3 AND 7
        )
        ORDER BY position, row
