FROM here_passing
    ANTI JOIN here_duplicates USING (file_no, row)
    ANTI JOIN here_banded USING (file_no, row)
    LEFT JOIN here_trimmed USING (file_no, row)
    LEFT JOIN here_purified USING (file_no, row)
WHERE file_no >= 0 AND NOT coalesce(line_reason IS NOT NULL, false) AND NOT coalesce(purify_reason IS NOT NULL, false)
