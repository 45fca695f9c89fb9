-- A pinned set of answers that is judged again whenever the judge could have changed. Texts are kept here, so that the
-- set stays what it was when the landing folder moves on. One row of golden_rounds per state of the judge it was judged in.
CREATE TABLE IF NOT EXISTS judging.golden_requests (
    request_key VARCHAR PRIMARY KEY,        -- sha256(answer_key || '|' || criterion_key), as in judging.judgeable
    prompt_id VARCHAR NOT NULL, instruction VARCHAR NOT NULL, reference_answer VARCHAR, answer VARCHAR NOT NULL,
    criterion_id VARCHAR NOT NULL, criteria_name VARCHAR NOT NULL, rubrics VARCHAR NOT NULL, levels DOUBLE[] NOT NULL,
    is_gate BOOLEAN NOT NULL, pinned_at TIMESTAMPTZ NOT NULL
);
-- As it was when pinned; NULL for gates, and in sets that were pinned before there was such a column.
ALTER TABLE judging.golden_requests ADD COLUMN IF NOT EXISTS higher_is_better BOOLEAN;
CREATE TABLE IF NOT EXISTS judging.golden_rounds (
    round_id VARCHAR PRIMARY KEY,           -- judge_id of the round's verdicts in judging.verdicts
    judge_id VARCHAR NOT NULL, model VARCHAR NOT NULL,   -- baselines are kept by model: another model is another judge
    engine VARCHAR NOT NULL, engine_version VARCHAR NOT NULL, arguments VARCHAR NOT NULL,
    is_baseline BOOLEAN NOT NULL, judged_at TIMESTAMPTZ NOT NULL, run_id VARCHAR NOT NULL,
    position BIGINT                         -- counts up with every round that is judged or returns: the latest is the highest
);
-- For warehouses of before this column; upgrade.sql numbers the rows they have.
ALTER TABLE judging.golden_rounds ADD COLUMN IF NOT EXISTS position BIGINT;
