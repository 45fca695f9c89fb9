/*
description: >
  How much each criterion's score depends on the length of the answer (in characters), over all models of a judge.
  correlation is Spearman's over all answers; slope compares answers to the same instruction, given the model, so that
  hard questions and good models are not mistaken for an effect of length. Answers whose gate tripped are left out.
  Where finding is "none beyond chance" for every criterion, length explains nothing, and length_controlled_score of
  marts.leaderboard differs from mean_score by chance only.
example: >
  SELECT criteria_name, finding, slope, ci_low, ci_high, adjusted_p_value FROM marts.length_effect
  ORDER BY adjusted_p_value NULLS LAST
tags: {layer: marts}
materialized: view
columns:
  judge_id: Identity of the judge.
  judge_name: Readable name of the judge.
  is_demonstration: True for a demonstration judge (demo, made-up).
  criterion_id: Criterion, identified by name and rubrics together.
  criteria_name: Name of the criterion.
  correlation: Spearman correlation of score and length; NULL where either is constant.
  slope: Change of the score in [0, 1] per standard deviation of log length; NULL where it cannot be estimated.
  standard_error: Of the slope, clustered by instruction.
  ci_low: Lower end of the 95 % interval of the slope.
  ci_high: Upper end of the 95 % interval of the slope.
  adjusted_p_value: p-value of no effect, adjusted (Holm) for the number of criteria of the judge.
  finding: >
    What can be said of it, with adjusted_p_value below 0.05: longer answers score higher, longer answers score lower,
    none beyond chance; or not known, where length cannot be told apart from model and instruction.
  n: Scores.
  n_clusters: Instructions.
checks:
  - unique: [judge_id, criterion_id]
*/
SELECT
    source.judge_id,
    judges.judge_name,
    judges.is_demonstration,
    source.criterion_id,
    criteria.criteria_name,
    source.correlation,
    source.slope,
    source.standard_error,
    source.ci_low,
    source.ci_high,
    source.adjusted_p_value,
    CASE
        WHEN source.adjusted_p_value IS NULL THEN 'not known'
        WHEN source.adjusted_p_value >= 0.05 THEN 'none beyond chance'
        WHEN source.slope > 0 THEN 'longer answers score higher'
        ELSE 'longer answers score lower'
    END AS finding,
    source.n,
    source.n_clusters
FROM statistics.length_effect AS source
LEFT JOIN meta.judges AS judges ON judges.judge_id = source.judge_id
LEFT JOIN raw.criteria AS criteria ON criteria.criterion_id = source.criterion_id
