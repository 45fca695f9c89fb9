-- Every unused row, once: with its own file's reason, else with the reason from comparing files.
DELETE FROM raw.rejected_rows;
INSERT INTO raw.rejected_rows BY NAME
WITH everything AS (
    SELECT 0 AS stage, r.file_path, r.row_number, CASE WHEN a.found IS NULL THEN r.reason ELSE 'superseded' END AS reason,
        r.detail || coalesce('; ' || a.found, '') AS detail, r.raw_text
    FROM landing.rejected_rows AS r LEFT JOIN resolve_sent_again AS a USING (file_path, row_number)
    UNION ALL
    SELECT 1, * FROM resolve_rejected
)
SELECT file_path, row_number, reason, detail, raw_text FROM everything
QUALIFY row_number() OVER (PARTITION BY file_path, row_number ORDER BY stage, reason, detail) = 1
ORDER BY file_path, row_number;

DELETE FROM raw.notes;
INSERT INTO raw.notes BY NAME
SELECT file_path, row_number, kind, detail FROM landing.notes
UNION ALL
SELECT file_path, row_number, kind, detail FROM resolve_notes
UNION ALL
-- A model may write these words; more often a program wrote them where it had no answer.
SELECT file_path, row_number, 'doubtful_answer', 'the answer is ' || shown(left(answer, 60))
    || ' and judged as that; if a program wrote it because the request failed, delete the row'
FROM raw.model_outputs
WHERE (length(answer) < 20 AND lower(trim(answer)) IN ('none', 'nan', 'null', 'undefined', 'n/a', '<na>', 'error'))
    OR starts_with(answer, 'Error code: ') OR starts_with(answer, 'Traceback (most recent call last)');
