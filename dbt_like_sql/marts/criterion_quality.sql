/*
description: >
  Quality by criterion, per judge and model. For a gate, mean_score is NULL (gates never enter a mean) and
  mean_normalized_score is the share of answers it tripped on. A criterion is identified by name and rubrics together,
  so one criteria_name may have several rows.
example: >
  SELECT criteria_name, model_id, mean_normalized_score, n_ok, is_gate FROM marts.criterion_quality ORDER BY
  judge_name, criteria_name, mean_normalized_score DESC NULLS LAST
front: true
tags: {layer: marts}
materialized: table
columns:
  judge_id: Identity of the judge.
  judge_name: Readable name of the judge.
  is_demonstration: True for a demonstration judge (demo, made-up).
  model_id: LLM under test that wrote the answers.
  criterion_id: Criterion, identified by name and rubrics together.
  criteria_name: Name of the criterion.
  criteria_group: critical, general, domain, task, subjective or unspecified.
  is_gate: True for a gate.
  n_instructions: Distinct instructions judged by this criterion.
  n_requests: Requests for this criterion.
  n_ok: Requests with an ok verdict; the n of mean_normalized_score.
  n: Requests with a usable score after the gate rule; the n of mean_score.
  coverage: n / n_requests, for a gate n_ok / n_requests.
  mean_normalized_score: Mean of the ok verdicts in [0, 1], before the gate rule; NULL where there is none.
  mean_score: Mean of the usable scores in [0, 1], after the gate rule; NULL for gates and where there is none.
  standard_error: Of mean_score, clustered by instruction; NULL below two instructions.
  ci_low: Lower end of the 95 % interval of mean_score; NULL where there is none.
  ci_high: Upper end of the 95 % interval of mean_score; NULL where there is none.
  n_clusters: Instructions with a usable score, the clusters of the standard error.
  interval_method: How the interval was computed; it changes below 30 clusters, see docs/reference/statistics.md.
  normalized_standard_error: Of mean_normalized_score, clustered by instruction.
  normalized_ci_low: Lower end of the 95 % interval of mean_normalized_score.
  normalized_ci_high: Upper end of the 95 % interval of mean_normalized_score.
  normalized_n_clusters: Instructions with an ok verdict.
  normalized_interval_method: How the interval of mean_normalized_score was computed.
checks:
  - unique: [judge_id, model_id, criterion_id]
  - name: intervals_belong_to_the_means
    description: Mean and n are those from which the interval was computed.
    sql: >
      SELECT quality.judge_id, quality.criterion_id, quality.n, intervals.n AS interval_n,
             quality.mean_score, intervals.mean
      FROM marts.criterion_quality AS quality
      LEFT JOIN statistics.mean_intervals AS intervals
          ON intervals.grain = 'criterion' AND intervals.judge_id = quality.judge_id
          AND intervals.criterion_id = quality.criterion_id AND intervals.model_id = quality.model_id
      WHERE coalesce(intervals.n, 0) <> quality.n
         OR coalesce(abs(intervals.mean - quality.mean_score) > 1e-9, FALSE)
  - name: intervals_belong_to_the_means_before_gates
    description: Mean and n are those from which the interval was computed.
    sql: >
      SELECT quality.judge_id, quality.criterion_id, quality.n_ok, intervals.n AS interval_n,
             quality.mean_normalized_score, intervals.mean
      FROM marts.criterion_quality AS quality
      LEFT JOIN statistics.mean_intervals AS intervals
          ON intervals.grain = 'criterion_before_gates' AND intervals.judge_id = quality.judge_id
          AND intervals.criterion_id = quality.criterion_id AND intervals.model_id = quality.model_id
      WHERE coalesce(intervals.n, 0) <> quality.n_ok
         OR coalesce(abs(intervals.mean - quality.mean_normalized_score) > 1e-9, FALSE)
  - name: numbers_add_up
    description: n <= n_ok <= n_requests, gates have no mean_score.
    sql: >
      SELECT * FROM marts.criterion_quality
      WHERE n > n_ok OR n_ok > n_requests OR (is_gate AND mean_score IS NOT NULL)
*/
WITH quality AS (
    SELECT
        judge_id,
        judge_name,
        is_demonstration,
        model_id,
        criterion_id,
        criteria_name,
        criteria_group,
        is_gate,
        count(DISTINCT prompt_id) AS n_instructions,
        count(*) AS n_requests,
        count(normalized_score) AS n_ok,
        count(final_score) AS n,
        (CASE WHEN is_gate THEN count(score) ELSE count(final_score) END) / count(*) AS coverage,
        avg(normalized_score) AS mean_normalized_score,
        avg(final_score) AS mean_score
    FROM staging.scores
    GROUP BY
        judge_id, judge_name, is_demonstration, model_id, criterion_id, criteria_name, criteria_group, is_gate
)

SELECT
    quality.judge_id,
    quality.judge_name,
    quality.is_demonstration,
    quality.model_id,
    quality.criterion_id,
    quality.criteria_name,
    quality.criteria_group,
    quality.is_gate,
    quality.n_instructions,
    quality.n_requests,
    quality.n_ok,
    quality.n,
    quality.coverage,
    quality.mean_normalized_score,
    quality.mean_score,
    intervals.standard_error,
    intervals.ci_low,
    intervals.ci_high,
    coalesce(intervals.n_clusters, 0) AS n_clusters,
    intervals.method AS interval_method,
    before.standard_error AS normalized_standard_error,
    before.ci_low AS normalized_ci_low,
    before.ci_high AS normalized_ci_high,
    coalesce(before.n_clusters, 0) AS normalized_n_clusters,
    before.method AS normalized_interval_method
FROM quality
LEFT JOIN statistics.mean_intervals AS intervals
    ON intervals.grain = 'criterion' AND intervals.judge_id = quality.judge_id
    AND intervals.model_id = quality.model_id AND intervals.criterion_id = quality.criterion_id
LEFT JOIN statistics.mean_intervals AS before
    ON before.grain = 'criterion_before_gates' AND before.judge_id = quality.judge_id
    AND before.model_id = quality.model_id AND before.criterion_id = quality.criterion_id
