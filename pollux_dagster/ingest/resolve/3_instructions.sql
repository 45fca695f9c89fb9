-- One instruction per id and data set. Files of instructions take precedence over the wide set, and the wide set over
-- formats whose answers carry their instruction; within one kind the first (file, row) wins. Windows run over hashes:
-- texts are long and, in the wide set, repeated in every row.
CREATE OR REPLACE TEMP MACRO place_of(dataset) AS
    CASE WHEN dataset = '' THEN 'the top of the landing folder' ELSE 'data set ' || shown(dataset) END;

-- lm-eval writes a target for every document, also where its task has none: the same value everywhere is no reference.
CREATE OR REPLACE TEMP TABLE resolve_same_targets AS
SELECT i.task_type AS task, any_value(i.reference_answer) AS target, count(DISTINCT i.prompt_id) AS documents,
    min(i.file_path) AS file_path
FROM landing.instructions AS i JOIN resolve_files AS f USING (file_path)
WHERE f.format = 'lm_eval' AND f.superseded_by IS NULL
GROUP BY i.task_type
HAVING count(DISTINCT i.prompt_id) >= 3 AND count(DISTINCT i.reference_answer) = 1
    AND count(i.reference_answer) = count(*);

CREATE OR REPLACE TEMP TABLE resolve_notes AS
SELECT file_path, 0 AS row_number, 'no_reference' AS kind,
    'every one of ' || documents || ' documents of task ' || shown(task) || ' has the target ' || shown(target)
        || ': taken for a placeholder and not shown to the judge as a reference answer' AS detail
FROM resolve_same_targets
UNION ALL
SELECT superseded_by, 0, 'later_run', 'the run of the same model and task at ' || file_path
    || ' is earlier: this one counts'
FROM resolve_files WHERE superseded_by IS NOT NULL;

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
    SELECT i.file_path, i.row_number, i.prompt_id, prompt_hash(i.instruction) AS instruction_hash, i.doc_hash,
        CASE WHEN same.task IS NULL THEN md5(i.reference_answer) END AS reference, f.kind, f.superseded_by,
        -- Made by a reader from the task or the text, and therefore the same wherever the row lies: evaluation tools have
        -- a folder per model, and their tasks are the data sets.
        f.kind = 2 AND starts_with(i.prompt_id, 'text:') AS is_of_text,
        f.kind = 2 AND coalesce(starts_with(i.prompt_id, i.task_type || ':'), false) AS is_of_task,
        is_of_text OR is_of_task AS is_derived,
        CASE WHEN f.is_named OR NOT is_derived THEN f.dataset WHEN is_of_task THEN i.task_type ELSE '' END AS dataset,
        f.dataset AS place,
        md5(concat_ws(chr(31), coalesce(i.task_type, ''), coalesce(i.task_subtype, ''))) AS task,
        coalesce(s.criteria, '') AS criteria, coalesce(s.criteria_count, 0) AS criteria_count
    FROM landing.instructions AS i
    JOIN resolve_kinds AS f USING (file_path)
    LEFT JOIN signed AS s USING (file_path, row_number)
    LEFT JOIN resolve_same_targets AS same ON f.format = 'lm_eval' AND same.task = i.task_type
), compared AS (
    SELECT *, row_number() OVER prompts AS occurrence,
        instruction_hash = first_value(instruction_hash) OVER prompts AS same_instruction,
        reference IS NOT DISTINCT FROM first_value(reference) OVER prompts AS same_reference,
        task = first_value(task) OVER prompts AS same_task,
        criteria = first_value(criteria) OVER prompts AS same_criteria,
        first_value(criteria_count) OVER prompts AS first_criteria_count,
        row_number() OVER (PARTITION BY dataset, prompt_id, file_path, criteria ORDER BY row_number)
            AS criteria_occurrence,
        first_value(file_path) OVER prompts AS first_file, first_value(row_number) OVER prompts AS first_row
    FROM ranked WHERE superseded_by IS NULL
    WINDOW prompts AS (PARTITION BY dataset, prompt_id ORDER BY kind, file_path, row_number)
), alike AS (
    -- Spreadsheets and editors change white space: a person would call these texts the same.
    SELECT c.file_path, c.row_number,
        raw.same_words(mine.instruction) = raw.same_words(first.instruction) AS same_instruction,
        raw.same_words(mine.reference_answer) IS NOT DISTINCT FROM raw.same_words(first.reference_answer)
            AS same_reference
    FROM compared AS c
    JOIN landing.instructions AS mine ON mine.file_path = c.file_path AND mine.row_number = c.row_number
    JOIN landing.instructions AS first ON first.file_path = c.first_file AND first.row_number = c.first_row
    WHERE c.kind < 2 AND NOT (c.same_instruction AND c.same_reference)
), judged AS (
    SELECT c.* REPLACE (c.same_instruction OR coalesce(a.same_instruction, false) AS same_instruction,
        c.same_reference OR coalesce(a.same_reference, false) AS same_reference)
    FROM compared AS c LEFT JOIN alike AS a USING (file_path, row_number)
)
-- A table of instructions has one row per criterion: the same instruction repeated in one file with another criterion.
SELECT *, same_instruction AND same_reference AS same_item,
    kind = 0 AND file_path = first_file AND same_instruction AND same_reference AND same_task
        AND criteria_count = 1 AND first_criteria_count = 1 AND criteria_occurrence = 1 AS adds_a_criterion
