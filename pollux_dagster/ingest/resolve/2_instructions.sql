-- One instruction per prompt_id. Files of instructions come before the wide set, which comes before formats
-- whose answers bring their instruction along; within one kind the first (file, row) wins.
-- Windows run over hashes: texts are long and, in the wide set, repeated in every row.
CREATE OR REPLACE TEMP TABLE resolve_instructions AS
WITH signed AS (
    SELECT file_path, row_number,
        md5(string_agg(criteria_name || chr(31) || rubrics, chr(30) ORDER BY position)) AS criteria
    FROM landing.instruction_criteria GROUP BY file_path, row_number
), ranked AS (
    SELECT i.file_path, i.row_number, i.prompt_id, sha256(i.instruction) AS instruction_hash,
        CASE f.format WHEN 'pollux_wide' THEN 1 WHEN 'alpaca_eval' THEN 2 WHEN 'lm_eval' THEN 2 ELSE 0 END AS kind,
        md5(concat_ws(chr(31), i.instruction, coalesce(i.reference_answer, ''))) AS item,
        md5(concat_ws(chr(31), coalesce(i.task_type, ''), coalesce(i.task_subtype, ''), coalesce(s.criteria, '')))
            AS frame
    FROM landing.instructions AS i
    JOIN landing.files AS f USING (file_path)
    LEFT JOIN signed AS s USING (file_path, row_number)
)
SELECT *, row_number() OVER prompts AS occurrence,
    item = first_value(item) OVER prompts AS same_item,
    frame = first_value(frame) OVER prompts AS same_frame,
    first_value(file_path) OVER prompts AS first_file, first_value(row_number) OVER prompts AS first_row
FROM ranked
WINDOW prompts AS (PARTITION BY prompt_id ORDER BY kind, file_path, row_number);

-- Repeats are natural in the wide set (a row a criterion) and where answers bring their instruction along.
INSERT INTO resolve_rejected
SELECT r.file_path, r.row_number,
    CASE WHEN r.same_item AND r.same_frame THEN 'duplicate' ELSE 'conflicting_duplicate' END,
    'prompt_id ' || left(r.prompt_id, 200) || ' is already defined at ' || r.first_file || ':' || r.first_row,
    left(
        to_json({prompt_id: i.prompt_id, instruction: i.instruction, reference_answer: i.reference_answer})::VARCHAR,
        4000
    )
FROM resolve_instructions AS r
JOIN landing.instructions AS i USING (file_path, row_number)
WHERE r.occurrence > 1 AND (r.kind = 0 OR (r.kind = 1 AND NOT r.same_item));

CREATE OR REPLACE TEMP TABLE resolve_rejected_instructions AS
SELECT DISTINCT file_path, row_number FROM resolve_rejected;

-- A carried instruction is looked for by its own id, then by its exact text, among those that were given as such.
CREATE OR REPLACE TEMP TABLE resolve_carried AS
WITH given AS (SELECT * FROM resolve_instructions WHERE occurrence = 1 AND kind < 2),
texts AS (
    SELECT instruction_hash, arg_min(prompt_id, (file_path, row_number)) AS prompt_id
    FROM given GROUP BY instruction_hash
)
SELECT c.file_path, c.row_number, coalesce(by_id.prompt_id, by_text.prompt_id, c.prompt_id) AS prompt_id,
    by_id.prompt_id IS NULL AND by_text.prompt_id IS NULL AS defines
FROM resolve_instructions AS c
LEFT JOIN given AS by_id ON by_id.prompt_id = c.prompt_id
LEFT JOIN texts AS by_text ON by_text.instruction_hash = c.instruction_hash
WHERE c.kind = 2;

DELETE FROM raw.instructions;
INSERT INTO raw.instructions BY NAME
SELECT i.prompt_id, i.instruction, i.reference_answer, coalesce(i.task_type, 'unspecified') AS task_type,
    i.task_subtype, i.domain, i.difficulty, i.meta, r.instruction_hash,
    sha256(coalesce(i.reference_answer, '')) AS reference_hash, i.file_path, i.row_number
FROM resolve_instructions AS r
JOIN landing.instructions AS i USING (file_path, row_number)
WHERE r.occurrence = 1
    AND (r.kind < 2 OR EXISTS (
        FROM resolve_carried AS c WHERE c.defines AND c.file_path = r.file_path AND c.row_number = r.row_number
    ));
