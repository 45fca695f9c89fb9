/*
description: >
  Whether the judge has drifted: verdicts of each round on the golden set against those of the baseline round of the
  same judge model, by criterion. A round is one state of the judge (model, weights, template, sampling, engine,
  version, flags). shift is later minus baseline in [0, 1], where 1 is always the best level. A criterion has shifted
  when its mean moved by more than 0.02 with an adjusted p-value below 0.05, or when all of its requests moved in the
  same direction by more than that; it is failing when the share of its requests with a usable verdict fell by as much.
  While a criterion of the latest round has shifted or is failing, nothing is published. Review the verdicts, then
  either repair the judge or accept the round as the new baseline (`pollux golden accept`). When the check fails, the
  figures are in statistics.golden_drift.
example: >
  SELECT what_changed, criteria_name, shift, ci_low, ci_high, shifted FROM marts.golden_drift WHERE is_latest ORDER BY
  abs(shift) DESC NULLS LAST
tags: {layer: marts}
materialized: view
columns:
  judge_id: Identity of the judge in the later round.
  judge_name: Readable name of the judge.
  is_demonstration: True for a demonstration judge (demo, made-up).
  round_id: The later round; judge_id of its verdicts in judging.verdicts.
  baseline_round_id: The round it is compared with.
  is_latest: True for the model's most recent round.
  what_changed: Judge, engine or flags, before and after.
  criterion_id: Criterion, identified by name and rubrics together.
  criteria_name: Name of the criterion.
  shift: Mean of later minus baseline score, in [0, 1]; NULL where no request has a score in both rounds.
  standard_error: Of the shift, clustered by instruction.
  ci_low: Lower end of the 95 % interval of the shift.
  ci_high: Upper end of the 95 % interval of the shift.
  adjusted_p_value: Of a shift within the tolerance, adjusted (Holm) over the criteria of the round.
  changed_share: Share of those requests whose score changed.
  n: Requests with a score in both rounds.
  n_clusters: Number of their instructions.
  shifted: True when the shift is beyond tolerance and chance.
  ok_share: Share of the requests with a usable verdict in the later round.
  baseline_ok_share: The same share in the baseline round.
  failing: True when that share fell, beyond tolerance and chance.
checks:
  - unique: [round_id, criterion_id]
  - name: the_judge_has_not_shifted
    description: No criterion of the latest round shifted from the baseline or lost verdicts; the listed ones did.
    sql: >
      SELECT criteria_name, shift, ci_low, ci_high, changed_share, n, baseline_ok_share, ok_share, what_changed, judge_id,
             criterion_id
      FROM marts.golden_drift WHERE is_latest AND (shifted OR failing)
      ORDER BY failing DESC, abs(shift) DESC, criteria_name
*/
SELECT
    source.judge_id,
    judges.judge_name,
    judges.is_demonstration,
    source.* EXCLUDE (judge_id)
FROM statistics.golden_drift AS source
LEFT JOIN meta.judges AS judges ON judges.judge_id = source.judge_id
