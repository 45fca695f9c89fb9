/*
description: >
  How good each model's answers are, per judge. mean_score pools all usable scores of the model (final_score of
  staging.scores: the judge's number and not its expectation, scaled to [0, 1], gates applied, gate rows themselves left
  out), so an answer with more criteria has more weight. Read it together with coverage: what could not be scored is
  left out of the mean, not counted as 0.
example: >
  SELECT model_id, mean_score, ci_low, ci_high, n, coverage, n_gated_answers FROM marts.model_quality ORDER BY
  judge_name, mean_score DESC NULLS LAST
tags: {layer: marts}
materialized: table
columns:
  judge_id: Identity of the judge.
  judge_name: Readable name of the judge.
  is_demonstration: True for a demonstration judge (demo, made-up).
  model_id: LLM under test that wrote the answers.
  n_instructions: Distinct instructions answered and judged.
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
  n_gated_answers: Answers whose gate tripped, so that their scores are 0.
  gated_share: n_gated_answers / n_answers.
  n_gate_unknown_answers: Answers left unscored because a gate has no ok verdict.
  n_unscored_answers: Answers without any usable score, whatever the reason.
checks:
  - unique: [judge_id, model_id]
  - name: numbers_add_up
    description: n never exceeds n_requests, a mean exists exactly when n > 0.
    sql: >
      SELECT * FROM marts.model_quality
      WHERE n > n_requests OR (mean_score IS NULL) <> (n = 0)
  - name: intervals_belong_to_the_means
    description: Mean and n are those from which the interval was computed.
    sql: >
      SELECT quality.judge_id, quality.model_id, quality.n, intervals.n AS interval_n,
             quality.mean_score, intervals.mean
      FROM marts.model_quality AS quality
      LEFT JOIN statistics.mean_intervals AS intervals
          ON intervals.grain = 'model' AND intervals.judge_id = quality.judge_id
          AND intervals.model_id = quality.model_id
      WHERE coalesce(intervals.n, 0) <> quality.n
         OR coalesce(abs(intervals.mean - quality.mean_score) > 1e-9, FALSE)
  - name: every_score_is_counted
    description: The usable scores of the models add up to those of staging.scores.
    sql: >
      SELECT judge_id, marts_n, staging_n
      FROM (SELECT judge_id, sum(n) AS marts_n FROM marts.model_quality GROUP BY judge_id) AS marts
      FULL JOIN (SELECT judge_id, count(final_score) AS staging_n FROM staging.scores GROUP BY judge_id) AS staging
      USING (judge_id)
      WHERE marts_n IS DISTINCT FROM staging_n
*/
WITH answers AS (
    SELECT
        judge_id,
        model_id,
        count(DISTINCT prompt_id) AS n_instructions,
        count(*) AS n_answers,
        count(CASE WHEN gate_state = 'tripped' THEN 1 END) AS n_gated_answers,
        count(CASE WHEN gate_state = 'unknown' THEN 1 END) AS n_gate_unknown_answers,
        count(CASE WHEN n = 0 THEN 1 END) AS n_unscored_answers
    FROM staging.answers
    GROUP BY judge_id, model_id
),

scores AS (
    SELECT
        judge_id,
        judge_name,
        is_demonstration,
        model_id,
        count(CASE WHEN NOT is_gate THEN 1 END) AS n_requests,
        count(final_score) AS n,
        avg(final_score) AS mean_score
    FROM staging.scores
    GROUP BY judge_id, judge_name, is_demonstration, model_id
)

SELECT
    scores.judge_id,
    scores.judge_name,
    scores.is_demonstration,
    scores.model_id,
    answers.n_instructions,
    answers.n_answers,
    scores.n_requests,
    scores.n,
    scores.n / nullif(scores.n_requests, 0) AS coverage,
    scores.mean_score,
    intervals.standard_error,
    intervals.ci_low,
    intervals.ci_high,
    coalesce(intervals.n_clusters, 0) AS n_clusters,
    intervals.method AS interval_method,
    answers.n_gated_answers,
    answers.n_gated_answers / answers.n_answers AS gated_share,
    answers.n_gate_unknown_answers,
    answers.n_unscored_answers
FROM scores
JOIN answers ON answers.judge_id = scores.judge_id AND answers.model_id = scores.model_id
LEFT JOIN statistics.mean_intervals AS intervals
    ON intervals.grain = 'model' AND intervals.judge_id = scores.judge_id AND intervals.model_id = scores.model_id
