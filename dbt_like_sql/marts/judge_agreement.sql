/*
description: >
  How well a judge agrees with people, one row per figure, beside the agreement among people: the same figure for one
  annotator against the others, which a judge cannot be expected to exceed. Scores are in the rubrics' own units, gates
  included; only ok verdicts on answers that people scored count. Fractional gold is used unchanged for rmse, mae,
  spearman and krippendorff_alpha, and as its nearest level (halfway rounds up) for the others. The figures are those
  of the judge's number (score); where the judge also gave probabilities of the levels, the columns from number_value on
  compare its number and its expectation (expected_score), on the scores that have both.
example: >
  SELECT judge_name, metric, value, ci_low, ci_high, human_value, n FROM marts.judge_agreement WHERE grain = 'all'
  ORDER BY judge_name, metric
front: true
tags: {layer: marts}
materialized: view
columns:
  judge_id: Identity of the judge.
  judge_name: Readable name of the judge.
  is_demonstration: True for a demonstration judge (demo, made-up).
  grain: all, criterion, task_type or domain.
  scope: The criterion_id, task type or domain; NULL for all.
  criteria_name: Name of the criterion, for grain criterion.
  aggregation: How several annotators' scores became one gold score (mean, median or mode).
  metric: rmse, mae, macro_f1, spearman, quadratic_kappa, krippendorff_alpha or exact_agreement.
  value: The figure; NULL where it is undefined, for instance the correlation with a constant.
  standard_error: Jackknife over instructions.
  ci_low: Lower end of the 95 % interval; NULL where there is none.
  ci_high: Upper end of the 95 % interval; NULL where there is none.
  n: Scores compared.
  n_clusters: Number of their instructions.
  human_value: The same figure between people; NULL without a second annotator.
  human_ci_low: Lower end of its 95 % interval.
  human_ci_high: Upper end of its 95 % interval.
  human_n: Pairs of one annotator and the others.
  number_value: The figure of the judge's number on the scores that also have an expectation; NULL without any.
  number_ci_low: Lower end of its 95 % interval.
  number_ci_high: Upper end of its 95 % interval.
  expected_value: >
    The figure of the expectation on the same scores; it is used unchanged for rmse, mae, spearman and
    krippendorff_alpha, and as its nearest level for the others.
  expected_ci_low: Lower end of its 95 % interval.
  expected_ci_high: Upper end of its 95 % interval.
  difference: expected_value - number_value; below 0 the expectation is better for rmse and mae, above 0 for the others.
  difference_ci_low: Lower end of the 95 % interval of the difference, which is paired; NULL where there is none.
  difference_ci_high: Upper end of the 95 % interval of the difference.
  expected_n: Scores with a number and an expectation; 0 for a judge whose profile does not ask for probabilities.
  expected_n_clusters: Number of their instructions.
checks:
  - unique: [judge_id, grain, scope, metric]
*/
SELECT
    source.judge_id,
    judges.judge_name,
    judges.is_demonstration,
    source.grain,
    source.scope,
    criteria.criteria_name,
    source.* EXCLUDE (judge_id, grain, scope)
FROM statistics.judge_agreement AS source
LEFT JOIN meta.judges AS judges ON judges.judge_id = source.judge_id
LEFT JOIN raw.criteria AS criteria ON source.grain = 'criterion' AND criteria.criterion_id = source.scope
