/*
description: >
  The ten lowest-scored answers of each model under each judge, with the texts that show why: excerpts of instruction
  and answer, the criteria that took points off, and the judge's rationale for the worst of them. Only answers that lost
  points are listed, because an unscored answer is not a bad one. The full texts are in raw.instructions,
  raw.model_outputs and judging.verdicts under the keys given here.
example: >
  SELECT model_id, place, task_type, answer_score, worst_criterion, answer_excerpt, rationale_excerpt FROM
  marts.worst_answers ORDER BY judge_name, model_id, place
front: true
tags: {layer: marts}
materialized: table
columns:
  judge_id: Identity of the judge.
  judge_name: Readable name of the judge.
  is_demonstration: True for a demonstration judge (demo, made-up).
  model_id: LLM under test that wrote the answer.
  place: 1 for the lowest answer of the model; ties are broken by prompt_id, sample_index and repeat_index.
  prompt_id: Instruction that was answered.
  dataset: Data set of the instruction, as in staging.scores.
  sample_index: Which of the model's answers to the instruction, from 0.
  repeat_index: Which repetition of the judging, from 0.
  task_type: Task of the instruction.
  answer_score: Mean of the answer's usable scores in [0, 1].
  n: Number of scores in answer_score.
  coverage: Share of the answer's requests (gates not counted) that could be scored.
  gate_state: none, passed or tripped.
  instruction_excerpt: First 300 characters of the instruction.
  answer_excerpt: First 300 characters of the answer.
  failing_criteria: Names of the criteria that took points off, the tripped gate first, then the lowest first.
  worst_criterion: The first of them.
  worst_score: The judge's number for it, in the rubric's own units.
  rationale_excerpt: First 500 characters of the judge's rationale for it, where it gave one.
  verdict_key: Key of that verdict in judging.verdicts.
  file_path: Landing file of the answer.
  row_number: Row of the answer in that file.
checks:
  - unique: [judge_id, model_id, place]
  - not_null: [judge_id, model_id, prompt_id, answer_score, failing_criteria, verdict_key]
*/
WITH ranked AS (
    SELECT
        judge_id,
        judge_name,
        is_demonstration,
        model_id,
        prompt_id,
        sample_index,
        repeat_index,
        task_type,
        gate_state,
        n,
        coverage,
        answer_score,
        file_path,
        row_number,
        row_number() OVER (
            PARTITION BY judge_id, model_id ORDER BY answer_score, prompt_id, sample_index, repeat_index
        ) AS place
    FROM staging.answers
    WHERE answer_score < 1
),

worst AS (
    SELECT * FROM ranked WHERE place <= 10
),

lost_points AS (
    SELECT
        worst.judge_id,
        worst.model_id,
        worst.place,
        scores.criteria_name,
        scores.score,
        scores.verdict_key,
        row_number() OVER (
            PARTITION BY worst.judge_id, worst.model_id, worst.place
            ORDER BY CASE WHEN scores.is_gate THEN 0 ELSE 1 END, scores.normalized_score, scores.criterion_id
        ) AS severity_order
    FROM worst
    JOIN staging.scores AS scores
        ON scores.judge_id = worst.judge_id
        AND scores.model_id = worst.model_id
        AND scores.prompt_id = worst.prompt_id
        AND scores.sample_index = worst.sample_index
        AND scores.repeat_index = worst.repeat_index
    WHERE (scores.is_gate AND scores.score = scores.max_score)
       OR (NOT scores.is_gate AND scores.normalized_score < 1)
),

reasons AS (
    SELECT
        judge_id,
        model_id,
        place,
        string_agg(criteria_name, '; ' ORDER BY severity_order) AS failing_criteria,
        max(CASE WHEN severity_order = 1 THEN criteria_name END) AS worst_criterion,
        max(CASE WHEN severity_order = 1 THEN score END) AS worst_score,
        max(CASE WHEN severity_order = 1 THEN verdict_key END) AS verdict_key
    FROM lost_points
    GROUP BY judge_id, model_id, place
)

SELECT
    worst.judge_id,
    worst.judge_name,
    worst.is_demonstration,
    worst.model_id,
    worst.place,
    worst.prompt_id,
    instructions.dataset,
    worst.sample_index,
    worst.repeat_index,
    worst.task_type,
    worst.answer_score,
    worst.n,
    worst.coverage,
    worst.gate_state,
    substr(instructions.instruction, 1, 300) AS instruction_excerpt,
    substr(outputs.answer, 1, 300) AS answer_excerpt,
    reasons.failing_criteria,
    reasons.worst_criterion,
    reasons.worst_score,
    substr(verdicts.rationale, 1, 500) AS rationale_excerpt,
    reasons.verdict_key,
    worst.file_path,
    worst.row_number
FROM worst
JOIN reasons
    ON reasons.judge_id = worst.judge_id AND reasons.model_id = worst.model_id AND reasons.place = worst.place
JOIN raw.instructions AS instructions ON instructions.prompt_id = worst.prompt_id
JOIN raw.model_outputs AS outputs
    ON outputs.model_id = worst.model_id
    AND outputs.prompt_id = worst.prompt_id
    AND outputs.sample_index = worst.sample_index
LEFT JOIN judging.verdicts AS verdicts ON verdicts.verdict_key = reasons.verdict_key
