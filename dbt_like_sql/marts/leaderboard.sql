/*
description: >
  The models of each judge, best mean first, with the certainty of their places. Each judge has a leaderboard of its
  own. All figures are made of the judge's number (score), never of its expectation (expected_score). rank comes from
  paired differences on the items that both models of a pair were scored on, so it is valid for models judged on
  different items too; its interval holds for all models of a judge simultaneously. A model in tied_with cannot be
  told apart from this one, whatever their places.
grain: One row per judge and model.
example: >
  SELECT place, model_id, mean_score, ci_low, ci_high, rank, tied_with, n, coverage FROM marts.leaderboard ORDER BY
  judge_name, place
front: true
tags: {layer: marts}
materialized: view
columns:
  judge_id: Identity of the judge.
  judge_name: Readable name of the judge.
  is_demonstration: True for the packaged demonstration judge.
  place: Place among the models of this judge by mean_score; equal means share a place, those without come last.
  model_id: LLM under test that wrote the answers.
  mean_score: Mean of the usable scores in [0, 1], as in marts.model_quality.
  standard_error: Of mean_score, clustered by instruction.
  ci_low: Lower end of the 95 % interval of mean_score.
  ci_high: Upper end of the 95 % interval of mean_score.
  n: Number of scores in the mean.
  n_clusters: Number of their instructions.
  interval_method: How the interval was computed.
  coverage: Share of the requests (gates not counted) that could be scored.
  rank: 1 + number of models that did better on the shared items; NULL without a score.
  rank_low: Best rank within the 95 % interval.
  rank_high: Worst rank within the 95 % interval.
  tied_with: Models of this judge whose difference to this one is within chance after adjusting for all pairs.
  same_items: True when the model was asked everything that any model of this judge was asked; where false, use rank.
  length_controlled_score: mean_score if every answer had the usual length for its instruction, see marts.length_effect.
  n_answers: Answers judged.
  gated_share: Share of the answers whose gate tripped.
  n_unscored_answers: Answers without any usable score.
checks:
  - name: ranks_lie_within_their_intervals
    description: rank_low <= rank <= rank_high for every model with a score.
    sql: >
      SELECT judge_id, model_id, rank, rank_low, rank_high FROM marts.leaderboard
      WHERE (n > 0 AND rank IS NULL) OR rank NOT BETWEEN rank_low AND rank_high
*/
SELECT
    quality.judge_id,
    quality.judge_name,
    quality.is_demonstration,
    -- Rounded, because equal scores summed in a different order differ in the last bits.
    rank() OVER (PARTITION BY quality.judge_id ORDER BY round(quality.mean_score, 12) DESC NULLS LAST) AS place,
    quality.model_id,
    quality.mean_score,
    quality.standard_error,
    quality.ci_low,
    quality.ci_high,
    quality.n,
    quality.n_clusters,
    quality.interval_method,
    quality.coverage,
    ranks.rank,
    ranks.rank_low,
    ranks.rank_high,
    ranks.tied_with,
    ranks.same_items,
    controlled.score AS length_controlled_score,
    quality.n_answers,
    quality.gated_share,
    quality.n_unscored_answers
FROM marts.model_quality AS quality
LEFT JOIN statistics.rank_intervals AS ranks
    ON ranks.judge_id = quality.judge_id AND ranks.model_id = quality.model_id
LEFT JOIN statistics.length_controlled AS controlled
    ON controlled.judge_id = quality.judge_id AND controlled.model_id = quality.model_id
ORDER BY quality.judge_name, quality.judge_id, place, quality.model_id
