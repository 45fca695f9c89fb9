-- People's scores for existing answers and criteria; one per (prompt, model, criterion, annotator). A score may lie
-- between the levels of its scale, as a mean of several people's does, but not beyond its ends.
CREATE OR REPLACE TEMP TABLE resolve_scores AS
WITH scales AS (
    SELECT ic.prompt_id, c.criteria_name,
        string_agg(c.min_score || ' and ' || c.max_score, ', or between ' ORDER BY c.rubrics) AS ranges
    FROM raw.instruction_criteria AS ic JOIN raw.criteria AS c USING (criterion_id)
    GROUP BY ic.prompt_id, c.criteria_name
), usable AS (
    SELECT s.*, f.format FROM landing.human_scores AS s
    JOIN landing.files AS f USING (file_path)
    WHERE NOT EXISTS (
        FROM resolve_rejected AS r WHERE r.file_path = s.file_path AND r.row_number = s.row_number
    )
)
SELECT s.*,
    EXISTS (FROM raw.instructions AS i WHERE i.prompt_id = s.prompt_id) AS has_prompt,
    EXISTS (FROM raw.model_outputs AS o WHERE o.prompt_id = s.prompt_id AND o.model_id = s.model_id) AS has_output,
    scales.prompt_id IS NOT NULL AS has_criterion,
    EXISTS (
        FROM raw.instruction_criteria AS ic JOIN raw.criteria AS c USING (criterion_id)
        WHERE ic.prompt_id = s.prompt_id AND c.criteria_name = s.criteria_name
            AND s.score BETWEEN c.min_score AND c.max_score
    ) AS on_scale,
    scales.ranges,
    row_number() OVER keys AS occurrence, s.score = first_value(s.score) OVER keys AS same_score,
    first_value(s.file_path || ':' || s.row_number) OVER keys AS first_at
FROM usable AS s
LEFT JOIN scales ON scales.prompt_id = s.prompt_id AND scales.criteria_name = s.criteria_name
WINDOW keys AS (
    PARTITION BY s.prompt_id, s.model_id, s.criteria_name, s.annotator ORDER BY s.file_path, s.row_number
);

CREATE OR REPLACE TEMP TABLE resolve_rejected_scores AS
SELECT file_path, row_number,
    CASE WHEN NOT has_prompt THEN 'unknown_prompt' WHEN NOT has_output THEN 'unknown_output'
        WHEN NOT has_criterion THEN 'unknown_criterion'
        WHEN NOT on_scale THEN 'off_scale' WHEN same_score THEN 'duplicate'
        ELSE 'conflicting_duplicate' END AS reason,
    CASE WHEN NOT has_prompt THEN 'no instruction has prompt_id ' || shown(prompt_id)
        WHEN NOT has_output THEN 'model ' || shown(model_id) || ' has no answer to prompt_id ' || shown(prompt_id)
        WHEN NOT has_criterion THEN 'prompt_id ' || shown(prompt_id) || ' is not judged on ' || shown(criteria_name)
        WHEN NOT on_scale THEN 'expected ' || shown(criteria_name) || ' between ' || ranges || ', got ' || score
        ELSE 'annotator ' || shown(annotator) || ' already scored this at ' || first_at END AS detail,
    left(
        to_json({prompt_id: prompt_id, model_id: model_id, criteria_name: criteria_name, annotator: annotator,
            score: score})::VARCHAR,
        4000
    ) AS raw_text
FROM resolve_scores
WHERE NOT (has_prompt AND has_output AND has_criterion AND on_scale)
    OR (occurrence > 1 AND NOT (same_score AND format = 'pollux_wide'))
QUALIFY row_number() OVER (PARTITION BY file_path, row_number ORDER BY criteria_name) = 1;

INSERT INTO resolve_rejected SELECT * FROM resolve_rejected_scores;

DELETE FROM raw.human_scores;
INSERT INTO raw.human_scores BY NAME
SELECT prompt_id, model_id, criteria_name, annotator, score, file_path, row_number
FROM resolve_scores AS s
WHERE occurrence = 1 AND NOT EXISTS (
    FROM resolve_rejected_scores AS r WHERE r.file_path = s.file_path AND r.row_number = s.row_number
);
