-- Parsed rows, one set per landing file: replaced whole when the file changes, deleted when it goes.
-- Nothing is decided here that depends on another file; that is the work of raw.*.
CREATE SCHEMA IF NOT EXISTS landing;
CREATE TABLE IF NOT EXISTS landing.files (
    file_path VARCHAR PRIMARY KEY,          -- relative to the landing folder, '/' separated
    format VARCHAR NOT NULL,                -- detected by content; 'unknown' when nothing fits
    size_bytes BIGINT NOT NULL,
    mtime_ns BIGINT NOT NULL,
    sha256 VARCHAR NOT NULL,
    status VARCHAR NOT NULL,                -- loaded | removed
    row_count BIGINT NOT NULL,              -- rows in the file (accepted + rejected); 0 once removed
    reader_version INTEGER NOT NULL,        -- of the code that read it; older readers' files are read again
    loaded_at TIMESTAMPTZ NOT NULL,
    run_id VARCHAR NOT NULL
);
CREATE TABLE IF NOT EXISTS landing.instructions (
    file_path VARCHAR NOT NULL, row_number BIGINT NOT NULL,
    prompt_id VARCHAR NOT NULL, instruction VARCHAR NOT NULL, reference_answer VARCHAR,
    task_type VARCHAR, task_subtype VARCHAR, domain VARCHAR, difficulty VARCHAR, meta VARCHAR
);
CREATE TABLE IF NOT EXISTS landing.instruction_criteria (
    file_path VARCHAR NOT NULL, row_number BIGINT NOT NULL, prompt_id VARCHAR NOT NULL, position INTEGER NOT NULL,
    criteria_name VARCHAR NOT NULL, rubrics VARCHAR NOT NULL, criteria_group VARCHAR, levels DOUBLE[] NOT NULL
);
CREATE TABLE IF NOT EXISTS landing.taxonomy_criteria (
    file_path VARCHAR NOT NULL, row_number BIGINT NOT NULL, criterion_code VARCHAR NOT NULL,
    criteria_name VARCHAR NOT NULL, rubrics VARCHAR NOT NULL, criteria_group VARCHAR, domain VARCHAR, levels DOUBLE[] NOT NULL,
    needs_reference BOOLEAN NOT NULL        -- compares with the reference answer: only where there is one
);
CREATE TABLE IF NOT EXISTS landing.taxonomy_tasks (
    file_path VARCHAR NOT NULL, row_number BIGINT NOT NULL, task_type VARCHAR NOT NULL, task_subtype VARCHAR,
    has_gold BOOLEAN, domain VARCHAR, criterion_codes VARCHAR[] NOT NULL
);
CREATE TABLE IF NOT EXISTS landing.model_outputs (
    file_path VARCHAR NOT NULL, row_number BIGINT NOT NULL, model_id VARCHAR NOT NULL,
    prompt_id VARCHAR,                      -- the file's own id; a hash of the text where it has none
    instruction VARCHAR,                    -- set where the row carries its instruction: matched by text first
    sample_index INTEGER NOT NULL, answer VARCHAR,  -- null and blank answers are outputs too
    injection_reasons VARCHAR[] DEFAULT []
);
-- For warehouses of before this column; their files are read again because the readers are newer.
ALTER TABLE landing.model_outputs ADD COLUMN IF NOT EXISTS injection_reasons VARCHAR[] DEFAULT [];
CREATE TABLE IF NOT EXISTS landing.human_scores (
    file_path VARCHAR NOT NULL, row_number BIGINT NOT NULL, prompt_id VARCHAR NOT NULL, model_id VARCHAR NOT NULL,
    criteria_name VARCHAR NOT NULL, annotator VARCHAR NOT NULL, score DOUBLE NOT NULL
);
CREATE TABLE IF NOT EXISTS landing.rejected_rows (
    file_path VARCHAR NOT NULL, row_number BIGINT NOT NULL, reason VARCHAR NOT NULL, detail VARCHAR NOT NULL, raw_text VARCHAR
);
-- What raw.* was last made from: a hash of the loaded files and of the rules. Any difference means: resolve again.
CREATE TABLE IF NOT EXISTS landing.resolution (fingerprint VARCHAR NOT NULL, resolved_at TIMESTAMPTZ NOT NULL);
-- What the judge may work on: every key unique, every text hashed once (sha256 of UTF-8, hex).
CREATE SCHEMA IF NOT EXISTS raw;
CREATE TABLE IF NOT EXISTS raw.instructions (
    prompt_id VARCHAR NOT NULL, instruction VARCHAR NOT NULL, reference_answer VARCHAR,
    task_type VARCHAR NOT NULL,             -- 'unspecified' where the file names none
    task_subtype VARCHAR, domain VARCHAR, difficulty VARCHAR, meta VARCHAR,
    instruction_hash VARCHAR NOT NULL, reference_hash VARCHAR NOT NULL, -- of '' where there is no reference
    file_path VARCHAR NOT NULL, row_number BIGINT NOT NULL
);
CREATE TABLE IF NOT EXISTS raw.criteria (
    criterion_id VARCHAR NOT NULL,          -- sha256(sha256(criteria_name) || sha256(rubrics))
    criteria_name VARCHAR NOT NULL, rubrics VARCHAR NOT NULL, criteria_group VARCHAR NOT NULL, -- critical|general|domain|task|subjective|unspecified
    levels DOUBLE[] NOT NULL, min_score DOUBLE NOT NULL, max_score DOUBLE NOT NULL,
    is_gate BOOLEAN NOT NULL,               -- critical group and levels exactly {0,1}
    name_hash VARCHAR NOT NULL, rubrics_hash VARCHAR NOT NULL
);
CREATE TABLE IF NOT EXISTS raw.instruction_criteria (
    prompt_id VARCHAR NOT NULL, criterion_id VARCHAR NOT NULL, position INTEGER NOT NULL, source VARCHAR NOT NULL -- inline | taxonomy
);
CREATE TABLE IF NOT EXISTS raw.model_outputs (
    model_id VARCHAR NOT NULL, prompt_id VARCHAR NOT NULL, sample_index INTEGER NOT NULL,
    answer VARCHAR NOT NULL,                -- '' where the file had null; blank answers are judged as they are
    answer_hash VARCHAR NOT NULL, file_path VARCHAR NOT NULL, row_number BIGINT NOT NULL,
    injection_suspected BOOLEAN DEFAULT FALSE,  -- the answer seems to speak to the judge; it is judged all the same
    injection_reasons VARCHAR[] DEFAULT []      -- core.injection.InjectionReason
);
ALTER TABLE raw.model_outputs ADD COLUMN IF NOT EXISTS injection_suspected BOOLEAN DEFAULT FALSE;
ALTER TABLE raw.model_outputs ADD COLUMN IF NOT EXISTS injection_reasons VARCHAR[] DEFAULT [];
CREATE TABLE IF NOT EXISTS raw.human_scores (
    prompt_id VARCHAR NOT NULL, model_id VARCHAR NOT NULL, criteria_name VARCHAR NOT NULL, annotator VARCHAR NOT NULL,
    score DOUBLE NOT NULL, file_path VARCHAR NOT NULL, row_number BIGINT NOT NULL
);
CREATE TABLE IF NOT EXISTS raw.rejected_rows (
    file_path VARCHAR NOT NULL, row_number BIGINT NOT NULL, reason VARCHAR NOT NULL, detail VARCHAR NOT NULL, raw_text VARCHAR
);
-- Requests are the work there is; verdicts are what the ledger holds for it. The ledger is the truth, this its projection.
CREATE SCHEMA IF NOT EXISTS judging;
CREATE TABLE IF NOT EXISTS judging.requests (
    verdict_key VARCHAR NOT NULL,           -- not unique: equal texts of several models share one verdict
    judge_id VARCHAR NOT NULL, model_id VARCHAR NOT NULL, prompt_id VARCHAR NOT NULL, sample_index INTEGER NOT NULL,
    criterion_id VARCHAR NOT NULL, repeat_index INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS judging.verdicts (
    verdict_key VARCHAR PRIMARY KEY, judge_id VARCHAR NOT NULL, status VARCHAR NOT NULL, score DOUBLE,
    rationale VARCHAR, raw_text VARCHAR, error VARCHAR, finish_reason VARCHAR,
    prompt_tokens BIGINT NOT NULL, completion_tokens BIGINT NOT NULL, cached_tokens BIGINT NOT NULL,
    attempts INTEGER NOT NULL, latency_s DOUBLE NOT NULL, engine VARCHAR NOT NULL, engine_version VARCHAR NOT NULL,
    system_fingerprint VARCHAR, server VARCHAR NOT NULL, run_id VARCHAR NOT NULL, created_at TIMESTAMPTZ NOT NULL
);
-- Every (output, criterion) pair there is to judge now. The verdict key of a request is
--   sha256(judge_id || '|' || answer_key || '|' || criterion_key || '|' || repeat_index)
-- so a request whose texts have changed is recognised by a key that is no longer this one.
CREATE VIEW IF NOT EXISTS judging.judgeable AS
SELECT
    outputs.model_id, outputs.prompt_id, outputs.sample_index, criteria.criterion_id, wanted.position, criteria.is_gate,
    instructions.instruction_hash || '|' || instructions.reference_hash || '|' || outputs.answer_hash AS answer_key,
    criteria.name_hash || '|' || criteria.rubrics_hash AS criterion_key
FROM raw.model_outputs AS outputs
JOIN raw.instructions AS instructions ON instructions.prompt_id = outputs.prompt_id
JOIN raw.instruction_criteria AS wanted ON wanted.prompt_id = outputs.prompt_id
JOIN raw.criteria AS criteria ON criteria.criterion_id = wanted.criterion_id;
-- A pinned set of answers that is judged again whenever the judge could have changed. Texts are kept here, so that the
-- set stays what it was when the landing folder moves on. One row of golden_rounds per state of the judge it was judged in.
CREATE TABLE IF NOT EXISTS judging.golden_requests (
    request_key VARCHAR PRIMARY KEY,        -- sha256(answer_key || '|' || criterion_key), as in judging.judgeable
    prompt_id VARCHAR NOT NULL, instruction VARCHAR NOT NULL, reference_answer VARCHAR, answer VARCHAR NOT NULL,
    criterion_id VARCHAR NOT NULL, criteria_name VARCHAR NOT NULL, rubrics VARCHAR NOT NULL, levels DOUBLE[] NOT NULL,
    is_gate BOOLEAN NOT NULL, pinned_at TIMESTAMPTZ NOT NULL
);
CREATE TABLE IF NOT EXISTS judging.golden_rounds (
    round_id VARCHAR PRIMARY KEY,           -- judge_id of the round's verdicts in judging.verdicts
    judge_id VARCHAR NOT NULL, model VARCHAR NOT NULL,   -- baselines are kept by model: another model is another judge
    engine VARCHAR NOT NULL, engine_version VARCHAR NOT NULL, arguments VARCHAR NOT NULL,
    is_baseline BOOLEAN NOT NULL, judged_at TIMESTAMPTZ NOT NULL, run_id VARCHAR NOT NULL
);
-- Who judged, what ran, which columns come from where, what the checks said.
CREATE SCHEMA IF NOT EXISTS meta;
CREATE TABLE IF NOT EXISTS meta.judges (
    judge_id VARCHAR PRIMARY KEY, judge_name VARCHAR NOT NULL,   -- "profile@shortid", the name readers see
    model VARCHAR NOT NULL, weights_revision VARCHAR NOT NULL, is_demonstration BOOLEAN NOT NULL,
    identity JSON NOT NULL, first_used_at TIMESTAMPTZ NOT NULL
);
CREATE TABLE IF NOT EXISTS meta.runs (
    run_id VARCHAR NOT NULL, step VARCHAR NOT NULL, started_at TIMESTAMPTZ NOT NULL, finished_at TIMESTAMPTZ NOT NULL, details JSON NOT NULL
);
CREATE TABLE IF NOT EXISTS meta.column_lineage (
    table_name VARCHAR NOT NULL, column_name VARCHAR NOT NULL, source_table VARCHAR NOT NULL, source_column VARCHAR NOT NULL
);
CREATE TABLE IF NOT EXISTS meta.check_results (
    run_id VARCHAR NOT NULL, asset VARCHAR NOT NULL, check_name VARCHAR NOT NULL, severity VARCHAR NOT NULL, blocking BOOLEAN NOT NULL,
    passed BOOLEAN NOT NULL, failing_rows BIGINT NOT NULL, description VARCHAR NOT NULL, sample JSON NOT NULL, checked_at TIMESTAMPTZ NOT NULL
);
-- What each built table held, and what its sources held when it was built: a publication mixes no two states.
CREATE TABLE IF NOT EXISTS meta.builds (
    table_name VARCHAR PRIMARY KEY, fingerprint VARCHAR NOT NULL, sources MAP(VARCHAR, VARCHAR) NOT NULL
);
-- Which ledger segments judging.verdicts already holds; a segment is immutable, so its path says it all.
CREATE TABLE IF NOT EXISTS meta.ledger_segments (
    segment VARCHAR PRIMARY KEY, row_count BIGINT NOT NULL, loaded_at TIMESTAMPTZ NOT NULL
);
CREATE TABLE IF NOT EXISTS meta.schema_version (version INTEGER NOT NULL, applied_at TIMESTAMPTZ NOT NULL);
-- What warehouse/statistics computes from staging.scores, people's scores and answer lengths: replaced whole, all
-- tables in one transaction. Readers use the marts of the same names, where every column is described.
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
    aggregation VARCHAR NOT NULL,           -- of several annotators: mean | median | mode
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
-- Of a later date than the table: a warehouse may hold one without them, and one that asks for a shift.
ALTER TABLE statistics.golden_drift ADD COLUMN IF NOT EXISTS ok_share DOUBLE;
ALTER TABLE statistics.golden_drift ADD COLUMN IF NOT EXISTS baseline_ok_share DOUBLE;
ALTER TABLE statistics.golden_drift ADD COLUMN IF NOT EXISTS failing BOOLEAN;
ALTER TABLE statistics.golden_drift ALTER shift DROP NOT NULL;
ALTER TABLE statistics.golden_drift ALTER changed_share DROP NOT NULL;
