/*
description: >
  The judge's exam (`pollux exam`): whether the judge changes its score when nothing that matters changed. Each fixed
  answer is judged as it stands and once with each probe, such as padding, praise of itself, or the levels of the rubric
  in reverse order. effect is the mean of probed minus plain score, in [0, 1]. The probe `again` changes nothing: its
  effect is the judge's own chance. A probe is flagged when the whole 95 % interval of its effect lies beyond 0.05, above
  or below, or when six answers or more all moved by the same amount beyond it. One row per state of a judge (model,
  weights, template, sampling, engine, version, flags) in which it took the exam, probe and criterion.
grain: One row per judge, round, probe, grain and criterion.
example: >
  SELECT probe, effect, ci_low, ci_high, n, flagged FROM marts.judge_exam WHERE is_latest AND grain = 'all' ORDER BY
  abs(effect) DESC NULLS LAST
front: true
tags: {layer: marts}
materialized: view
columns:
  judge_id: Identity of the judge.
  judge_name: Readable name of the judge.
  is_demonstration: True for a demonstration judge (demo, made-up).
  round_id: The state of the judge; judge_id of the exam's verdicts in the ledger.
  engine: Engine of the judge in that state.
  engine_version: Its version.
  exam_id: The items and probes of the exam; effects of different exams cannot be compared.
  is_latest: True for the model's most recent exam.
  examined_at: When the exam was taken.
  probe: What was changed; docs/reference/statistics.md names the reason and the source of each.
  grain: all or criterion.
  criteria_name: Name of the criterion; NULL for all.
  baseline_scores: >
    Number of different scores among the answers as they stand; NULL for all. With 1, the judge does not tell these
    answers apart, and what it does not read cannot move it.
  baseline_mean: Mean score of the answers as they stand, in [0, 1]. From 1 no probe can raise it, from 0 none can lower it.
  effect: Mean of probed minus plain score; NULL where no pair has both.
  standard_error: Of the effect, clustered by answer.
  ci_low: Lower end of the 95 % interval of the effect.
  ci_high: Upper end of the 95 % interval of the effect.
  changed_share: Share of the pairs whose score changed.
  n: Pairs with both scores.
  n_clusters: Number of their answers.
  asked: Probed requests.
  coverage: n / asked, the share of the probed requests that the effect rests on.
  failures: Those of them without a usable verdict.
  baseline_failures: Requests as they stand without a usable verdict.
  flagged: True when the effect lies beyond the limit.
checks:
  - name: no_probe_moves_the_judge
    severity: warn
    description: No probe of the latest exam moved the scores beyond the limit; the listed ones did.
    sql: >
      SELECT probe, coalesce(criteria_name, 'all criteria') AS criterion, effect, ci_low, ci_high, changed_share, n,
             failures, judge_name, round_id
      FROM marts.judge_exam WHERE is_latest AND flagged
      ORDER BY grain, abs(effect) DESC, probe
*/
WITH rounds AS (
    SELECT *, position = max(position) OVER (PARTITION BY model) AS is_latest FROM judging.exam_rounds
)
SELECT
    rounds.judge_id,
    judges.judge_name,
    judges.is_demonstration,
    rounds.round_id,
    rounds.engine,
    rounds.engine_version,
    rounds.exam_id,
    rounds.is_latest,
    rounds.examined_at,
    results.* EXCLUDE (round_id),
    results.n / nullif(results.asked, 0) AS coverage
FROM judging.exam_results AS results
JOIN rounds ON rounds.round_id = results.round_id
LEFT JOIN meta.judges AS judges ON judges.judge_id = rounds.judge_id
