-- Only if: FROM landing.rejected_rows WHERE reason = 'failed_response'
-- The requests of batches that brought no answer. An error file has the failed ones of a batch and names no model: it may
-- be that of each file of answers in its folder that answers none of its requests, and has one row for each such model.
INSERT INTO resolve_failed_requests BY NAME
WITH failed AS (
    SELECT r.file_path, r.row_number, f.dataset AS place, f.model_id, f.format,
        trim(coalesce(r.raw_text ->> '$.key', r.raw_text ->> '$.custom_id')) AS prompt_id
    FROM landing.rejected_rows AS r JOIN resolve_files AS f USING (file_path)
    WHERE r.reason = 'failed_response' AND f.format IN ('openai_batch', 'anthropic_batch', 'gemini_batch')
        AND json_valid(r.raw_text)
), may_be_of AS (
    SELECT DISTINCT errors.file_path, batch.model_id
    FROM (SELECT DISTINCT file_path, place FROM failed WHERE model_id IS NULL AND format = 'openai_batch') AS errors
    JOIN resolve_files AS batch ON batch.dataset = errors.place
        AND batch.format = 'openai_batch' AND batch.model_id IS NOT NULL
    WHERE NOT EXISTS (
        SELECT 1 FROM landing.model_outputs AS o
        JOIN failed ON failed.file_path = errors.file_path AND failed.prompt_id = o.prompt_id
        WHERE o.file_path = batch.file_path
    )
)
SELECT file_path, row_number, place, model_id, prompt_id, false AS is_of_error_file FROM failed
WHERE model_id IS NOT NULL
UNION ALL
SELECT file_path, row_number, place, may_be_of.model_id, prompt_id, true FROM failed JOIN may_be_of USING (file_path);
