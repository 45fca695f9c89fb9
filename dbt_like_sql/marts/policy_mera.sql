/*
description: >
  How MERA scores tasks judged by a POLLUX judge: an answer's score is the sum of score / highest level over its k
  criteria, divided by k; a reply without a usable number counts as 0; there are no gates; a model's score is the mean
  over its answers, so every answer has the same weight. Source: process_results of MERA's POLLUX-judged tasks for
  lm-evaluation-harness (score / maximum of the rubric, averaged over the criteria, 0.0 where no number is read). The
  gates of this project are not among the k criteria: their 1 means that the answer cannot be rated, and counting it as
  full marks would reward it. Where the lowest level is the best, a score is first mirrored within its scale.
example: >
  SELECT model_id, score, n, coverage FROM marts.policy_mera ORDER BY judge_name, score DESC NULLS LAST
tags: {layer: marts}
materialized: table
columns:
  judge_id: Identity of the judge.
  judge_name: Readable name of the judge.
  is_demonstration: True for a demonstration judge (demo, made-up).
  model_id: LLM under test that wrote the answers.
  n: Answers in the mean.
  coverage: Usable scores / requests, gates not counted; a missing score counts as 0 here.
  score: Mean of the answers' scores.
checks:
  - unique: [judge_id, model_id]
*/
WITH answers AS (
    SELECT
        judge_id,
        judge_name,
        is_demonstration,
        model_id,
        sum(CASE WHEN max_score > 0 THEN coalesce(oriented_score, 0.0) / max_score ELSE 0.0 END) / count(*)
            AS answer_score,
        count(oriented_score) AS usable,
        count(*) AS requests
    FROM staging.scores
    WHERE NOT is_gate
    GROUP BY judge_id, judge_name, is_demonstration, model_id, prompt_id, sample_index, repeat_index
)

SELECT
    judge_id,
    judge_name,
    is_demonstration,
    model_id,
    count(*) AS n,
    sum(usable) / sum(requests) AS coverage,
    avg(answer_score) AS score
FROM answers
GROUP BY judge_id, judge_name, is_demonstration, model_id
