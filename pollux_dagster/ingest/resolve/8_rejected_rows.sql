-- A failed request of a batch that was sent again: its model has an answer, and so has each model that it may be of. One
-- of an error file that failed in the batch's own file too counts there.
CREATE OR REPLACE TEMP TABLE resolve_sent_again AS
WITH found AS (
    SELECT r.file_path, r.row_number, r.model_id,
        'sent again and answered at ' || min(o.file_path || ':' || o.row_number) AS found
    FROM resolve_failed_requests AS r
    JOIN resolve_meanings AS m ON m.place = r.place AND m.prompt_id = r.prompt_id
    JOIN raw.model_outputs AS o ON o.prompt_id = m.key AND o.model_id = r.model_id
    GROUP BY r.file_path, r.row_number, r.model_id
    UNION ALL
    SELECT r.file_path, r.row_number, r.model_id,
        'the same request failed and counts at ' || min(own.file_path || ':' || own.row_number)
    FROM resolve_failed_requests AS r
    JOIN resolve_failed_requests AS own USING (place, model_id, prompt_id)
    WHERE r.is_of_error_file AND NOT own.is_of_error_file
    GROUP BY r.file_path, r.row_number, r.model_id
)
SELECT file_path, row_number, min(found) AS found
FROM resolve_failed_requests LEFT JOIN found USING (file_path, row_number, model_id)
GROUP BY file_path, row_number HAVING bool_and(found IS NOT NULL);

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

-- A note in the same words on several rows of a file is one, at the first of them.
DELETE FROM raw.notes;
INSERT INTO raw.notes BY NAME
SELECT file_path, min(row_number) AS row_number, kind,
    detail || CASE WHEN count(*) > 1 THEN ' (and ' || count(*) - 1 || ' more rows)' ELSE '' END AS detail
FROM landing.notes GROUP BY file_path, kind, detail
UNION ALL
SELECT file_path, row_number, kind, detail FROM resolve_notes
UNION ALL
-- A model may write these words; more often a program wrote them where it had no answer.
SELECT file_path, row_number, 'doubtful_answer', 'the answer is ' || shown(left(answer, 60))
    || ' and judged as that; if a program wrote it because the request failed, delete the row'
FROM raw.model_outputs
WHERE (length(answer) < 20 AND lower(trim(answer)) IN ('none', 'nan', 'null', 'undefined', 'n/a', '<na>', 'error'))
    OR starts_with(answer, 'Error code: ') OR starts_with(answer, 'Traceback (most recent call last)');
