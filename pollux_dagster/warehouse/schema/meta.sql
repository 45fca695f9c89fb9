-- Who judged, what ran, which columns come from where, what the checks found.
CREATE SCHEMA IF NOT EXISTS meta;
CREATE TABLE IF NOT EXISTS meta.judges (
    judge_id VARCHAR PRIMARY KEY, judge_name VARCHAR NOT NULL,   -- "profile@shortid", the name readers see
    model VARCHAR NOT NULL, weights_revision VARCHAR NOT NULL, is_demonstration BOOLEAN NOT NULL,
    identity JSON NOT NULL, first_used_at TIMESTAMPTZ NOT NULL
);
CREATE TABLE IF NOT EXISTS meta.runs (
    run_id VARCHAR NOT NULL, step VARCHAR NOT NULL, started_at TIMESTAMPTZ NOT NULL, finished_at TIMESTAMPTZ NOT NULL, details JSON NOT NULL,
    position BIGINT                         -- grows with every row: the order of runs, independent of the clock
);
CREATE TABLE IF NOT EXISTS meta.column_lineage (
    table_name VARCHAR NOT NULL, column_name VARCHAR NOT NULL, source_table VARCHAR NOT NULL, source_column VARCHAR NOT NULL
);
CREATE TABLE IF NOT EXISTS meta.check_results (
    run_id VARCHAR NOT NULL, asset VARCHAR NOT NULL, check_name VARCHAR NOT NULL, severity VARCHAR NOT NULL, blocking BOOLEAN NOT NULL,
    passed BOOLEAN NOT NULL, failing_rows BIGINT NOT NULL, description VARCHAR NOT NULL, sample JSON NOT NULL, checked_at TIMESTAMPTZ NOT NULL,
    position BIGINT                         -- as in meta.runs: a check's latest result has the highest
);
-- Fingerprint of the rows that the check read: its result is valid for no other state. This column was added later.
ALTER TABLE meta.check_results ADD COLUMN IF NOT EXISTS state VARCHAR;
-- For warehouses from before this column; upgrade.sql numbers their rows.
ALTER TABLE meta.runs ADD COLUMN IF NOT EXISTS position BIGINT;
ALTER TABLE meta.check_results ADD COLUMN IF NOT EXISTS position BIGINT;
-- The judge of the last judging that was completed; no row where there was none.
CREATE OR REPLACE VIEW meta.last_judge AS
SELECT details->>'judge_id' AS judge_id FROM meta.runs WHERE step = 'judge' ORDER BY position DESC LIMIT 1;
-- Fingerprint of each built table, and of its sources when it was built, so that a publication does not mix two states.
CREATE TABLE IF NOT EXISTS meta.builds (
    table_name VARCHAR PRIMARY KEY, fingerprint VARCHAR NOT NULL, sources MAP(VARCHAR, VARCHAR) NOT NULL
);
-- Ledger segments that judging.verdicts already holds; a segment is immutable, so its path identifies it.
CREATE TABLE IF NOT EXISTS meta.ledger_segments (
    segment VARCHAR PRIMARY KEY, row_count BIGINT NOT NULL, loaded_at TIMESTAMPTZ NOT NULL
);
CREATE TABLE IF NOT EXISTS meta.schema_version (version INTEGER NOT NULL, applied_at TIMESTAMPTZ NOT NULL);
