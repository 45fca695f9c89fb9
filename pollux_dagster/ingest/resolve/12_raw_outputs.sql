-- In little memory: every thread collects the texts of 122,880 answers before it writes them, whatever the limit is, and
-- DuckDB keeps what it has read of them.
DELETE FROM raw.model_outputs;
INSERT INTO raw.model_outputs BY NAME
SELECT *, len(injection_reasons) > 0 AS injection_suspected
FROM (
    SELECT o.model_id, o.prompt_id, o.sample_index, coalesce(judged_text(l.answer, l.whole_text), '') AS answer,
        o.answer_hash,
        list_sort(list_distinct(
            judged_reasons(l.injection_reasons, l.whole_injection_reasons)
            || CASE WHEN list_bool_or(list_transform(
                (SELECT list(token) FROM landing.special_tokens),
                lambda token: contains(judged_text(l.answer, l.whole_text), token)
            )) THEN ['special_token'] ELSE [] END
        )) AS injection_reasons,
        l.reasoning, l.reasoning_unclosed, o.file_path, o.row_number
    FROM resolve_outputs AS o
    JOIN landing.model_outputs AS l USING (file_path, row_number, model_id, sample_index)
    WHERE occurrence = 1 AND NOT EXISTS (
        FROM resolve_rejected_outputs AS r WHERE r.file_path = o.file_path AND r.row_number = o.row_number
    )
);

-- The reference of a row that carries its instruction is not used where another row gives that, also one without any.
INSERT INTO resolve_notes
SELECT c.file_path, 0, 'reference_not_read', count(*) || ' row(s) have a reference answer, and the instruction that they '
    || 'answer, given at ' || min(i.file_path || ':' || i.row_number) || ', has none, and counts: give it the reference'
FROM resolve_carried AS c
JOIN resolve_keys AS k USING (file_path, row_number)
JOIN raw.instructions AS i ON i.prompt_id = k.key
WHERE NOT (c.defines AND c.definition = 1) AND c.reference IS NOT NULL AND i.reference_answer IS NULL
GROUP BY c.file_path;

-- Whoever numbers the questions from 0 and the answers from 1 has every answer but one judged as its neighbour's.
INSERT INTO resolve_notes
WITH given AS (
    SELECT dataset, min(try_cast(prompt_id AS BIGINT)) AS first, max(try_cast(prompt_id AS BIGINT)) AS last
    FROM resolve_given WHERE occurrence = 1
    GROUP BY dataset HAVING count(*) = count(try_cast(prompt_id AS BIGINT)) AND count(*) >= 3
), answered AS (
    SELECT o.file_path, f.dataset AS place, min(try_cast(o.prompt_id AS BIGINT)) AS first,
        max(try_cast(o.prompt_id AS BIGINT)) AS last
    FROM landing.model_outputs AS o JOIN resolve_files AS f USING (file_path) WHERE o.instruction IS NULL
    GROUP BY ALL HAVING count(*) = count(try_cast(o.prompt_id AS BIGINT))
)
SELECT a.file_path, 0, 'shifted_ids', 'its prompt ids go from ' || a.first || ' to ' || a.last
    || ', and those of the instructions from ' || g.first || ' to ' || g.last
    || ': if one of the two is counted from another number, every answer is judged as that to another question'
FROM answered AS a JOIN resolve_scopes AS s USING (place) JOIN given AS g ON g.dataset = s.dataset
WHERE abs(a.first - g.first) = 1 AND a.last - g.last = a.first - g.first;

-- The same answer to every prompt, from two models: most likely one model's file and a copy of it (`m (1).jsonl`).
INSERT INTO resolve_notes
WITH answered AS (
    SELECT model_id, count(*) AS answers, count(DISTINCT answer_hash) AS texts,
        bit_xor(hash(prompt_id, sample_index, answer_hash)) AS digest, min(file_path) AS file_path
    FROM raw.model_outputs GROUP BY model_id HAVING answers >= 5 AND texts >= 3
)
SELECT file_path, 0, 'same_answers', 'model ' || shown(model_id) || ' gave the same ' || answers || ' answers as '
    || shown(first_value(model_id) OVER copies) || '; if its file is a copy, delete it'
FROM answered
WINDOW copies AS (PARTITION BY answers, digest ORDER BY length(model_id), model_id)
QUALIFY row_number() OVER copies > 1;

-- A model that is named after a folder, where the folder is named after a data set, may be several models in one.
INSERT INTO resolve_notes
SELECT min(o.file_path), 0, 'model_named_after_data_set',
    'no row names the model, and the folder ' || shown(o.model_id) || ' is taken for it, which is also the name of a '
        || 'data set; ' || count(DISTINCT o.file_path) || ' file(s) are of this model. If it is none, name the model '
        || 'in a field `model`, or in landing.toml'
FROM (
    SELECT DISTINCT model_id, file_path FROM landing.model_outputs
    WHERE list_contains(string_split(file_path, '/')[1:-2], model_id)
) AS o
JOIN (SELECT DISTINCT string_split(dataset, '/')[-1] AS name FROM resolve_scopes WHERE dataset <> '') AS sets
    ON sets.name = o.model_id
GROUP BY o.model_id;