FROM judged;

-- An id that has two questions within its data set: nobody can say which of them an answer with this id is for.
CREATE OR REPLACE TEMP TABLE resolve_rivals AS
SELECT r.dataset, r.prompt_id, r.first_file || ':' || r.first_row AS first_at,
    min(r.file_path || ':' || r.row_number) AS rival_at
FROM resolve_instructions AS r
WHERE r.kind < 2 AND NOT r.same_instruction
GROUP BY ALL;

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

-- The same id with the same content in several data sets is one instruction; with another, each has its own.
CREATE OR REPLACE TEMP TABLE resolve_given AS
WITH firsts AS (SELECT * FROM resolve_instructions WHERE occurrence = 1 AND kind < 2)
SELECT dataset, prompt_id, kind, file_path, row_number, instruction_hash,
    row_number() OVER same AS occurrence,
    first_value(dataset) OVER same AS owner,
    first_value(file_path || ':' || row_number) OVER same AS first_at
FROM firsts
WINDOW same AS (
    PARTITION BY prompt_id, instruction_hash, reference, task, criteria ORDER BY kind, file_path, row_number
);

INSERT INTO resolve_rejected
SELECT g.file_path, g.row_number, 'duplicate',
    'prompt_id ' || shown(g.prompt_id) || ' is already defined at ' || g.first_at || ', in ' || place_of(g.owner),
    left(
        to_json({prompt_id: i.prompt_id, instruction: i.instruction, reference_answer: i.reference_answer})::VARCHAR,
        4000
    )
FROM resolve_given AS g JOIN landing.instructions AS i USING (file_path, row_number)
WHERE g.occurrence > 1 AND g.kind = 0;

