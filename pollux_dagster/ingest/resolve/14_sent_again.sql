-- Only if: FROM landing.rejected_rows WHERE reason = 'failed_response'
-- A failed request of a batch that was sent again: its model has an answer, and so has each model that it may be of. One
-- of an error file that failed in the batch's own file too counts there.
INSERT INTO resolve_sent_again
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
