-- One instruction per prompt_id. Files of instructions take precedence over the wide set, and the wide set over formats
-- whose answers carry their instruction; within one kind the first (file, row) wins. Windows run over hashes: texts are
-- long and, in the wide set, repeated in every row.
CREATE OR REPLACE TEMP TABLE resolve_instructions AS
WITH signed AS (
    SELECT file_path, row_number, count(*) AS criteria_count,
        md5(string_agg(
            concat_ws(
                chr(31), criteria_name, rubrics, coalesce(criteria_group, ''), coalesce(higher_is_better::VARCHAR, '')
            ), chr(30) ORDER BY position
        )) AS criteria
    FROM landing.instruction_criteria GROUP BY file_path, row_number
), ranked AS (
    SELECT i.file_path, i.row_number, i.prompt_id, sha256(i.instruction) AS instruction_hash,
        md5(i.reference_answer) AS reference,
        CASE WHEN o.carries THEN 2 WHEN o.carries IS NOT NULL THEN 1 ELSE 0 END AS kind,
        md5(concat_ws(chr(31), coalesce(i.task_type, ''), coalesce(i.task_subtype, ''))) AS task,
        coalesce(s.criteria, '') AS criteria, coalesce(s.criteria_count, 0) AS criteria_count
    FROM landing.instructions AS i
    LEFT JOIN (
        SELECT file_path, bool_or(instruction IS NOT NULL) AS carries FROM landing.model_outputs GROUP BY file_path
    ) AS o USING (file_path)
    LEFT JOIN signed AS s USING (file_path, row_number)
), compared AS (
    SELECT *, row_number() OVER prompts AS occurrence,
        instruction_hash = first_value(instruction_hash) OVER prompts AS same_instruction,
        reference IS NOT DISTINCT FROM first_value(reference) OVER prompts AS same_reference,
        task = first_value(task) OVER prompts AS same_task,
        criteria = first_value(criteria) OVER prompts AS same_criteria,
        first_value(criteria_count) OVER prompts AS first_criteria_count,
        row_number() OVER (PARTITION BY prompt_id, file_path, criteria ORDER BY row_number) AS criteria_occurrence,
        first_value(file_path) OVER prompts AS first_file, first_value(row_number) OVER prompts AS first_row
    FROM ranked
    WINDOW prompts AS (PARTITION BY prompt_id ORDER BY kind, file_path, row_number)
)
-- A table of instructions has one row per criterion: the same instruction repeated in one file with another criterion.
SELECT *, same_instruction AND same_reference AS same_item,
    kind = 0 AND file_path = first_file AND same_instruction AND same_reference AND same_task
        AND criteria_count = 1 AND first_criteria_count = 1 AND criteria_occurrence = 1 AS adds_a_criterion
FROM compared;

-- Repeats are normal in the wide set (one row per criterion) and where answers carry their instruction.
INSERT INTO resolve_rejected
SELECT r.file_path, r.row_number,
    CASE WHEN r.same_item AND r.same_task AND r.same_criteria THEN 'duplicate' ELSE 'conflicting_duplicate' END,
    'prompt_id ' || shown(r.prompt_id) || ' is already defined at ' || r.first_file || ':' || r.first_row
        || coalesce(', with another ' || nullif(concat_ws(', ',
            CASE WHEN NOT r.same_instruction THEN 'instruction' END,
            CASE WHEN NOT r.same_reference THEN 'reference_answer' END,
            CASE WHEN NOT r.same_task THEN 'task_type or task_subtype' END,
            CASE WHEN NOT r.same_criteria THEN 'list of criteria' END
        ), ''), ''),
    left(
        to_json({prompt_id: i.prompt_id, instruction: i.instruction, reference_answer: i.reference_answer})::VARCHAR,
        4000
    )
FROM resolve_instructions AS r
JOIN landing.instructions AS i USING (file_path, row_number)
WHERE r.occurrence > 1 AND ((r.kind = 0 AND NOT r.adds_a_criterion) OR (r.kind = 1 AND NOT r.same_item));

-- A carried instruction is looked up by its own id, then by its exact text, among those given as instructions. Where
-- neither finds one, it defines the prompt, unless an earlier row did.
CREATE OR REPLACE TEMP TABLE resolve_carried AS
WITH given AS (SELECT * FROM resolve_instructions WHERE occurrence = 1 AND kind < 2),
texts AS (
    SELECT instruction_hash, arg_min(prompt_id, (file_path, row_number)) AS prompt_id
    FROM given GROUP BY instruction_hash
), found AS (
    SELECT c.file_path, c.row_number, c.instruction_hash, c.reference,
        coalesce(by_id.prompt_id, by_text.prompt_id, c.prompt_id) AS prompt_id,
        by_id.prompt_id IS NULL AND by_text.prompt_id IS NULL AS defines
    FROM resolve_instructions AS c
    LEFT JOIN given AS by_id ON by_id.prompt_id = c.prompt_id
    LEFT JOIN texts AS by_text ON by_text.instruction_hash = c.instruction_hash
    WHERE c.kind = 2
)
SELECT *, row_number() OVER prompts AS definition,
    instruction_hash = first_value(instruction_hash) OVER prompts AS same_instruction,
    coalesce(reference = first_value(reference) OVER prompts, true) AS same_reference,
    first_value(file_path) OVER prompts AS first_file, first_value(row_number) OVER prompts AS first_row
FROM found
WINDOW prompts AS (PARTITION BY defines, prompt_id ORDER BY file_path, row_number);

-- Its answer would be judged against a text that its model was not given.
INSERT INTO resolve_rejected
SELECT c.file_path, c.row_number, 'conflicting_duplicate',
    'prompt_id ' || shown(c.prompt_id) || ' is already defined at ' || c.first_file || ':' || c.first_row
        || ', with another ' || concat_ws(', ', CASE WHEN NOT c.same_instruction THEN 'instruction' END,
            CASE WHEN NOT c.same_reference THEN 'reference_answer' END)
        || '. If both answer one question (few-shot prompts differ), land an instruction with this prompt_id: '
        || 'every answer is then judged against that',
    left(
        to_json({prompt_id: i.prompt_id, instruction: i.instruction, reference_answer: i.reference_answer})::VARCHAR,
        4000
    )
FROM resolve_carried AS c
JOIN landing.instructions AS i USING (file_path, row_number)
WHERE c.defines AND NOT (c.same_instruction AND c.same_reference);

CREATE OR REPLACE TEMP TABLE resolve_rejected_instructions AS
SELECT DISTINCT file_path, row_number FROM resolve_rejected;

DELETE FROM raw.instructions;
INSERT INTO raw.instructions BY NAME
SELECT i.prompt_id, i.instruction, i.reference_answer, coalesce(i.task_type, 'unspecified') AS task_type,
    i.task_subtype, i.domain, i.difficulty, i.meta, r.instruction_hash,
    sha256(coalesce(i.reference_answer, '')) AS reference_hash, i.file_path, i.row_number
FROM resolve_instructions AS r
JOIN landing.instructions AS i USING (file_path, row_number)
WHERE (r.kind < 2 AND r.occurrence = 1)
    OR EXISTS (
        FROM resolve_carried AS c
        WHERE c.defines AND c.definition = 1 AND c.file_path = r.file_path AND c.row_number = r.row_number
    );
