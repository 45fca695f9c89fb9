/*
description: >
  What each model's mean score would be if people had judged all of its answers, with an interval that covers the
  judge's error (prediction-powered inference, PPI++). Valid when the labelled answers are a random part of the model's
  answers, or were drawn with the probabilities that people's scores state (sampling_probability); labels chosen by
  their score without a draw make it wrong, and selection_p_value shows that in many cases. An answer counts as labelled when people rated all of its criteria that the judge scored, or tripped its
  gate. Where the labels are not sufficient for a figure, it is NULL and status says why. The same gate rule applies to
  people's scores and the judge's.
example: >
  SELECT model_id, status, judge_mean, calibrated_mean, ci_low, ci_high, n_labelled FROM marts.calibrated_quality
  ORDER BY judge_name, calibrated_mean DESC NULLS LAST
front: true
tags: {layer: marts}
materialized: view
columns:
  judge_id: Identity of the judge.
  judge_name: Readable name of the judge.
  is_demonstration: True for a demonstration judge (demo, made-up).
  model_id: LLM under test that wrote the answers.
  aggregation: How several annotators' scores became one gold score (mean, median or mode).
  proxy: >
    What of the judge stands in for people's scores: number (score), expectation (expected_score) or both; number for a
    judge without probabilities, whatever POLLUX_CALIBRATION_PROXY says.
  status: >
    calibrated; all labelled or nearly all labelled (fewer than two instructions without labels: the labels' own mean is
    the result); and, without a figure: too little variation (fewer than five labelled instructions with a score other
    than the commonest; labels_mean and its interval are all that is known), too uneven weights (the probabilities
    differ so much that the labels are worth fewer than four), criteria rated in part (people rated only some criteria
    of answers whose full rating would be enough), too few labels, no labels.
  judge_mean: Mean of the judge's numbers, uncorrected; first sample of each instruction.
  labels_mean: Mean of people's scores alone, weighted where their probabilities are unequal; NULL without any.
  labels_standard_error: Of labels_mean, clustered by instruction.
  labels_ci_low: Lower end of the 95 % interval of labels_mean; NULL with too few labels.
  labels_ci_high: Upper end of the 95 % interval of labels_mean.
  calibrated_mean: Estimate of the mean that people would have given; NULL where status allows none.
  standard_error: Of calibrated_mean, clustered by instruction.
  ci_low: Lower end of its 95 % interval.
  ci_high: Upper end of its 95 % interval.
  n: Scores of the judge.
  coverage: Usable scores / requests, as in marts.model_quality.
  n_labelled: Number of these also scored by people.
  n_labelled_clusters: Instructions with such a score.
  n_labelled_clusters_needed: Labelled instructions that an interval requires.
  sampling: >
    What the labels say of the draw that chose them: not stated (they are taken for a random part), equal probabilities
    (the same figures), unequal probabilities (each label is weighted by 1 / its probability), stated for some (a label
    without a probability stands for its own answer only, one with a probability for all others). NULL without labels,
    and where all answers but those of one instruction have one.
  sampling_designs: The designs of these draws (uniform, stratified, informative), separated by commas.
  n_without_probability: Of n_labelled, those whose answer has no stated probability, or several in one draw.
  n_effective_clusters: Labelled instructions that would be as many with equal weights (Kish); below
    n_labelled_clusters where probabilities are unequal.
  weight_ratio: Greatest weight of a label with a probability over the least; 1 where all are equal.
  selection_p_value: >
    Chance of so large a difference between the judge's mean of all answers and what the labelled ones say of it,
    weighted, if they are the draw that they are taken for. Near 0 the labels were chosen in another way, for instance
    by their score, and the calibrated mean can be wrong.
  is_doubtful: >
    True where selection_p_value, adjusted for the number of models of the judge, is below 1 %: the labels do not look
    like the draw that they are taken for.
  effective_labels: Number of labels that would be as precise without the judge; above n_labelled where the judge helps.
  judge_weight: >
    The lambda of PPI++: 0 uses the labels only, 1 trusts the judge fully. Shared by all models of a judge, but 0 for
    one whose labels show errors of the judge on fewer than three instructions, too few to correct for them.
  expected_weight: The part of judge_weight that the judge's expectation has; the rest is its number's.
checks:
  - unique: [judge_id, model_id]
  - name: figures_exist_where_status_says_so
    description: A calibrated mean with its interval exists exactly where status gives one.
    sql: >
      SELECT judge_id, model_id, status, calibrated_mean FROM marts.calibrated_quality
      WHERE (status IN ('calibrated', 'all labelled', 'nearly all labelled'))
         <> (calibrated_mean IS NOT NULL AND ci_low IS NOT NULL)
  - name: intervals_hold_their_means
    description: 0 <= ci_low <= mean <= ci_high <= 1, and no interval is a point, calibrated or of labels alone.
    sql: >
      SELECT judge_id, model_id, status, calibrated_mean, ci_low, ci_high, labels_mean, labels_ci_low, labels_ci_high
      FROM marts.calibrated_quality
      WHERE NOT (0 <= ci_low AND ci_low <= calibrated_mean AND calibrated_mean <= ci_high AND ci_high <= 1
                 AND ci_low < ci_high)
         OR NOT (0 <= labels_ci_low AND labels_ci_low <= labels_mean AND labels_mean <= labels_ci_high
                 AND labels_ci_high <= 1 AND labels_ci_low < labels_ci_high)
  - name: labels_are_the_draw_they_are_taken_for
    description: >
      The judge's mean of the labelled answers, weighted by the stated probabilities, is that of all answers up to
      chance (1 % for all models together). Where it is not, the labels were chosen in some other way, for instance by
      their score, and calibrated_mean can be wrong. Draw the answers to be labelled, and state the probability.
    severity: warn
    sql: >
      SELECT judge_id, model_id, status, sampling, n_labelled, judge_mean, calibrated_mean, selection_p_value
      FROM marts.calibrated_quality
      WHERE is_doubtful
      ORDER BY selection_p_value, model_id
  - name: all_labels_of_a_model_state_how_they_were_drawn_or_none
    description: >
      Where some labels of a model state the probability of their answer, all do, one for all criteria. Those without
      stand for their own answers only, because nobody knows how these were chosen. If they were a random part, state one
      probability for all of them, uniform, in no or an earlier round.
    severity: warn
    sql: >
      SELECT judge_id, model_id, status, n_labelled, n_without_probability FROM marts.calibrated_quality
      WHERE sampling = 'stated for some' ORDER BY judge_id, model_id
  - name: no_label_outweighs_others_fifty_times
    description: >
      No label of a model weighs more than 50 times as much as another. Beyond that intervals can be too narrow, because
      answers with a small probability are rarely seen. Draw with less uneven probabilities.
    severity: warn
    sql: >
      SELECT judge_id, model_id, status, n_labelled, n_effective_clusters, weight_ratio FROM marts.calibrated_quality
      WHERE weight_ratio > 50 ORDER BY weight_ratio DESC, model_id
*/
SELECT
    source.judge_id,
    judges.judge_name,
    judges.is_demonstration,
    source.model_id,
    source.aggregation,
    source.proxy,
    source.status,
    source.judge_mean,
    source.labels_mean,
    source.labels_standard_error,
    source.labels_ci_low,
    source.labels_ci_high,
    source.calibrated_mean,
    source.standard_error,
    source.ci_low,
    source.ci_high,
    source.n,
    quality.coverage,
    source.n_labelled,
    source.n_labelled_clusters,
    source.n_labelled_clusters_needed,
    source.sampling,
    source.sampling_designs,
    source.n_without_probability,
    source.n_effective_clusters,
    source.weight_ratio,
    source.selection_p_value,
    source.is_doubtful,
    source.effective_labels,
    source.judge_weight,
    source.expected_weight
FROM statistics.calibrated_quality AS source
LEFT JOIN meta.judges AS judges ON judges.judge_id = source.judge_id
LEFT JOIN marts.model_quality AS quality ON quality.judge_id = source.judge_id AND quality.model_id = source.model_id
