WITH pairs AS (
    -- Two judges on the same request: same answer, same criterion, same repetition, both with a usable verdict.
    SELECT
        first.judge_name AS judge,
        second.judge_name AS other_judge,
        first.criteria_name,
        first.score AS score,
        second.score AS other_score,
        first.max_score - first.min_score AS width
    FROM staging.scores AS first
    JOIN staging.scores AS second USING (model_id, prompt_id, sample_index, criterion_id, repeat_index)
    WHERE first.judge_name < second.judge_name AND first.status = 'ok' AND second.status = 'ok'
)
SELECT
    judge,
    other_judge,
    coalesce(criteria_name, 'all criteria') AS criterion,
    count(*) AS n,
    avg(CASE WHEN score = other_score THEN 1 ELSE 0 END) AS equal,
    avg(abs(score - other_score) / width) AS mean_distance,
    avg((score - other_score) / width) AS mean_shift
FROM pairs
GROUP BY GROUPING SETS ((judge, other_judge, criteria_name), (judge, other_judge))
ORDER BY judge, other_judge, criteria_name NULLS LAST
