-- The criteria of each instruction: its own, else those of its task in a taxonomy, else the fallback task's.
CREATE OR REPLACE TEMP TABLE resolve_inline AS
SELECT k.key AS prompt_id, c.criteria_name, c.rubrics, any_value(c.levels) AS levels,
    min({k: i.kind, f: c.file_path, r: c.row_number, p: c.position}) AS place
FROM landing.instruction_criteria AS c
JOIN resolve_instructions AS i USING (file_path, row_number)
JOIN resolve_keys AS k USING (file_path, row_number)
WHERE NOT EXISTS (
    FROM resolve_rejected_instructions AS r WHERE r.file_path = c.file_path AND r.row_number = c.row_number
)
GROUP BY k.key, c.criteria_name, c.rubrics;

-- The names under which a task is looked up, best first. An unknown task type is treated like a missing one.
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
SELECT prompt_id, criteria_name, rubrics, levels, 'inline' AS source,
    row_number() OVER (PARTITION BY prompt_id ORDER BY place) - 1 AS position
FROM resolve_inline
UNION ALL
SELECT prompt_id, criteria_name, rubrics, levels, 'taxonomy',
    row_number() OVER (PARTITION BY prompt_id ORDER BY position) - 1
FROM resolve_lookup;

-- All statements about the criteria in use, each once, with the number of its sources and the first of them. Displaced
-- rows count as sources, and so does the package where the user's taxonomy does not define the same criterion. Levels
-- and wording follow from the rubrics. Texts are long, so rows are grouped first.
CREATE OR REPLACE TEMP TABLE resolve_sayings AS
WITH inline AS (
    SELECT criteria_name, rubrics, criteria_group, higher_is_better, count(*) AS n,
        min({k: 0, f: file_path, r: row_number, w: 'prompt_id ' || shown(prompt_id)}) AS place,
        any_value(levels) AS levels, any_value(worded_higher_is_better) AS worded_higher_is_better,
        any_value(direction_doubt) AS direction_doubt
    FROM landing.instruction_criteria GROUP BY criteria_name, rubrics, criteria_group, higher_is_better
), said AS (
    FROM inline
    UNION ALL BY NAME
    SELECT criteria_name, rubrics, nullif(criteria_group, 'unspecified') AS criteria_group, higher_is_better,
        1 AS n,
        {k: CASE WHEN starts_with(file_path, '//package/') THEN 2 ELSE 1 END, f: file_path, r: row_number,
            w: 'criterion ' || shown(criterion_code)} AS place,
        levels, worded_higher_is_better, direction_doubt
    FROM landing.taxonomy_criteria
), used AS (SELECT DISTINCT criteria_name, rubrics FROM resolve_criteria)
SELECT said.* FROM said JOIN used USING (criteria_name, rubrics)
WHERE (place).k <> 2 OR NOT EXISTS (
    FROM said AS own
    WHERE (own.place).k = 1 AND own.criteria_name = said.criteria_name AND own.rubrics = said.rubrics
);

-- Where a place leaves the group open, the group that the taxonomies give the same name with other rubrics counts too.
INSERT INTO resolve_sayings BY NAME
WITH named AS (
    SELECT criteria_name, count(DISTINCT criteria_group) AS groups,
        CASE WHEN bool_or(criteria_group = 'critical') THEN 'critical' ELSE min(criteria_group) END AS criteria_group,
        arg_min(
            {k: 3, f: file_path, r: row_number, w: 'criterion ' || shown(criterion_code) || ', of that name'},
            (criteria_group <> 'critical', file_path, row_number)
        ) AS place
    FROM resolve_taxonomy_criteria WHERE criteria_group <> 'unspecified' GROUP BY criteria_name
    HAVING groups = 1 OR bool_or(criteria_group = 'critical')
)
SELECT s.criteria_name, s.rubrics, any_value(named.criteria_group) AS criteria_group, 1 AS n,
    any_value(named.place) AS place, any_value(s.levels) AS levels
FROM resolve_sayings AS s JOIN named USING (criteria_name)
GROUP BY s.criteria_name, s.rubrics
HAVING bool_or(s.criteria_group IS NULL)
    -- Where the taxonomies' exact definition is unanimous, it needs no such addition.
    AND count(DISTINCT s.criteria_group) FILTER ((s.place).k IN (1, 2)) <> 1;

-- One row per criterion, property and stated value, with one of its sources.
CREATE OR REPLACE TEMP TABLE resolve_statements AS
WITH each AS (
    SELECT criteria_name, rubrics, n, place, unnest(['group', 'higher_is_better']) AS property,
        unnest([criteria_group, higher_is_better::VARCHAR]) AS said
    FROM resolve_sayings
), counted AS (
    SELECT criteria_name, rubrics, property, said, sum(n) AS sayings, min(place) AS place
    FROM each WHERE said IS NOT NULL GROUP BY criteria_name, rubrics, property, said
)
SELECT *, (place).k = 0 AS is_inline, said || ' by ' || (place).w || ' at ' || (place).f || ':' || (place).r
    || CASE WHEN sayings > 1 THEN ' and ' || (sayings - 1) || ' more' ELSE '' END AS words
FROM counted;

