/*
description: >
  Quality by task, per judge, in two grains. Rows of grain model_task hold one model on one task type; rows of grain
  task pool all models on that task type (how hard the task is) and have no model_id. Filter on grain before
  aggregating. mean_score is defined as in marts.model_quality.
example: >
  SELECT task_type, model_id, mean_score, ci_low, ci_high, n FROM marts.task_quality WHERE grain = 'model_task' ORDER
  BY judge_name, task_type, mean_score DESC NULLS LAST
front: true
tags: {layer: marts}
materialized: table
columns:
  grain: task (all models pooled) or model_task.
  judge_id: Identity of the judge.
  judge_name: Readable name of the judge.
  is_demonstration: True for a demonstration judge (demo, made-up).
  model_id: LLM under test that wrote the answers; NULL for grain task.
  task_type: Task of the instructions.
  n_models: Models in the row.
  n_instructions: Distinct instructions in the row.
  n_answers: Answers judged; every repetition of the judging counts as one.
  n_requests: Requests for these answers, gates not counted.
  n: Requests with a usable score; the n of mean_score.
  coverage: n / n_requests.
  mean_score: Mean of the usable scores in [0, 1]; NULL where there is none.
  standard_error: Of mean_score, clustered by instruction; NULL below two instructions.
  ci_low: Lower end of the 95 % interval of mean_score; NULL where there is none.
  ci_high: Upper end of the 95 % interval of mean_score; NULL where there is none.
  n_clusters: Instructions with a usable score, the clusters of the standard error.
  interval_method: How the interval was computed; it changes below 30 clusters, see docs/reference/statistics.md.
  n_gated_answers: Answers whose gate tripped.
checks:
  - unique: [grain, judge_id, model_id, task_type]
  - name: intervals_belong_to_the_means
    description: Mean and n are those from which the interval was computed.
    sql: >
      SELECT quality.judge_id, quality.task_type, quality.n, intervals.n AS interval_n,
             quality.mean_score, intervals.mean
      FROM marts.task_quality AS quality
      LEFT JOIN statistics.mean_intervals AS intervals
          ON intervals.grain = quality.grain AND intervals.judge_id = quality.judge_id
          AND intervals.task_type = quality.task_type AND intervals.model_id IS NOT DISTINCT FROM quality.model_id
      WHERE coalesce(intervals.n, 0) <> quality.n
         OR coalesce(abs(intervals.mean - quality.mean_score) > 1e-9, FALSE)
  - name: numbers_add_up
    description: Both grains hold the same scores, and n never exceeds n_requests.
    sql: >
      SELECT judge_id, task_type, sum(CASE WHEN grain = 'task' THEN n ELSE -n END) AS difference
      FROM marts.task_quality
      GROUP BY judge_id, task_type
      HAVING difference <> 0 OR bool_or(n > n_requests)
*/
WITH answers AS (
    SELECT
        judge_id,
        judge_name,
        is_demonstration,
        model_id,
        task_type,
        prompt_id,
        gate_state,
        n_requests,
        n,
        answer_score
    FROM staging.answers
),

by_model AS (
    SELECT
        'model_task' AS grain,
        judge_id,
        judge_name,
        is_demonstration,
        model_id,
        task_type,
        count(DISTINCT prompt_id) AS n_instructions,
        count(DISTINCT model_id) AS n_models,
        count(*) AS n_answers,
        sum(n_requests) AS n_requests,
        sum(n) AS n,
        sum(answer_score * n) AS score_sum,
        count(CASE WHEN gate_state = 'tripped' THEN 1 END) AS n_gated_answers
    FROM answers
    GROUP BY judge_id, judge_name, is_demonstration, model_id, task_type
),

by_task AS (
    SELECT
        'task' AS grain,
        judge_id,
        judge_name,
        is_demonstration,
        CAST(NULL AS VARCHAR) AS model_id,
        task_type,
        count(DISTINCT prompt_id) AS n_instructions,
        count(DISTINCT model_id) AS n_models,
        count(*) AS n_answers,
        sum(n_requests) AS n_requests,
        sum(n) AS n,
        sum(answer_score * n) AS score_sum,
        count(CASE WHEN gate_state = 'tripped' THEN 1 END) AS n_gated_answers
    FROM answers
    GROUP BY judge_id, judge_name, is_demonstration, task_type
),

grains AS (
    SELECT * FROM by_model
    UNION ALL
    SELECT * FROM by_task
)

SELECT
    grains.grain,
    grains.judge_id,
    grains.judge_name,
    grains.is_demonstration,
    grains.model_id,
    grains.task_type,
    grains.n_models,
    grains.n_instructions,
    grains.n_answers,
    CAST(grains.n_requests AS BIGINT) AS n_requests,
    CAST(grains.n AS BIGINT) AS n,
    grains.n / nullif(grains.n_requests, 0) AS coverage,
    grains.score_sum / nullif(grains.n, 0) AS mean_score,
    intervals.standard_error,
    intervals.ci_low,
    intervals.ci_high,
    coalesce(intervals.n_clusters, 0) AS n_clusters,
    intervals.method AS interval_method,
    grains.n_gated_answers
FROM grains
LEFT JOIN statistics.mean_intervals AS intervals
    ON intervals.grain = grains.grain AND intervals.judge_id = grains.judge_id
    AND intervals.task_type = grains.task_type AND intervals.model_id IS NOT DISTINCT FROM grains.model_id
