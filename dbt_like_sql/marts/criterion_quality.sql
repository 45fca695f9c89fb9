/*
description: >
  Quality by criterion, per judge and model. For a gate, mean_score is NULL (gates never enter a mean) and
  mean_normalized_score is the share of answers it tripped on. Criteria are told apart by name and rubrics
  together, so one criteria_name may have several rows.
owners: [team:evaluation]
tags: {layer: marts}
materialized: table
columns:
  judge_id: Identity of the judge.
  judge_name: Readable name of the judge.
  is_demonstration: True for the packaged demonstration judge.
  model_id: Model that wrote the answers.
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
checks:
  - unique: [judge_id, model_id, criterion_id]
  - name: numbers_add_up
    description: Means and coverage lie in [0, 1], n <= n_ok <= n_requests, gates have no mean_score.
    sql: >
      SELECT * FROM marts.criterion_quality
      WHERE mean_score NOT BETWEEN 0 AND 1 OR mean_normalized_score NOT BETWEEN 0 AND 1
         OR coverage NOT BETWEEN 0 AND 1 OR n > n_ok OR n_ok > n_requests
         OR (is_gate AND mean_score IS NOT NULL)
*/
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
    count(score) AS n_ok,
    count(final_score) AS n,
    (CASE WHEN is_gate THEN count(score) ELSE count(final_score) END) / count(*) AS coverage,
    avg(normalized_score) AS mean_normalized_score,
    avg(final_score) AS mean_score
FROM staging.scores
GROUP BY
    judge_id, judge_name, is_demonstration, model_id, criterion_id, criteria_name, criteria_group, is_gate
