/*
description: >
  The models of each judge, best mean first. Two judges are two leaderboards. A place says nothing about whether
  the difference to the next one is more than noise, and a low coverage makes it less certain still.
owners: [team:evaluation]
tags: {layer: marts}
materialized: view
columns:
  judge_id: Identity of the judge.
  judge_name: Readable name of the judge.
  is_demonstration: True for the packaged demonstration judge.
  place: Place among the models of this judge; equal means share a place, models without a mean come last.
  model_id: Model that wrote the answers.
  mean_score: Mean of the usable scores in [0, 1], as in marts.model_quality.
  n: Number of scores in the mean.
  coverage: Share of the requests (gates not counted) that could be scored.
  n_answers: Answers judged.
  gated_share: Share of the answers whose gate tripped.
  n_unscored_answers: Answers without any usable score.
*/
SELECT
    judge_id,
    judge_name,
    is_demonstration,
    rank() OVER (PARTITION BY judge_id ORDER BY mean_score DESC NULLS LAST) AS place,
    model_id,
    mean_score,
    n,
    coverage,
    n_answers,
    gated_share,
    n_unscored_answers
FROM marts.model_quality
ORDER BY judge_name, judge_id, place, model_id
