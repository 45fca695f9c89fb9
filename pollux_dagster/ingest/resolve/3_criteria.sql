-- What each instruction is judged on: its own criteria, or those its task has in a taxonomy, or the fallback task's.
CREATE OR REPLACE TEMP TABLE resolve_inline AS
SELECT c.prompt_id, c.criteria_name, c.rubrics,
    arg_min(c.criteria_group, (i.kind, c.file_path, c.row_number)) AS criteria_group,
    any_value(c.levels) AS levels, min({k: i.kind, f: c.file_path, r: c.row_number, p: c.position}) AS place
FROM landing.instruction_criteria AS c
JOIN resolve_instructions AS i USING (file_path, row_number)
WHERE NOT EXISTS (
    FROM resolve_rejected_instructions AS r WHERE r.file_path = c.file_path AND r.row_number = c.row_number
)
GROUP BY c.prompt_id, c.criteria_name, c.rubrics;

-- The names to look a task up by, best first. A task type nobody knows is judged like one that is not stated.
CREATE OR REPLACE TEMP TABLE resolve_lookup AS
WITH wanting AS (
    SELECT prompt_id, reference_answer, normalized_name(task_type) AS task_key,
        coalesce(normalized_name(task_subtype), '') AS subtask_key
    FROM raw.instructions AS i
    WHERE NOT EXISTS (FROM resolve_inline AS c WHERE c.prompt_id = i.prompt_id)
), tries AS (
    SELECT prompt_id, reference_answer, unnest([
        {task_key: task_key, subtask_key: subtask_key, scope: 0, rank: 1},
        {task_key: task_key, subtask_key: '', scope: 0, rank: 2},
        {task_key: task_key, subtask_key: subtask_key, scope: 1, rank: 3},
        {task_key: task_key, subtask_key: '', scope: 1, rank: 4},
        {task_key: 'общее', subtask_key: '', scope: 0, rank: 5},
        {task_key: 'общее', subtask_key: '', scope: 1, rank: 6}
    ], recursive := true)
    FROM wanting
)
SELECT tries.prompt_id, t.* FROM tries
JOIN resolve_task_criteria AS t USING (task_key, subtask_key, scope)
WHERE tries.reference_answer IS NOT NULL OR NOT t.needs_reference
QUALIFY tries.rank = min(tries.rank) OVER (PARTITION BY tries.prompt_id);

CREATE OR REPLACE TEMP TABLE resolve_criteria AS
SELECT prompt_id, criteria_name, rubrics, criteria_group, levels, 'inline' AS source,
    row_number() OVER (PARTITION BY prompt_id ORDER BY place) - 1 AS position
FROM resolve_inline
UNION ALL
SELECT prompt_id, criteria_name, rubrics, criteria_group, levels, 'taxonomy',
    row_number() OVER (PARTITION BY prompt_id ORDER BY position) - 1
FROM resolve_lookup;

-- A criterion without a stated group has the group a taxonomy gives to that name and rubric, or to that name
-- where the taxonomies agree on it.
CREATE OR REPLACE TEMP TABLE resolve_groups AS
SELECT criteria_name, rubrics, min(criteria_group) AS criteria_group FROM resolve_taxonomy_criteria
WHERE criteria_group <> 'unspecified' GROUP BY ALL HAVING count(DISTINCT criteria_group) = 1
UNION ALL
SELECT criteria_name, NULL, min(criteria_group) FROM resolve_taxonomy_criteria
WHERE criteria_group <> 'unspecified' GROUP BY ALL HAVING count(DISTINCT criteria_group) = 1;

DELETE FROM raw.criteria;
INSERT INTO raw.criteria BY NAME
WITH used AS (
    SELECT criteria_name, rubrics, any_value(levels) AS levels,
        arg_min(criteria_group, prompt_id) FILTER (criteria_group <> 'unspecified') AS stated
    FROM resolve_criteria GROUP BY criteria_name, rubrics
), grouped AS (
    SELECT used.criteria_name, used.rubrics, used.levels,
        coalesce(used.stated, exact.criteria_group, named.criteria_group, 'unspecified') AS criteria_group
    FROM used
    LEFT JOIN resolve_groups AS exact ON exact.criteria_name = used.criteria_name AND exact.rubrics = used.rubrics
    LEFT JOIN resolve_groups AS named ON named.criteria_name = used.criteria_name AND named.rubrics IS NULL
)
SELECT sha256(sha256(criteria_name) || sha256(rubrics)) AS criterion_id, criteria_name, rubrics, criteria_group,
    levels, list_min(levels) AS min_score, list_max(levels) AS max_score,
    criteria_group = 'critical' AND levels = [0.0, 1.0]::DOUBLE[] AS is_gate,
    sha256(criteria_name) AS name_hash, sha256(rubrics) AS rubrics_hash
FROM grouped;

DELETE FROM raw.instruction_criteria;
INSERT INTO raw.instruction_criteria BY NAME
SELECT prompt_id, sha256(sha256(criteria_name) || sha256(rubrics)) AS criterion_id, position, source
FROM resolve_criteria;
