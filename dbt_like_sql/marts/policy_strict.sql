/*
description: >
  The default policy of this project: marts.model_quality with bounds for missing verdicts. A tripped gate makes the
  answer's scores 0, a gate without an ok verdict leaves the answer unscored (fail closed), and a verdict that failed or
  is missing is left out of the mean, never counted. worst_case and best_case are what the mean would be if every
  missing verdict had come out at its worst or at its best: a missing score is 0 or 1, an undecided gate trips or
  passes, and under a tripped gate both are 0. The score can lie outside these bounds, because answers that could not be
  scored may be unlike those that could. Source: the definition is this project's own; the bounds are those without
  assumptions for bounded outcomes (Manski 1990, American Economic Review 80:319).
example: >
  SELECT model_id, score, worst_case, best_case, n, coverage FROM marts.policy_strict ORDER BY judge_name, score DESC
  NULLS LAST
tags: {layer: marts}
materialized: table
columns:
  judge_id: Identity of the judge.
  judge_name: Readable name of the judge.
  is_demonstration: True for a demonstration judge (demo, made-up).
  model_id: LLM under test that wrote the answers.
  n: Usable scores.
  n_requests: Requests, gates not counted.
  coverage: n / n_requests.
  score: Mean of the usable scores in [0, 1]; NULL without any.
  worst_case: Mean over all requests if every missing verdict had been the worst possible.
  best_case: Mean over all requests if every missing verdict had been the best possible.
checks:
  - unique: [judge_id, model_id]
  - name: bounds_hold_the_mean_over_all_requests
    description: 0 <= worst_case <= best_case <= 1, and both equal the score where nothing is missing.
    sql: >
      SELECT * FROM marts.policy_strict
      WHERE worst_case < 0 OR worst_case > best_case + 1e-12 OR best_case > 1
         OR (n = n_requests AND (abs(worst_case - score) > 1e-12 OR abs(best_case - score) > 1e-12))
*/
SELECT
    judge_id,
    judge_name,
    is_demonstration,
    model_id,
    count(final_score) AS n,
    count(*) AS n_requests,
    count(final_score) / count(*) AS coverage,
    avg(final_score) AS score,
    avg(coalesce(final_score, 0.0)) AS worst_case,
    avg(
        CASE
            WHEN final_score IS NOT NULL THEN final_score
            WHEN gate_state = 'tripped' THEN 0.0
            ELSE coalesce(normalized_score, 1.0)
        END
    ) AS best_case
FROM staging.scores
WHERE NOT is_gate
GROUP BY judge_id, judge_name, is_demonstration, model_id
