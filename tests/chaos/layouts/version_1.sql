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
    sample_index INTEGER NOT NULL, answer VARCHAR  -- null and blank answers are outputs too
);
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
    answer_hash VARCHAR NOT NULL, file_path VARCHAR NOT NULL, row_number BIGINT NOT NULL
);
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
-- Which ledger segments judging.verdicts already holds; a segment is immutable, so its path says it all.
CREATE TABLE IF NOT EXISTS meta.ledger_segments (
    segment VARCHAR PRIMARY KEY, row_count BIGINT NOT NULL, loaded_at TIMESTAMPTZ NOT NULL
);
CREATE TABLE IF NOT EXISTS meta.schema_version (version INTEGER NOT NULL, applied_at TIMESTAMPTZ NOT NULL);
