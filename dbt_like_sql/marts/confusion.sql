/*
description: >
  People's levels against the judge's: how often each gold_level coincided with each judge_level. Fractional gold counts
  as its nearest level, halfway rounds up. Pairs of levels that never occurred have no row.
example: >
  SELECT gold_level, judge_level, n FROM marts.confusion WHERE grain = 'all' ORDER BY judge_name, gold_level,
  judge_level
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
  gold_level: Level that people gave, in the rubric's own units.
  judge_level: Level that the judge gave.
  n: Answers with both levels.
checks:
  - unique: [judge_id, grain, scope, gold_level, judge_level]
  - name: as_many_as_were_compared
    description: The cells of a scope add up to the n of its agreement.
    sql: >
      SELECT cells.judge_id, cells.grain, cells.scope, cells.n, agreement.n AS compared
      FROM (SELECT judge_id, grain, scope, sum(n) AS n FROM marts.confusion GROUP BY judge_id, grain, scope) AS cells
      LEFT JOIN statistics.judge_agreement AS agreement
          ON agreement.judge_id = cells.judge_id AND agreement.grain = cells.grain
          AND agreement.scope IS NOT DISTINCT FROM cells.scope AND agreement.metric = 'rmse'
      WHERE cells.n IS DISTINCT FROM agreement.n
*/
SELECT
    source.judge_id,
    judges.judge_name,
    judges.is_demonstration,
    source.grain,
    source.scope,
    criteria.criteria_name,
    source.* EXCLUDE (judge_id, grain, scope)
FROM statistics.confusion AS source
LEFT JOIN meta.judges AS judges ON judges.judge_id = source.judge_id
LEFT JOIN raw.criteria AS criteria ON source.grain = 'criterion' AND criteria.criterion_id = source.scope
