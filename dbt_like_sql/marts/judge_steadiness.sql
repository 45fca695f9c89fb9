/*
description: >
  How often a judge contradicts itself: verdicts of the same request taken several times (POLLUX_REPEATS). Scores are in
  [0, 1], before the gate rule.
example: >
  SELECT judge_name, criteria_name, flip_rate, within_share, n_repeated FROM marts.judge_steadiness ORDER BY flip_rate
  DESC NULLS LAST
tags: {layer: marts}
materialized: view
columns:
  judge_id: Identity of the judge.
  judge_name: Readable name of the judge.
  is_demonstration: True for a demonstration judge (demo, made-up).
  grain: all or criterion.
  criterion_id: Criterion, identified by name and rubrics together; NULL for all.
  criteria_name: Name of the criterion.
  flip_rate: Probability that two verdicts of one request differ; NULL where none was repeated.
  within_variance: Variance between verdicts of one request.
  within_share: That variance as a share of the total variance of single verdicts.
  n_repeated: Requests with two ok verdicts or more.
  n_verdicts: Ok verdicts.
checks:
  - unique: [judge_id, grain, criterion_id]
*/
SELECT
    source.judge_id,
    judges.judge_name,
    judges.is_demonstration,
    source.grain,
    source.criterion_id,
    criteria.criteria_name,
    source.* EXCLUDE (judge_id, grain, criterion_id)
FROM statistics.judge_steadiness AS source
LEFT JOIN meta.judges AS judges ON judges.judge_id = source.judge_id
LEFT JOIN raw.criteria AS criteria ON criteria.criterion_id = source.criterion_id