-- A carried instruction is looked up by its own id in its data set, then by its text among those given as instructions,
-- exactly or else without regard to white space. Where neither finds one, it defines the prompt, unless an earlier row did.
CREATE OR REPLACE TEMP TABLE resolve_carried AS
WITH texts AS (
    SELECT instruction_hash, arg_min({d: owner, p: prompt_id}, (file_path, row_number)) AS found
    FROM resolve_given GROUP BY instruction_hash
), carried AS (
    SELECT * FROM resolve_instructions WHERE kind = 2
), words AS (
    SELECT raw.same_words(i.instruction) AS said, any_value({d: g.owner, p: g.prompt_id}) AS found
    FROM resolve_given AS g JOIN landing.instructions AS i USING (file_path, row_number)
    WHERE g.occurrence = 1 AND EXISTS (FROM carried)
    GROUP BY said HAVING count(*) = 1
), alike AS (
    SELECT c.instruction_hash, any_value(words.found) AS found
    FROM (
        SELECT instruction_hash, min_by({f: file_path, r: row_number}, (file_path, row_number)) AS place FROM carried
        WHERE instruction_hash NOT IN (SELECT instruction_hash FROM texts) AND EXISTS (FROM texts)
        GROUP BY instruction_hash
    ) AS c
    JOIN landing.instructions AS i ON i.file_path = c.place.f AND i.row_number = c.place.r
    JOIN words ON words.said = raw.same_words(i.instruction)
    GROUP BY c.instruction_hash
), ids AS (
    SELECT c.file_path, c.row_number, c.instruction_hash, c.is_derived, g.owner, g.prompt_id,
        g.instruction_hash AS given_hash, g.file_path AS given_file, g.row_number AS given_row
    FROM carried AS c
    JOIN resolve_scopes AS s ON s.place = c.place
    JOIN resolve_given AS g ON g.dataset = s.dataset AND g.prompt_id = c.prompt_id
), fitting AS (
    -- An id that its owner chose may be that of another question. A prompt around the question is the tool's.
    SELECT ids.*, CASE WHEN is_derived OR ids.instruction_hash = given_hash THEN true
        ELSE contains(raw.same_words(mine.instruction), raw.same_words(given.instruction)) END AS fits
    FROM ids
    JOIN landing.instructions AS mine ON mine.file_path = ids.file_path AND mine.row_number = ids.row_number
    JOIN landing.instructions AS given ON given.file_path = ids.given_file AND given.row_number = ids.given_row
), by_id AS (
    SELECT file_path, row_number, any_value({d: owner, p: prompt_id}) FILTER (fits) AS found,
        count(DISTINCT (owner, prompt_id)) FILTER (fits) AS fitting
    FROM fitting GROUP BY file_path, row_number
), found AS (
    SELECT c.*, CASE WHEN by_id.fitting = 1 THEN by_id.found ELSE coalesce(texts.found, alike.found) END AS target,
        coalesce(by_id.fitting > 1, false) AND coalesce(texts.found, alike.found) IS NULL AS is_ambiguous
    FROM carried AS c
    LEFT JOIN by_id ON by_id.file_path = c.file_path AND by_id.row_number = c.row_number
    LEFT JOIN texts ON texts.instruction_hash = c.instruction_hash
    LEFT JOIN alike ON alike.instruction_hash = c.instruction_hash
)
SELECT file_path, row_number, instruction_hash, reference, is_derived, is_ambiguous, target IS NULL AS defines,
    place,
    coalesce(target.d, dataset) AS dataset, coalesce(target.p, prompt_id) AS prompt_id,
    row_number() OVER prompts AS definition,
    instruction_hash = first_value(instruction_hash) OVER prompts
        OR coalesce(doc_hash = first_value(doc_hash) OVER prompts, false) AS same_instruction,
    coalesce(reference = first_value(reference) OVER prompts, true) AS same_reference,
    first_value(file_path) OVER prompts AS first_file, first_value(row_number) OVER prompts AS first_row
FROM found
WINDOW prompts AS (
    PARTITION BY target IS NULL, is_ambiguous, coalesce(target.d, dataset), coalesce(target.p, prompt_id)
    ORDER BY file_path, row_number
);

-- Its answer would be judged against a text that its model was not given.
INSERT INTO resolve_rejected
WITH differing AS (
    FROM resolve_carried WHERE is_ambiguous OR (defines AND NOT (same_instruction AND same_reference))
), compared AS (
    SELECT d.* REPLACE (
            d.same_instruction OR raw.same_words(i.instruction) = raw.same_words(first.instruction) AS same_instruction,
            d.same_reference OR raw.same_words(i.reference_answer) = raw.same_words(first.reference_answer)
                AS same_reference
        )
    FROM differing AS d
    JOIN landing.instructions AS i ON i.file_path = d.file_path AND i.row_number = d.row_number
    JOIN landing.instructions AS first ON first.file_path = d.first_file AND first.row_number = d.first_row
)
SELECT c.file_path, c.row_number,
    CASE WHEN c.is_ambiguous THEN 'ambiguous_prompt' ELSE 'conflicting_duplicate' END,
    CASE WHEN c.is_ambiguous THEN 'prompt_id ' || shown(c.prompt_id) || ' means several instructions here, and the '
            || 'text is none of theirs alone: put each data set into a folder of its own'
        ELSE 'prompt_id ' || shown(c.prompt_id) || ' is already defined at ' || c.first_file || ':' || c.first_row
            || ', with another ' || concat_ws(', ', CASE WHEN NOT c.same_instruction THEN 'instruction' END,
                CASE WHEN NOT c.same_reference THEN 'reference_answer' END)
            || '. If both answer one question (few-shot prompts differ), land an instruction with this prompt_id: '
            || 'every answer is then judged against that' END,
    left(
        to_json({prompt_id: i.prompt_id, instruction: i.instruction, reference_answer: i.reference_answer})::VARCHAR,
        4000
    )
