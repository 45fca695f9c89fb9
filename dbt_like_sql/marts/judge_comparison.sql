/*
description: >
  Judges side by side in the form of the judge model card (RMSE, macro F1, Spearman against people), on the same items:
  those scored by people and by every judge listed. Judges without any score on items that people scored are left out.
example: >
  SELECT judge_name, n, rmse, macro_f1, spearman FROM marts.judge_comparison ORDER BY rmse
tags: {layer: marts}
materialized: view
columns:
  judge_id: Identity of the judge.
  judge_name: Readable name of the judge.
  is_demonstration: True for a demonstration judge (demo, made-up).
  aggregation: How several annotators' scores became one gold score (mean, median or mode).
  n_judges: Judges compared.
  n: Items that people and all of them scored.
  n_clusters: Number of their instructions.
  rmse: Root mean squared error, in the rubrics' units.
  rmse_ci_low: Lower end of its 95 % interval.
  rmse_ci_high: Upper end of its 95 % interval.
  macro_f1: Macro F1 over the levels in use.
  macro_f1_ci_low: Lower end of its 95 % interval.
  macro_f1_ci_high: Upper end of its 95 % interval.
  spearman: Spearman's rank correlation.
  spearman_ci_low: Lower end of its 95 % interval.
  spearman_ci_high: Upper end of its 95 % interval.
checks:
  - unique: [judge_id]
*/
SELECT
    source.judge_id,
    judges.judge_name,
    judges.is_demonstration,
    source.* EXCLUDE (judge_id)
FROM statistics.judge_comparison AS source
LEFT JOIN meta.judges AS judges ON judges.judge_id = source.judge_id
