/*
description: >
  The models of each judge, best mean first, with the certainty of their places. Each judge has a leaderboard of its
  own. All figures are made of the judge's number (score), never of its expectation (expected_score). rank comes from
  paired differences on the items that both models of a pair were scored on, so it is valid for models judged on
  different items too; its interval holds for all models of a judge simultaneously. A model in tied_with cannot be
  told apart from this one, whatever their places. The places are the judge's: where people scored, their mean stands
  beside it, and people_put_above names the models that they turn the order of places round for.
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
  is_demonstration: True for a demonstration judge (demo, made-up).
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
  length_controlled_score: >
    mean_score if every answer had the usual length for its instruction, see marts.length_effect; NULL where the
    correction leads out of [0, 1], so that it cannot be one of scores. Where length has no effect beyond chance there,
    it differs from mean_score by chance only.
  length_controlled_ci_low: >
    Lower end of its 95 % interval, which covers the error of the effect of length too; NULL where that error is not
    known.
  length_controlled_ci_high: Upper end of its 95 % interval.
  n_answers: Answers judged.
  gated_share: >
    Share of the answers whose gate tripped. Each usable score of such an answer is 0 in mean_score, whatever the judge
    gave it.
  n_unscored_answers: Answers without any usable score.
  people_mean: >
    Mean that people give all of the model's answers: calibrated_mean of marts.calibrated_quality or, where people's
    scores vary too little for it, labels_mean. NULL where the labels allow no interval, or do not look like the draw
    that they are taken for.
  people_ci_low: Lower end of the 95 % interval of people_mean.
  people_ci_high: Upper end of the 95 % interval of people_mean.
  n_labelled: Number of scores of the judge that people also scored.
  n_labelled_clusters: Instructions with such a score.
  people_put_above: >
    Models with a later place that people's scores surely put above this one (is_sure in marts.people_comparison), the
    furthest ahead first. NULL where there is none. Not of a pair of which the judge says the same on the items that
    people scored of both.
checks:
  - name: people_do_not_turn_places_round
    description: >
      No model is surely better by people's scores than one whose place is before its own. These are, so the judge's
      places are not people's. Go by marts.people_comparison, and see marts.judge_agreement for the criteria behind it.
    severity: warn
    sql: >
      SELECT judge_id, model_id, place, people_mean, people_ci_low, people_ci_high, n_labelled, people_put_above
      FROM marts.leaderboard WHERE people_put_above IS NOT NULL ORDER BY judge_id, place, model_id
  - name: length_controlled_scores_lie_within_their_intervals
    description: length_controlled_ci_low <= length_controlled_score <= length_controlled_ci_high.
    sql: >
      SELECT judge_id, model_id, length_controlled_score, length_controlled_ci_low, length_controlled_ci_high
      FROM marts.leaderboard
      WHERE length_controlled_score NOT BETWEEN length_controlled_ci_low AND length_controlled_ci_high
  - name: ranks_lie_within_their_intervals
    description: rank_low <= rank <= rank_high for every model with a score.
    sql: >
      SELECT judge_id, model_id, rank, rank_low, rank_high FROM marts.leaderboard
      WHERE (n > 0 AND rank IS NULL) OR rank NOT BETWEEN rank_low AND rank_high
*/
WITH placed AS (
    SELECT
        *,
        -- Rounded, because equal scores summed in a different order differ in the last bits.
        rank() OVER (PARTITION BY judge_id ORDER BY round(mean_score, 12) DESC NULLS LAST) AS place
    FROM marts.model_quality
),

labelled AS (
    SELECT
        judge_id,
        model_id,
        n_labelled,
        n_labelled_clusters,
        is_doubtful,
        status = 'too little variation' AS is_labels_alone,
        CASE WHEN is_labels_alone THEN labels_mean ELSE calibrated_mean END AS mean,
        CASE WHEN is_labels_alone THEN labels_ci_low ELSE ci_low END AS low,
        CASE WHEN is_labels_alone THEN labels_ci_high ELSE ci_high END AS high
    FROM statistics.calibrated_quality
),

people AS (
    SELECT labelled.*
    FROM labelled
    JOIN placed ON placed.judge_id = labelled.judge_id AND placed.model_id = labelled.model_id
    WHERE NOT labelled.is_doubtful AND labelled.low IS NOT NULL AND placed.mean_score IS NOT NULL
),

turned AS (
    SELECT
        ahead.judge_id,
        ahead.model_id,
        list(behind.model_id ORDER BY compared.difference DESC, behind.model_id) AS put_above
    FROM statistics.people_comparison AS compared
    JOIN placed AS behind ON behind.judge_id = compared.judge_id AND behind.model_id = compared.model_id
    JOIN placed AS ahead ON ahead.judge_id = compared.judge_id AND ahead.model_id = compared.other_model_id
    WHERE compared.is_sure AND compared.difference > 0 AND behind.place > ahead.place
        AND behind.mean_score IS NOT NULL
        -- Where the judge says so too of the items that people scored, these items differ from the others, not people.
        AND NOT coalesce(compared.judge_difference > 0, FALSE)
    GROUP BY ahead.judge_id, ahead.model_id
)

SELECT
    placed.judge_id,
    placed.judge_name,
    placed.is_demonstration,
    placed.place,
    placed.model_id,
    placed.mean_score,
    placed.standard_error,
    placed.ci_low,
    placed.ci_high,
    placed.n,
    placed.n_clusters,
    placed.interval_method,
    placed.coverage,
    ranks.rank,
    ranks.rank_low,
    ranks.rank_high,
    ranks.tied_with,
    ranks.same_items,
    CASE WHEN controlled.score BETWEEN 0 AND 1 THEN controlled.score END AS length_controlled_score,
    CASE WHEN controlled.score BETWEEN 0 AND 1 THEN controlled.ci_low END AS length_controlled_ci_low,
    CASE WHEN controlled.score BETWEEN 0 AND 1 THEN controlled.ci_high END AS length_controlled_ci_high,
    placed.n_answers,
    placed.gated_share,
    placed.n_unscored_answers,
    people.mean AS people_mean,
    people.low AS people_ci_low,
    people.high AS people_ci_high,
    coalesce(labelled.n_labelled, 0) AS n_labelled,
    coalesce(labelled.n_labelled_clusters, 0) AS n_labelled_clusters,
    turned.put_above AS people_put_above
FROM placed
LEFT JOIN statistics.rank_intervals AS ranks
    ON ranks.judge_id = placed.judge_id AND ranks.model_id = placed.model_id
LEFT JOIN statistics.length_controlled AS controlled
    ON controlled.judge_id = placed.judge_id AND controlled.model_id = placed.model_id
LEFT JOIN labelled ON labelled.judge_id = placed.judge_id AND labelled.model_id = placed.model_id
LEFT JOIN people ON people.judge_id = placed.judge_id AND people.model_id = placed.model_id
LEFT JOIN turned ON turned.judge_id = placed.judge_id AND turned.model_id = placed.model_id
ORDER BY placed.judge_name, placed.judge_id, placed.place, placed.model_id
