DELETE FROM raw.instructions;
INSERT INTO raw.instructions BY NAME
SELECT p.key AS prompt_id, p.dataset, i.prompt_id AS source_prompt_id, i.instruction,
    coalesce(apart.reference_answer, own.reference_answer) AS reference_answer,
    coalesce(i.task_type, 'unspecified') AS task_type,
    i.task_subtype, i.domain, i.difficulty, i.meta, p.instruction_hash,
    prompt_hash(coalesce(apart.reference_answer, own.reference_answer, '')) AS reference_hash, i.file_path, i.row_number
FROM resolve_prompts AS p
JOIN landing.instructions AS i USING (file_path, row_number)
-- The row's own reference, unless it is a placeholder.
LEFT JOIN (
    SELECT l.file_path, l.row_number, l.reference_answer FROM landing.instructions AS l
    JOIN resolve_instructions AS r USING (file_path, row_number) WHERE r.reference IS NOT NULL
) AS own USING (file_path, row_number)
LEFT JOIN resolve_references AS r ON r.key = p.key AND r.occurrence = 1
LEFT JOIN landing.reference_answers AS apart ON apart.file_path = r.file_path AND apart.row_number = r.row_number
QUALIFY row_number() OVER (PARTITION BY p.key ORDER BY p.file_path, p.row_number) = 1;
