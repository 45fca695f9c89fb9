-- The judge's input: every key unique, every text hashed once (sha256 of UTF-8, hex).
CREATE SCHEMA IF NOT EXISTS raw;
CREATE TABLE IF NOT EXISTS raw.instructions (
    prompt_id VARCHAR NOT NULL, instruction VARCHAR NOT NULL, reference_answer VARCHAR,
    task_type VARCHAR NOT NULL,             -- 'unspecified' where the file names none
    task_subtype VARCHAR, domain VARCHAR, difficulty VARCHAR, meta VARCHAR,
    instruction_hash VARCHAR NOT NULL, reference_hash VARCHAR NOT NULL, -- of '' where there is no reference
    file_path VARCHAR NOT NULL, row_number BIGINT NOT NULL
);
-- For warehouses from before these columns; the next ingest fills them. prompt_id is the id in the file, and where two
-- data sets have one id for different instructions, `<data set>#<id>`.
ALTER TABLE raw.instructions ADD COLUMN IF NOT EXISTS dataset VARCHAR DEFAULT '';   -- the folder; '' at the top
ALTER TABLE raw.instructions ADD COLUMN IF NOT EXISTS source_prompt_id VARCHAR;     -- the id as the file has it
CREATE TABLE IF NOT EXISTS raw.criteria (
    criterion_id VARCHAR NOT NULL,          -- sha256(sha256(criteria_name) || sha256(rubrics))
    criteria_name VARCHAR NOT NULL, rubrics VARCHAR NOT NULL, criteria_group VARCHAR NOT NULL, -- critical|general|domain|task|subjective|unspecified
    levels DOUBLE[] NOT NULL, min_score DOUBLE NOT NULL, max_score DOUBLE NOT NULL,
    is_gate BOOLEAN NOT NULL,               -- critical group and levels exactly {0,1}
    name_hash VARCHAR NOT NULL, rubrics_hash VARCHAR NOT NULL
);
-- For warehouses from before these columns; the next ingest fills them.
ALTER TABLE raw.criteria ADD COLUMN IF NOT EXISTS higher_is_better BOOLEAN DEFAULT TRUE; -- NULL for gates and in a conflict
ALTER TABLE raw.criteria ADD COLUMN IF NOT EXISTS conflict VARCHAR;        -- contradictory statements, with their sources
ALTER TABLE raw.criteria ADD COLUMN IF NOT EXISTS group_doubt VARCHAR;     -- why the group may be wrong
ALTER TABLE raw.criteria ADD COLUMN IF NOT EXISTS direction_doubt VARCHAR; -- why the direction may be wrong
CREATE TABLE IF NOT EXISTS raw.instruction_criteria (
    prompt_id VARCHAR NOT NULL, criterion_id VARCHAR NOT NULL, position INTEGER NOT NULL, source VARCHAR NOT NULL -- inline | taxonomy
);
CREATE TABLE IF NOT EXISTS raw.model_outputs (
    model_id VARCHAR NOT NULL, prompt_id VARCHAR NOT NULL, sample_index INTEGER NOT NULL,
    answer VARCHAR NOT NULL,                -- '' where a cell was empty or reasoning never ended; blank ones are judged unchanged
    answer_hash VARCHAR NOT NULL, file_path VARCHAR NOT NULL, row_number BIGINT NOT NULL,
    injection_suspected BOOLEAN DEFAULT FALSE,  -- the answer seems to address the judge; it is judged unchanged
    injection_reasons VARCHAR[] DEFAULT '[]'    -- core.injection.InjectionReason
);
ALTER TABLE raw.model_outputs ADD COLUMN IF NOT EXISTS injection_suspected BOOLEAN DEFAULT FALSE;
ALTER TABLE raw.model_outputs ADD COLUMN IF NOT EXISTS injection_reasons VARCHAR[] DEFAULT '[]';
-- The model's reasoning, which is not part of the answer; whether it never ended, so that the answer is empty.
ALTER TABLE raw.model_outputs ADD COLUMN IF NOT EXISTS reasoning VARCHAR;
ALTER TABLE raw.model_outputs ADD COLUMN IF NOT EXISTS reasoning_unclosed BOOLEAN DEFAULT FALSE;
CREATE TABLE IF NOT EXISTS raw.human_scores (
    prompt_id VARCHAR NOT NULL, model_id VARCHAR NOT NULL, criteria_name VARCHAR NOT NULL, annotator VARCHAR NOT NULL,
    score DOUBLE NOT NULL, file_path VARCHAR NOT NULL, row_number BIGINT NOT NULL
);
ALTER TABLE raw.human_scores ADD COLUMN IF NOT EXISTS sample_index INTEGER DEFAULT 0;
ALTER TABLE raw.human_scores ADD COLUMN IF NOT EXISTS feedback VARCHAR;    -- the annotator's words, if any
-- In (0, 1]: the probability with which the draw sampling_round chose the answer; NULL where the file does not say.
ALTER TABLE raw.human_scores ADD COLUMN IF NOT EXISTS sampling_probability DOUBLE;
ALTER TABLE raw.human_scores ADD COLUMN IF NOT EXISTS sampling_design VARCHAR;  -- uniform | stratified | informative
ALTER TABLE raw.human_scores ADD COLUMN IF NOT EXISTS sampling_round VARCHAR;   -- of the draw; draws are in its order
CREATE TABLE IF NOT EXISTS raw.rejected_rows (
    file_path VARCHAR NOT NULL, row_number BIGINT NOT NULL, reason VARCHAR NOT NULL, detail VARCHAR NOT NULL, raw_text VARCHAR
);
-- What the owner of a landing file should know though its rows are used.
CREATE TABLE IF NOT EXISTS raw.notes (
    file_path VARCHAR NOT NULL, row_number BIGINT NOT NULL, kind VARCHAR NOT NULL, detail VARCHAR NOT NULL
);
-- A text by which a person would call two names or questions the same: characters composed (NFC), spaces of every kind
-- alike, none at the ends, invisible characters left out.
CREATE MACRO IF NOT EXISTS raw.same_words(x) AS trim(regexp_replace(
    regexp_replace(nfc_normalize(x), '[\x{00AD}\x{200B}-\x{200D}\x{2060}\x{FEFF}]', '', 'g'), '[\s\p{Z}]+', ' ', 'g'
));
-- How much of the landed data is used: by file, and by model where a row names one.
CREATE TABLE IF NOT EXISTS raw.rejection_counts (
    file_path VARCHAR NOT NULL, model_id VARCHAR, reason VARCHAR NOT NULL, rejected BIGINT NOT NULL,
    is_counted BOOLEAN NOT NULL,            -- false for repeats, scores of absent answers and files of no known format
    file_rows BIGINT NOT NULL,
    share DOUBLE NOT NULL                   -- of the file's rows or the model's, whichever is more, over all counted reasons
);
CREATE TABLE IF NOT EXISTS raw.answer_counts (
    model_id VARCHAR NOT NULL,
    expected BIGINT NOT NULL,               -- instructions that landed, and those that only its rejected rows name
    answered BIGINT NOT NULL,               -- instructions that it answered
    row_count BIGINT NOT NULL, rejected BIGINT NOT NULL  -- rows of its answers, and the rejected ones among them
);
ALTER TABLE raw.answer_counts ADD COLUMN IF NOT EXISTS with_reasoning BIGINT DEFAULT 0;     -- answers that open with it
ALTER TABLE raw.answer_counts ADD COLUMN IF NOT EXISTS reasoning_unclosed BIGINT DEFAULT 0; -- and never came to an answer
