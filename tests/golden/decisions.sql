        SELECT file_no, row, doc_id, n_bytes, n_tokens, coarse_score,
            stage IS NULL AS kept, stage,
            reasons[1] AS reason, reasons,
            duplicate_of, similarity
        FROM (
            SELECT *,
                CASE WHEN len(input_reasons) > 0 THEN 'input'
                     WHEN len(rule_reasons) > 0 THEN 'rules'
                     ELSE duplicate_stage END AS stage,
                CASE WHEN len(input_reasons) > 0 THEN input_reasons
                     WHEN len(rule_reasons) > 0 THEN rule_reasons
                     WHEN duplicate_reason IS NOT NULL THEN [duplicate_reason]
                     ELSE [] END AS reasons
            FROM judged LEFT JOIN duplicates USING (file_no, row)
            WHERE position BETWEEN 3 AND 7
        )
        ORDER BY position, row
