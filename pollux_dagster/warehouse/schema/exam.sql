-- The judge's exam: one row per state of a judge in which it was taken, and what came of it. Results are kept and not
-- computed again, because the exam's items are part of the package and change with it.
CREATE TABLE IF NOT EXISTS judging.exam_rounds (
    round_id VARCHAR PRIMARY KEY,           -- judge_id of the round's verdicts in judging.verdicts
    judge_id VARCHAR NOT NULL, model VARCHAR NOT NULL,
    engine VARCHAR NOT NULL, engine_version VARCHAR NOT NULL, arguments VARCHAR NOT NULL,
    exam_id VARCHAR NOT NULL,               -- the items and probes: results of different exams cannot be compared
    examined_at TIMESTAMPTZ NOT NULL, run_id VARCHAR NOT NULL,
    position BIGINT                         -- grows with every exam taken: the latest is the highest
);
CREATE TABLE IF NOT EXISTS judging.exam_results (
    round_id VARCHAR NOT NULL, probe VARCHAR NOT NULL,
    grain VARCHAR NOT NULL,                 -- all | criterion
    criteria_name VARCHAR,                  -- NULL for all
    baseline_scores BIGINT,                 -- NULL for all
    baseline_mean DOUBLE, effect DOUBLE, standard_error DOUBLE, ci_low DOUBLE, ci_high DOUBLE, changed_share DOUBLE,
    n BIGINT NOT NULL, n_clusters BIGINT NOT NULL, asked BIGINT NOT NULL, failures BIGINT NOT NULL,
    baseline_failures BIGINT NOT NULL, flagged BOOLEAN NOT NULL
);
