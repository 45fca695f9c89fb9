/*
description: >
  Every two models of a judge, in both orders, compared by people's scores instead of the judge's, paired by
  instruction, as marts.pairwise_comparison compares the judge's: by people's means of all answers
  (marts.calibrated_quality) or, where the labels of one do not allow one, on the items (one criterion of one
  instruction, averaged over samples) that people scored of both. Only answers that people scored as a whole count, and
  no model whose labels are doubtful. To claim that people's scores put one model above another, use is_sure.
example: >
  SELECT model_id, other_model_id, difference, ci_low, ci_high, adjusted_p_value, method FROM marts.people_comparison
  WHERE is_sure AND difference > 0 ORDER BY difference DESC
tags: {layer: marts}
materialized: view
columns:
  judge_id: Identity of the judge, whose scores stand in for people's where these are missing.
  judge_name: Readable name of the judge.
  is_demonstration: True for a demonstration judge (demo, made-up).
  model_id: The model whose score comes first in the difference.
  other_model_id: The model it is compared with.
  difference: People's mean of model_id - other_model_id, in [-1, 1].
  standard_error: >
    Of the difference, clustered by instruction; NULL where only the intervals of two means can be compared.
  ci_low: Lower end of its 95 % interval, not adjusted for the number of pairs.
  ci_high: Upper end of its 95 % interval, not adjusted for the number of pairs.
  p_value: Two-sided p-value of no difference.
  adjusted_p_value: p_value adjusted (Holm) over all pairs of the judge here.
  is_sure: >
    True where adjusted_p_value is below 0.05 and, where only the intervals of two means can be compared, these do not
    overlap.
  n: Items that people scored of both.
  n_clusters: Their instructions.
  is_of_shared_items: True where difference is of these items, false where it is of all answers.
  judge_difference: >
    The judge's mean of model_id - other_model_id on these items; NULL where is_of_shared_items is false.
  method: How the interval was computed.
checks:
  - unique: [judge_id, model_id, other_model_id]
*/
SELECT
    source.judge_id,
    judges.judge_name,
    judges.is_demonstration,
    source.* EXCLUDE (judge_id)
FROM statistics.people_comparison AS source
LEFT JOIN meta.judges AS judges ON judges.judge_id = source.judge_id
