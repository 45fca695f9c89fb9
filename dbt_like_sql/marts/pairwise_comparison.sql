/*
description: >
  Every two models of a judge, in both orders, compared item by item (one criterion of one instruction, averaged over
  samples and repetitions) on the items that both were scored on. difference is positive where model_id is better. To
  claim that two models differ, use adjusted_p_value: it is adjusted (Holm) for the number of pairs of the judge.
example: >
  SELECT model_id, other_model_id, difference, ci_low, ci_high, adjusted_p_value FROM marts.pairwise_comparison WHERE
  model_id < other_model_id ORDER BY adjusted_p_value NULLS LAST
front: true
tags: {layer: marts}
materialized: view
columns:
  judge_id: Identity of the judge.
  judge_name: Readable name of the judge.
  is_demonstration: True for a demonstration judge (demo, made-up).
  model_id: The model whose score comes first in the difference.
  other_model_id: The model it is compared with.
  difference: Mean of model_id - other_model_id over the shared items, in units of mean_score; NULL without any.
  standard_error: Of the difference, clustered by instruction; NULL below two shared instructions.
  ci_low: Lower end of its 95 % interval, not adjusted for the number of pairs.
  ci_high: Upper end of its 95 % interval, not adjusted for the number of pairs.
  p_value: Two-sided p-value of no difference.
  adjusted_p_value: p_value adjusted over all pairs of the judge; below 0.05 the two models differ.
  superiority: Share of shared instructions on which model_id has the higher mean; a tie counts as half.
  n: Shared items.
  n_clusters: Shared instructions.
  method: How the interval was computed.
checks:
  - unique: [judge_id, model_id, other_model_id]
  - name: both_ways_round_mirror_each_other
    description: a - b is minus b - a, with the same p-value, on the same items.
    sql: >
      SELECT a.judge_id, a.model_id, a.other_model_id, a.difference, b.difference AS mirrored
      FROM marts.pairwise_comparison AS a
      LEFT JOIN marts.pairwise_comparison AS b
          ON b.judge_id = a.judge_id AND b.model_id = a.other_model_id AND b.other_model_id = a.model_id
      WHERE abs(a.difference + b.difference) > 1e-9 OR a.n IS DISTINCT FROM b.n
         OR a.adjusted_p_value IS DISTINCT FROM b.adjusted_p_value
*/
SELECT
    source.judge_id,
    judges.judge_name,
    judges.is_demonstration,
    source.* EXCLUDE (judge_id)
FROM statistics.pairwise_comparison AS source
LEFT JOIN meta.judges AS judges ON judges.judge_id = source.judge_id
