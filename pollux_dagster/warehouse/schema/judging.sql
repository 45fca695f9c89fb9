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
