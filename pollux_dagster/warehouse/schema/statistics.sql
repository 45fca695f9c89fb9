-- What warehouse/statistics computes from staging.scores, people's scores and answer lengths: all tables are replaced
-- as a whole in one transaction. Readers use the marts of the same names, where every column is described.
CREATE SCHEMA IF NOT EXISTS statistics;
CREATE TABLE IF NOT EXISTS statistics.mean_intervals (
    judge_id VARCHAR NOT NULL,
    grain VARCHAR NOT NULL,                 -- model | task | model_task | criterion | criterion_before_gates
    model_id VARCHAR, task_type VARCHAR, criterion_id VARCHAR, -- NULL where the grain does not have it
    mean DOUBLE NOT NULL, standard_error DOUBLE, ci_low DOUBLE, ci_high DOUBLE, -- NULL below two clusters
    n BIGINT NOT NULL, n_clusters BIGINT NOT NULL, method VARCHAR NOT NULL
);
CREATE TABLE IF NOT EXISTS statistics.pairwise_comparison (
    judge_id VARCHAR NOT NULL, model_id VARCHAR NOT NULL, other_model_id VARCHAR NOT NULL,
    difference DOUBLE, standard_error DOUBLE, ci_low DOUBLE, ci_high DOUBLE, p_value DOUBLE, adjusted_p_value DOUBLE,
    superiority DOUBLE, n BIGINT NOT NULL, n_clusters BIGINT NOT NULL, method VARCHAR NOT NULL
);
CREATE TABLE IF NOT EXISTS statistics.rank_intervals (
    judge_id VARCHAR NOT NULL, model_id VARCHAR NOT NULL, rank BIGINT NOT NULL, rank_low BIGINT NOT NULL,
    rank_high BIGINT NOT NULL, tied_with VARCHAR[] NOT NULL, same_items BOOLEAN NOT NULL, n_items BIGINT NOT NULL
);
CREATE TABLE IF NOT EXISTS statistics.length_effect (
    judge_id VARCHAR NOT NULL, criterion_id VARCHAR NOT NULL, correlation DOUBLE, slope DOUBLE, standard_error DOUBLE,
    ci_low DOUBLE, ci_high DOUBLE, n BIGINT NOT NULL, n_clusters BIGINT NOT NULL
);
CREATE TABLE IF NOT EXISTS statistics.length_controlled (
    judge_id VARCHAR NOT NULL, model_id VARCHAR NOT NULL, score DOUBLE NOT NULL, n BIGINT NOT NULL
);
CREATE TABLE IF NOT EXISTS statistics.judge_agreement (
    judge_id VARCHAR NOT NULL,
    grain VARCHAR NOT NULL,                 -- all | criterion | task_type | domain
    scope VARCHAR,                          -- the criterion_id, task type or domain; NULL for all
    aggregation VARCHAR NOT NULL,           -- of several annotators' scores: mean | median | mode
    metric VARCHAR NOT NULL,                -- core.statistics.agreement.METRICS
    value DOUBLE, standard_error DOUBLE, ci_low DOUBLE, ci_high DOUBLE, n BIGINT NOT NULL, n_clusters BIGINT NOT NULL,
    human_value DOUBLE, human_ci_low DOUBLE, human_ci_high DOUBLE, human_n BIGINT NOT NULL
);
CREATE TABLE IF NOT EXISTS statistics.confusion (
    judge_id VARCHAR NOT NULL, grain VARCHAR NOT NULL, scope VARCHAR, aggregation VARCHAR NOT NULL,
    gold_level DOUBLE NOT NULL, judge_level DOUBLE NOT NULL, n BIGINT NOT NULL
);
CREATE TABLE IF NOT EXISTS statistics.judge_comparison (
    judge_id VARCHAR NOT NULL, aggregation VARCHAR NOT NULL, n_judges BIGINT NOT NULL, n BIGINT NOT NULL,
    n_clusters BIGINT NOT NULL, rmse DOUBLE, rmse_ci_low DOUBLE, rmse_ci_high DOUBLE, macro_f1 DOUBLE,
    macro_f1_ci_low DOUBLE, macro_f1_ci_high DOUBLE, spearman DOUBLE, spearman_ci_low DOUBLE, spearman_ci_high DOUBLE
);
CREATE TABLE IF NOT EXISTS statistics.calibrated_quality (
    judge_id VARCHAR NOT NULL, model_id VARCHAR NOT NULL, aggregation VARCHAR NOT NULL,
    status VARCHAR NOT NULL,                -- warehouse.statistics.calibration names them
    judge_mean DOUBLE NOT NULL, labels_mean DOUBLE, labels_standard_error DOUBLE, labels_ci_low DOUBLE,
    labels_ci_high DOUBLE, calibrated_mean DOUBLE, standard_error DOUBLE, ci_low DOUBLE, ci_high DOUBLE,
    n BIGINT NOT NULL, n_labelled BIGINT NOT NULL, n_labelled_clusters BIGINT NOT NULL,
    n_labelled_clusters_needed BIGINT NOT NULL, effective_labels DOUBLE, judge_weight DOUBLE
);
CREATE TABLE IF NOT EXISTS statistics.judge_steadiness (
    judge_id VARCHAR NOT NULL, grain VARCHAR NOT NULL, -- all | criterion
    criterion_id VARCHAR, flip_rate DOUBLE, within_variance DOUBLE, within_share DOUBLE,
    n_repeated BIGINT NOT NULL, n_verdicts BIGINT NOT NULL
);
CREATE TABLE IF NOT EXISTS statistics.golden_drift (
    judge_id VARCHAR NOT NULL, round_id VARCHAR NOT NULL, baseline_round_id VARCHAR NOT NULL, is_latest BOOLEAN NOT NULL,
    what_changed VARCHAR NOT NULL, criterion_id VARCHAR NOT NULL, criteria_name VARCHAR NOT NULL, shift DOUBLE,
    standard_error DOUBLE, ci_low DOUBLE, ci_high DOUBLE, adjusted_p_value DOUBLE, changed_share DOUBLE,
    n BIGINT NOT NULL, n_clusters BIGINT NOT NULL, shifted BOOLEAN NOT NULL
);
CREATE TABLE IF NOT EXISTS statistics.people_comparison (
    judge_id VARCHAR NOT NULL, model_id VARCHAR NOT NULL, other_model_id VARCHAR NOT NULL,
    difference DOUBLE, standard_error DOUBLE, ci_low DOUBLE, ci_high DOUBLE, p_value DOUBLE, adjusted_p_value DOUBLE,
    is_sure BOOLEAN NOT NULL, n BIGINT NOT NULL, n_clusters BIGINT NOT NULL,
    is_of_shared_items BOOLEAN NOT NULL,    -- or of people's means of all answers
    judge_difference DOUBLE,                -- on the shared items
    method VARCHAR NOT NULL
);
-- These columns were added later: a warehouse may lack them, or still have the NOT NULL of shift.
ALTER TABLE statistics.length_effect ADD COLUMN IF NOT EXISTS adjusted_p_value DOUBLE;
ALTER TABLE statistics.people_comparison ADD COLUMN IF NOT EXISTS judge_difference DOUBLE;
ALTER TABLE statistics.length_controlled ADD COLUMN IF NOT EXISTS ci_low DOUBLE;
ALTER TABLE statistics.length_controlled ADD COLUMN IF NOT EXISTS ci_high DOUBLE;
ALTER TABLE statistics.judge_agreement ADD COLUMN IF NOT EXISTS number_value DOUBLE;
ALTER TABLE statistics.judge_agreement ADD COLUMN IF NOT EXISTS number_ci_low DOUBLE;
ALTER TABLE statistics.judge_agreement ADD COLUMN IF NOT EXISTS number_ci_high DOUBLE;
ALTER TABLE statistics.judge_agreement ADD COLUMN IF NOT EXISTS expected_value DOUBLE;
ALTER TABLE statistics.judge_agreement ADD COLUMN IF NOT EXISTS expected_ci_low DOUBLE;
ALTER TABLE statistics.judge_agreement ADD COLUMN IF NOT EXISTS expected_ci_high DOUBLE;
ALTER TABLE statistics.judge_agreement ADD COLUMN IF NOT EXISTS difference DOUBLE;
ALTER TABLE statistics.judge_agreement ADD COLUMN IF NOT EXISTS difference_ci_low DOUBLE;
ALTER TABLE statistics.judge_agreement ADD COLUMN IF NOT EXISTS difference_ci_high DOUBLE;
ALTER TABLE statistics.judge_agreement ADD COLUMN IF NOT EXISTS expected_n BIGINT;
ALTER TABLE statistics.judge_agreement ADD COLUMN IF NOT EXISTS expected_n_clusters BIGINT;
ALTER TABLE statistics.calibrated_quality ADD COLUMN IF NOT EXISTS proxy VARCHAR;
ALTER TABLE statistics.calibrated_quality ADD COLUMN IF NOT EXISTS expected_weight DOUBLE;
ALTER TABLE statistics.calibrated_quality ADD COLUMN IF NOT EXISTS sampling VARCHAR;
ALTER TABLE statistics.calibrated_quality ADD COLUMN IF NOT EXISTS sampling_designs VARCHAR;
ALTER TABLE statistics.calibrated_quality ADD COLUMN IF NOT EXISTS n_without_probability BIGINT;
ALTER TABLE statistics.calibrated_quality ADD COLUMN IF NOT EXISTS n_effective_clusters DOUBLE;
ALTER TABLE statistics.calibrated_quality ADD COLUMN IF NOT EXISTS weight_ratio DOUBLE;
ALTER TABLE statistics.calibrated_quality ADD COLUMN IF NOT EXISTS selection_p_value DOUBLE;
ALTER TABLE statistics.calibrated_quality ADD COLUMN IF NOT EXISTS is_doubtful BOOLEAN;
ALTER TABLE statistics.golden_drift ADD COLUMN IF NOT EXISTS ok_share DOUBLE;
ALTER TABLE statistics.golden_drift ADD COLUMN IF NOT EXISTS baseline_ok_share DOUBLE;
ALTER TABLE statistics.golden_drift ADD COLUMN IF NOT EXISTS failing BOOLEAN;
ALTER TABLE statistics.golden_drift ALTER shift DROP NOT NULL;
ALTER TABLE statistics.golden_drift ALTER changed_share DROP NOT NULL;
