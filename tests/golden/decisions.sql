        SELECT file_no, row, doc_id, n_bytes, n_tokens, coarse_score,
            stage IS NULL AS kept, stage,
            reasons[1] AS reason, reasons,
            duplicate_of, if(duplicate_of IS NULL, NULL, 1)::FLOAT AS similarity
        FROM (
            SELECT * EXCLUDE (reason),
                CASE WHEN len(input_reasons) > 0 THEN 'input'
                     WHEN len(rule_reasons) > 0 THEN 'rules'
                     WHEN reason IS NOT NULL THEN 'exact' END AS stage,
                CASE WHEN len(input_reasons) > 0 THEN input_reasons
                     WHEN len(rule_reasons) > 0 THEN rule_reasons
                     WHEN reason IS NOT NULL THEN [reason]
                     ELSE [] END AS reasons
            FROM judged LEFT JOIN exact USING (file_no, row)
            WHERE position BETWEEN 3 AND 7
        )
        ORDER BY position, row