FROM compared AS c
JOIN landing.instructions AS i USING (file_path, row_number)
WHERE c.is_ambiguous OR NOT (c.same_instruction AND coalesce(c.same_reference, false));

-- An earlier run's rows are left out as a whole: a mixture of two runs is no run.
INSERT INTO resolve_rejected
SELECT DISTINCT i.file_path, i.row_number, 'superseded',
    'a later run of the same model and task lies at ' || f.superseded_by || ', and the later run counts', NULL
FROM landing.instructions AS i JOIN resolve_files AS f USING (file_path)
WHERE f.superseded_by IS NOT NULL;

CREATE OR REPLACE TEMP TABLE resolve_rejected_instructions AS
SELECT DISTINCT file_path, row_number FROM resolve_rejected;

-- Every instruction with its key in the warehouse: its id, unless another data set has the id for something else.
CREATE OR REPLACE TEMP TABLE resolve_prompts AS
WITH defined AS (
    SELECT dataset, prompt_id, file_path, row_number, instruction_hash, false AS is_carried, false AS is_derived
    FROM resolve_given WHERE occurrence = 1
    UNION ALL
    SELECT dataset, prompt_id, file_path, row_number, instruction_hash, true, is_derived
    FROM resolve_carried WHERE defines AND definition = 1 AND NOT is_ambiguous
), merged AS (
    -- One question carried by files of several folders (one a model, say) is one instruction.
    SELECT *, CASE WHEN is_carried THEN min(dataset) OVER (PARTITION BY is_carried, prompt_id, instruction_hash)
        ELSE dataset END AS owner
    FROM defined
), keyed AS (
    SELECT *, CASE WHEN dense_rank() OVER (PARTITION BY prompt_id ORDER BY is_carried, owner)
            + dense_rank() OVER (PARTITION BY prompt_id ORDER BY is_carried DESC, owner DESC) > 2 AND owner <> ''
        THEN replace(owner, '#', '##') || '#' || prompt_id ELSE prompt_id END AS plain_key
    FROM merged
)
SELECT * EXCLUDE plain_key,
    -- Only where ids hold '#' themselves, or a given and a carried question share folder and id, can keys still meet.
    CASE WHEN dense_rank() OVER (PARTITION BY plain_key ORDER BY is_carried, owner, prompt_id) > 1
        THEN plain_key || '~' || left(md5(owner || chr(0) || prompt_id || is_carried::VARCHAR), 8)
        ELSE plain_key END AS key
FROM keyed;

-- The key of every instruction row that is used, whichever row defined it.
CREATE OR REPLACE TEMP TABLE resolve_keys AS
SELECT i.file_path, i.row_number, p.key
FROM resolve_instructions AS i
JOIN resolve_given AS g ON g.dataset = i.dataset AND g.prompt_id = i.prompt_id
JOIN resolve_prompts AS p ON NOT p.is_carried AND p.dataset = g.owner AND p.prompt_id = g.prompt_id
WHERE i.kind < 2
UNION ALL
SELECT c.file_path, c.row_number, p.key
FROM resolve_carried AS c
JOIN resolve_prompts AS p ON p.is_carried = c.defines AND p.dataset = c.dataset AND p.prompt_id = c.prompt_id
WHERE NOT c.is_ambiguous;

CREATE OR REPLACE TEMP MACRO bare_id(id) AS lower(ltrim(regexp_replace(id, ',0+$', ''), '0'));

