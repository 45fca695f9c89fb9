/*
description: >
  The scoring of the POLLUX benchmark: a tripped gate makes all scores of the answer 0; gates themselves are left out;
  the rest is one pooled mean; a reply without a number is skipped. Here every score is scaled by its rubric's lowest
  and highest level. Unlike strict it fails open: a gate without a verdict does not hold the answer back. Source:
  ai-forever/POLLUX on GitHub, src/metrics.py (the grand mean over criteria that are not binary). There are two
  differences: POLLUX takes any two-level rubric for a gate, while here a gate is a two-level criterion of the critical
  group; and POLLUX averages unscaled scores, which differs only where scales differ.
example: >
  SELECT model_id, score, n, coverage FROM marts.policy_pollux ORDER BY judge_name, score DESC NULLS LAST
tags: {layer: marts}
materialized: table
columns:
  judge_id: Identity of the judge.
  judge_name: Readable name of the judge.
  is_demonstration: True for a demonstration judge (demo, made-up).
  model_id: LLM under test that wrote the answers.
  n: Scores in the mean.
  coverage: Scores in the mean / all requests, gates not counted.
  score: Mean of the scaled scores in [0, 1]; NULL without any.
checks:
  - unique: [judge_id, model_id]
*/
SELECT
    judge_id,
    judge_name,
    is_demonstration,
    model_id,
    count(normalized_score) AS n,
    count(normalized_score) / count(*) AS coverage,
    avg(CASE WHEN gate_state = 'tripped' THEN 0.0 * normalized_score ELSE normalized_score END) AS score
FROM staging.scores
WHERE NOT is_gate
GROUP BY judge_id, judge_name, is_demonstration, model_id
