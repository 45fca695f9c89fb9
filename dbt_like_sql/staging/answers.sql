/*
description: >
  One row per judged answer (and repetition): the mean of its usable scores, how much of it could be scored, and the
  state of its gates. An answer is unscored when none of its scores is usable, for instance while a gate is unknown.
example: >
  SELECT model_id, prompt_id, answer_score, n, gate_state FROM staging.answers ORDER BY answer_score NULLS FIRST LIMIT
  20
tags: {layer: staging}
materialized: table
columns:
  judge_id: Identity of the judge.
  judge_name: Readable name of the judge.
  is_demonstration: True for a demonstration judge (demo, made-up).
  model_id: LLM under test that wrote the answer.
  prompt_id: Instruction that was answered.
  dataset: Data set of the instruction, as in staging.scores.
  sample_index: Which of the model's answers to the instruction, from 0.
  repeat_index: Which repetition of the judging, from 0.
  task_type: Task of the instruction.
  gate_state: none, passed, tripped or unknown, as in staging.scores.
  n_requests: Requests for this answer, gates not counted.
  n: Requests with a usable score.
  coverage: n / n_requests; NULL where the answer has gates only.
  answer_score: Mean of the answer's usable scores in [0, 1]; NULL where none is usable.
  injection_suspected: True where the answer seems to address the judge; it is judged and counted like any other.
  file_path: Landing file of the answer.
  row_number: Row of the answer in that file.
checks:
  - unique: [judge_id, model_id, prompt_id, sample_index, repeat_index]
  - name: undecided_gate_leaves_the_answer_unscored
    description: An answer whose gate is unknown has no score, and one with a tripped gate never has more than 0.
    sql: >
      SELECT judge_id, model_id, prompt_id, gate_state, answer_score
      FROM staging.answers
      WHERE (gate_state = 'unknown' AND answer_score IS NOT NULL) OR (gate_state = 'tripped' AND answer_score > 0)
*/
SELECT
    judge_id,
    judge_name,
    is_demonstration,
    model_id,
    prompt_id,
    dataset,
    sample_index,
    repeat_index,
    task_type,
    gate_state,
    count(CASE WHEN NOT is_gate THEN 1 END) AS n_requests,
    count(final_score) AS n,
    count(final_score) / nullif(count(CASE WHEN NOT is_gate THEN 1 END), 0) AS coverage,
    avg(final_score) AS answer_score,
    injection_suspected,
    file_path,
    row_number
FROM staging.scores
GROUP BY
    judge_id, judge_name, is_demonstration, model_id, prompt_id, dataset, sample_index, repeat_index, task_type,
    gate_state,
    injection_suspected, file_path, row_number