-- The outcome. One statement of 'critical' makes a gate until the conflict is solved; contradictory directions count as
-- none. Taxonomy entries that file one criterion under several groups, none critical, only raise a doubt, because
-- POLLUX lists the same criterion once per task.
CREATE OR REPLACE TEMP TABLE resolve_settled AS
SELECT criteria_name, rubrics,
    CASE WHEN bool_or(property = 'group' AND said = 'critical') THEN 'critical'
        ELSE arg_min(said, place) FILTER (property = 'group') END AS criteria_group,
    CASE count(*) FILTER (property = 'higher_is_better') WHEN 1
        THEN any_value(said) FILTER (property = 'higher_is_better') END::BOOLEAN AS stated_higher,
    count(*) FILTER (property = 'group') > 1 AS groups_differ,
    groups_differ AND bool_or(property = 'group' AND (is_inline OR said = 'critical')) AS groups_conflict,
    count(*) FILTER (property = 'higher_is_better') > 1 AS directions_conflict,
    'group ' || string_agg(words, ', ' ORDER BY place) FILTER (property = 'group') AS group_words,
    'higher_is_better ' || string_agg(words, ', ' ORDER BY place) FILTER (property = 'higher_is_better')
        AS direction_words
FROM resolve_statements GROUP BY criteria_name, rubrics;

DELETE FROM raw.criteria;
INSERT INTO raw.criteria BY NAME
WITH used AS (
    SELECT criteria_name, rubrics, any_value(levels) AS levels,
        any_value(worded_higher_is_better) AS worded_higher, any_value(direction_doubt) AS worded_doubt,
        coalesce(sum(n) FILTER ((place).k = 0 AND criteria_group IS NULL), 0) AS silent_on_group,
        count(*) FILTER ((place).k = 0 AND criteria_group IS NOT NULL) AS speaking_of_group,
        count(*) FILTER ((place).k > 0 AND criteria_group = 'critical') AS critical_elsewhere,
        coalesce(sum(n) FILTER ((place).k = 0 AND higher_is_better IS NULL), 0) AS silent_on_direction,
        count(*) FILTER ((place).k > 0 AND higher_is_better IS NOT NULL) AS direction_elsewhere
    FROM resolve_sayings GROUP BY criteria_name, rubrics
), settled AS (
    SELECT used.*, coalesce(s.criteria_group, 'unspecified') AS criteria_group, s.stated_higher,
        coalesce(s.groups_differ, false) AS groups_differ, coalesce(s.groups_conflict, false) AS groups_conflict,
        coalesce(s.directions_conflict, false) AS directions_conflict, s.group_words, s.direction_words,
        coalesce(s.criteria_group, 'unspecified') = 'critical' AND levels = [0.0, 1.0]::DOUBLE[] AS is_gate,
        list_transform([criteria_name, rubrics], lambda text: prompt_hash(text)) AS hashes  -- its pattern compiled once
    FROM used LEFT JOIN resolve_settled AS s USING (criteria_name, rubrics)
)
SELECT sha256(sha256(criteria_name) || sha256(rubrics)) AS criterion_id, criteria_name, rubrics, criteria_group,
    levels, list_min(levels) AS min_score, list_max(levels) AS max_score, is_gate,
    hashes[1] AS name_hash, hashes[2] AS rubrics_hash,
    CASE WHEN NOT is_gate AND NOT directions_conflict THEN coalesce(stated_higher, worded_higher, true) END
        AS higher_is_better,
    nullif(concat_ws('; ', CASE WHEN groups_conflict THEN group_words END,
        CASE WHEN directions_conflict THEN direction_words END), '') AS conflict,
    nullif(concat_ws('; ',
        CASE WHEN criteria_group = 'critical' AND NOT is_gate
            THEN 'it is critical, but a gate has the levels 0 and 1: it is scored like any other criterion' END,
        CASE WHEN groups_differ AND NOT groups_conflict THEN group_words END,
        CASE WHEN is_gate AND silent_on_group > 0 AND speaking_of_group > 0 AND critical_elsewhere = 0
            THEN 'it is a gate by the word of some instructions (' || group_words || '); '
                || silent_on_group || ' others state no group for it' END
    ), '') AS group_doubt,
    nullif(concat_ws('; ',
        CASE WHEN is_gate AND (stated_higher OR (stated_higher IS NULL AND worded_higher))
            THEN 'it is a gate, whose 1 says that the answer cannot be rated, and '
                || CASE WHEN stated_higher THEN direction_words ELSE 'its words say that 1 is the best' END END,
        CASE WHEN NOT is_gate AND stated_higher IS NULL AND NOT directions_conflict THEN worded_doubt END,
        CASE WHEN NOT is_gate AND stated_higher <> worded_higher
            THEN 'its words say that the ' || CASE WHEN worded_higher THEN 'highest' ELSE 'lowest' END
                || ' level is the best, but ' || direction_words END,
        CASE WHEN NOT is_gate AND stated_higher <> coalesce(worded_higher, true) AND silent_on_direction > 0
                AND direction_elsewhere = 0
            THEN direction_words || '; ' || silent_on_direction || ' other instructions do not state it' END
    ), '') AS direction_doubt
FROM settled;

DELETE FROM raw.instruction_criteria;
INSERT INTO raw.instruction_criteria BY NAME
SELECT prompt_id, sha256(sha256(criteria_name) || sha256(rubrics)) AS criterion_id, position, source
FROM resolve_criteria;
