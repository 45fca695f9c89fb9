/*
description: >
  Whether answers that seem to address the judge score differently from the rest, per judge and model. An answer counts
  once, with the mean of its usable scores (staging.answers). Flagged answers are judged unchanged and stay in every
  other table. The difference is descriptive and proves nothing: flagged answers may belong to other tasks, and when
  there are few of them it is mostly chance, so read it together with both n.
example: >
  SELECT model_id, flagged_share, flagged_mean, unflagged_mean, difference FROM marts.injection_effect
  ORDER BY flagged_share DESC, model_id
tags: {layer: marts}
materialized: table
columns:
  judge_id: Identity of the judge.
  judge_name: Readable name of the judge.
  is_demonstration: True for a demonstration judge (demo, made-up).
  model_id: LLM under test that wrote the answers.
  n_answers: Answers judged; every repetition of the judging counts as one.
  n_flagged_answers: Answers among them that seem to address the judge.
  flagged_share: n_flagged_answers / n_answers.
  n_flagged: Flagged answers that have a score; the n of flagged_mean.
  n_unflagged: Other answers that have a score; the n of unflagged_mean.
  flagged_coverage: n_flagged / n_flagged_answers; NULL where no answer is flagged.
  unflagged_coverage: Scored share of the other answers; NULL where every answer is flagged.
  flagged_mean: Mean answer score of flagged answers in [0, 1]; NULL where none is scored.
  unflagged_mean: Mean answer score of the other answers in [0, 1]; NULL where none is scored.
  difference: flagged_mean - unflagged_mean, in [-1, 1]; NULL where either is.
checks:
  - unique: [judge_id, model_id]
  - name: every_answer_is_on_one_side
    description: The scored answers of both sides add up to those of staging.answers.
    sql: >
      SELECT judge_id, marts_n, staging_n
      FROM (
        SELECT judge_id, sum(n_flagged + n_unflagged) AS marts_n FROM marts.injection_effect GROUP BY judge_id
      ) AS marts
      FULL JOIN (
        SELECT judge_id, count(answer_score) AS staging_n FROM staging.answers GROUP BY judge_id
      ) AS staging USING (judge_id)
      WHERE marts_n IS DISTINCT FROM staging_n
*/
WITH sides AS (
    SELECT
        judge_id,
        judge_name,
        is_demonstration,
        model_id,
        count(*) AS n_answers,
        count(CASE WHEN injection_suspected THEN 1 END) AS n_flagged_answers,
        count(CASE WHEN injection_suspected THEN answer_score END) AS n_flagged,
        count(CASE WHEN NOT injection_suspected THEN answer_score END) AS n_unflagged,
        avg(CASE WHEN injection_suspected THEN answer_score END) AS flagged_mean,
        avg(CASE WHEN NOT injection_suspected THEN answer_score END) AS unflagged_mean
    FROM staging.answers
    GROUP BY judge_id, judge_name, is_demonstration, model_id
)

SELECT
    judge_id,
    judge_name,
    is_demonstration,
    model_id,
    n_answers,
    n_flagged_answers,
    n_flagged_answers / n_answers AS flagged_share,
    n_flagged,
    n_unflagged,
    n_flagged / nullif(n_flagged_answers, 0) AS flagged_coverage,
    n_unflagged / nullif(n_answers - n_flagged_answers, 0) AS unflagged_coverage,
    flagged_mean,
    unflagged_mean,
    flagged_mean - unflagged_mean AS difference
FROM sides