-- What an id in a file of this folder can mean: the instructions of the data sets in its scope, else carried ones.
CREATE OR REPLACE TEMP TABLE resolve_meanings AS
WITH asked AS (
    SELECT place, prompt_id FROM resolve_failed_requests
    UNION
    SELECT DISTINCT f.dataset AS place, o.prompt_id FROM landing.model_outputs AS o
    JOIN resolve_files AS f USING (file_path) WHERE o.instruction IS NULL
    UNION
    SELECT DISTINCT f.dataset, s.prompt_id FROM landing.human_scores AS s JOIN resolve_files AS f USING (file_path)
    UNION
    SELECT DISTINCT f.dataset, r.prompt_id FROM landing.reference_answers AS r JOIN resolve_files AS f USING (file_path)
), meant AS (
    SELECT DISTINCT a.place, a.prompt_id, p.key, p.file_path || ':' || p.row_number AS defined_at, r.rival_at
    FROM asked AS a
    JOIN resolve_scopes AS s USING (place)
    JOIN resolve_given AS g ON g.dataset = s.dataset AND g.prompt_id = a.prompt_id
    JOIN resolve_prompts AS p ON NOT p.is_carried AND p.dataset = g.owner AND p.prompt_id = g.prompt_id
    LEFT JOIN resolve_rivals AS r ON r.dataset = g.dataset AND r.prompt_id = g.prompt_id
), carried AS (
    SELECT DISTINCT a.place, a.prompt_id, p.key, p.file_path || ':' || p.row_number AS defined_at
    FROM asked AS a
    JOIN resolve_prompts AS p ON p.is_carried AND p.prompt_id = a.prompt_id
    WHERE p.is_derived OR list_contains(folders_to(a.place), p.dataset)
        OR a.place NOT IN (SELECT place FROM resolve_scopes)
), everything AS (
    FROM meant
    UNION ALL BY NAME
    FROM carried WHERE NOT EXISTS (FROM meant AS m WHERE m.place = carried.place AND m.prompt_id = carried.prompt_id)
), counted AS (
    SELECT place, prompt_id, count(DISTINCT key) AS meanings, min(key) AS key,
        list_sort(list_distinct(list(defined_at) || coalesce(list(rival_at) FILTER (rival_at IS NOT NULL), []))) AS places
    FROM everything GROUP BY place, prompt_id
), elsewhere AS (
    SELECT prompt_id, list_sort(list(DISTINCT dataset)) AS datasets FROM resolve_given GROUP BY prompt_id
), alike AS (
    -- Spreadsheets drop the zeros that an id begins with, and write 1,0 in Russian.
    SELECT bare_id(prompt_id) AS bare, min(prompt_id) AS prompt_id FROM resolve_given GROUP BY bare
)
SELECT a.place, a.prompt_id,
    CASE WHEN c.meanings = 1 AND len(c.places) = 1 THEN c.key END AS key,
    CASE WHEN c.meanings IS NULL THEN 'unknown_prompt' WHEN c.meanings > 1 OR len(c.places) > 1 THEN 'ambiguous_prompt'
        END AS reason,
    CASE WHEN c.meanings IS NULL THEN 'no instruction has prompt_id ' || shown(a.prompt_id)
            || CASE WHEN e.datasets IS NULL
                THEN coalesce('; ' || shown(l.prompt_id) || ' has landed: write ids alike in all files', '')
                ELSE ' in ' || place_of(a.place) || '; ' || place_of(e.datasets[1])
                    || ' has one: answers are looked up in the data set of their own folder' END
        WHEN c.meanings > 1 OR len(c.places) > 1 THEN 'prompt_id ' || shown(a.prompt_id)
            || ' has different instructions at ' || array_to_string(c.places[1:3], ' and at ')
            || ': put each data set into a folder of its own, with its answers' END AS detail
FROM asked AS a
LEFT JOIN counted AS c USING (place, prompt_id)
LEFT JOIN elsewhere AS e USING (prompt_id)
LEFT JOIN alike AS l ON l.bare = bare_id(a.prompt_id);

-- Reference answers that lie apart, as FastChat's judge takes them: instead of one in the question's own row.
CREATE OR REPLACE TEMP TABLE resolve_references AS
SELECT r.file_path, r.row_number, m.key, m.reason, m.detail, row_number() OVER keys AS occurrence,
    md5(r.reference_answer) = first_value(md5(r.reference_answer)) OVER keys AS same_reference,
    first_value(r.file_path || ':' || r.row_number) OVER keys AS first_at
FROM landing.reference_answers AS r
JOIN resolve_files AS f USING (file_path)
JOIN resolve_meanings AS m ON m.place = f.dataset AND m.prompt_id = r.prompt_id
WINDOW keys AS (PARTITION BY m.key ORDER BY r.file_path, r.row_number);

INSERT INTO resolve_rejected
SELECT file_path, row_number,
    CASE WHEN key IS NULL THEN reason WHEN same_reference THEN 'duplicate' ELSE 'conflicting_duplicate' END,
    CASE WHEN key IS NULL THEN detail ELSE 'the reference answer is already given at ' || first_at END,
    left(to_json({prompt_id: l.prompt_id, reference_answer: l.reference_answer})::VARCHAR, 4000)
FROM resolve_references AS r JOIN landing.reference_answers AS l USING (file_path, row_number)
WHERE key IS NULL OR occurrence > 1;

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
