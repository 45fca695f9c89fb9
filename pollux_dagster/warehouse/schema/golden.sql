-- A pinned set of answers that is judged again whenever the judge could have changed. Texts are stored here, so that
-- the set stays the same when the landing folder changes. golden_rounds has one row per state of the judge in which the
-- set was judged.
CREATE TABLE IF NOT EXISTS judging.golden_requests (
    request_key VARCHAR PRIMARY KEY,        -- sha256(answer_key || '|' || criterion_key), as in judging.judgeable
    prompt_id VARCHAR NOT NULL, instruction VARCHAR NOT NULL, reference_answer VARCHAR, answer VARCHAR NOT NULL,
    criterion_id VARCHAR NOT NULL, criteria_name VARCHAR NOT NULL, rubrics VARCHAR NOT NULL, levels DOUBLE[] NOT NULL,
    is_gate BOOLEAN NOT NULL, pinned_at TIMESTAMPTZ NOT NULL
);
-- The value when pinned; NULL for gates, and in sets that were pinned before this column existed.
ALTER TABLE judging.golden_requests ADD COLUMN IF NOT EXISTS higher_is_better BOOLEAN;
CREATE TABLE IF NOT EXISTS judging.golden_rounds (
    round_id VARCHAR PRIMARY KEY,           -- judge_id of the round's verdicts in judging.verdicts
    judge_id VARCHAR NOT NULL, model VARCHAR NOT NULL,   -- each model has a baseline of its own
    engine VARCHAR NOT NULL, engine_version VARCHAR NOT NULL, arguments VARCHAR NOT NULL,
    is_baseline BOOLEAN NOT NULL, judged_at TIMESTAMPTZ NOT NULL, run_id VARCHAR NOT NULL,
    position BIGINT                         -- grows with every round judged or returned to: the latest is the highest
);
-- For warehouses from before this column; upgrade.sql numbers their rows.
ALTER TABLE judging.golden_rounds ADD COLUMN IF NOT EXISTS position BIGINT;
