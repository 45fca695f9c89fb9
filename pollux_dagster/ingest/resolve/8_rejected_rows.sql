-- A failed request of a batch that was sent again: its model has an answer. Where a file is of failed requests alone, its
-- model is not known, and all models with answers from such batches must have one.
CREATE OR REPLACE TEMP TABLE resolve_sent_again AS
WITH answers AS (
    SELECT o.model_id, o.prompt_id, f.format, o.file_path || ':' || o.row_number AS found_at
    FROM raw.model_outputs AS o JOIN resolve_files AS f USING (file_path)
), models AS (
    SELECT format, count(DISTINCT model_id) AS models FROM answers GROUP BY format
)
SELECT r.file_path, r.row_number, min(a.found_at) AS found_at
FROM resolve_failed_requests AS r
JOIN resolve_meanings AS m ON m.place = r.place AND m.prompt_id = r.prompt_id
JOIN answers AS a ON a.prompt_id = m.key AND a.format = r.format AND a.model_id = coalesce(r.model_id, a.model_id)
JOIN models ON models.format = r.format
GROUP BY r.file_path, r.row_number
HAVING any_value(r.model_id) IS NOT NULL OR count(DISTINCT a.model_id) = any_value(models.models);

-- Every unused row, once: with its own file's reason, else with the reason from comparing files.
DELETE FROM raw.rejected_rows;
INSERT INTO raw.rejected_rows BY NAME
WITH everything AS (
    SELECT 0 AS stage, r.file_path, r.row_number, CASE WHEN a.found_at IS NULL THEN r.reason ELSE 'superseded' END AS reason,
        r.detail || coalesce('; sent again and answered at ' || a.found_at, '') AS detail, r.raw_text
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
