/*
description: >
  As policy_pollux, but a score is divided by its rubric's highest level instead of scaled from the lowest: level 1 on a
  scale of 1 to 5 is 0.2 here and 0 there. Where the lowest level is the best, a score is first mirrored within its
  scale (1 on 1 to 5 counts as 5). Criteria whose highest level is not positive cannot be divided by it and are left
  out. Source: the same aggregation (ai-forever/POLLUX on GitHub, src/metrics.py) with the normalisation of MERA's task
  code (score / highest level).
example: >
  SELECT model_id, score, n, coverage FROM marts.policy_pollux_max ORDER BY judge_name, score DESC NULLS LAST
tags: {layer: marts}
materialized: table
columns:
  judge_id: Identity of the judge.
  judge_name: Readable name of the judge.
  is_demonstration: True for a demonstration judge (demo, made-up).
  model_id: LLM under test that wrote the answers.
  n: Scores in the mean.
  coverage: Scores in the mean / all requests, gates not counted.
  score: Mean of score / highest level; NULL without any.
checks:
  - unique: [judge_id, model_id]
*/
SELECT
    judge_id,
    judge_name,
    is_demonstration,
    model_id,
    count(CASE WHEN max_score > 0 THEN oriented_score END) AS n,
    count(CASE WHEN max_score > 0 THEN oriented_score END) / count(*) AS coverage,
    avg(
        CASE
            WHEN max_score <= 0 THEN NULL
            WHEN gate_state = 'tripped' THEN 0.0 * oriented_score
            ELSE oriented_score / max_score
        END
    ) AS score
FROM staging.scores
WHERE NOT is_gate
GROUP BY judge_id, judge_name, is_demonstration, model_id
