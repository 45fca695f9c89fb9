/*
description: >
  What the judge was asked about each model and what it returned, gates included: requests, verdicts by status, and
  tokens. coverage is verdicts obtained / requests made. Tokens count each distinct verdict once within the model;
  models that gave the same answer share the verdict, so tokens must not be added up over models. Rows rejected before
  judging make no request; they are counted in n_expected, n_answered and n_rejected.
example: >
  SELECT model_id, n_requests, n_ok, n_failed, n_missing, coverage, completion_tokens FROM marts.judge_coverage ORDER
  BY coverage, model_id
front: true
tags: {layer: marts}
materialized: table
columns:
  judge_id: Identity of the judge.
  judge_name: Readable name of the judge.
  is_demonstration: True for a demonstration judge (demo, made-up).
  model_id: LLM under test that wrote the answers.
  n_expected: Instructions that landed, and those that only the model's rejected rows name.
  n_answered: Instructions the model has an answer to, judged or not.
  n_rejected: Unusable rows of its answers, not counting repeats of used ones.
  n_answers: Answers judged; every repetition of the judging counts as one.
  n_requests: Requests made for them, gates included.
  n_ok: Requests with a score.
  n_missing: Requests without a verdict for the current text.
  n_failed: Requests whose verdict is a failure of any kind.
  n_truncated: Reply cut off at the token limit.
  n_repetition: Reply ran into a loop.
  n_unparseable: Reply without a number where one is expected.
  n_off_scale: Number that is not a level of the rubric.
  n_context_overflow: Prompt longer than the judge's context.
  n_refused_by_server: Server answered with an error that a retry cannot cure.
  n_transport_error: Server could not be reached or kept failing.
  coverage: n_ok / n_requests.
  failure_share: n_failed / n_requests.
  n_verdicts: Distinct verdicts behind the requests.
  prompt_tokens: Prompt tokens of the distinct verdicts.
  completion_tokens: Reply tokens of the distinct verdicts.
  cached_tokens: Prompt tokens that the server had in its prefix cache.
  cached_share: cached_tokens / prompt_tokens; NULL where there are no tokens.
checks:
  - unique: [judge_id, model_id]
  - name: every_request_has_one_known_status
    description: ok, missing and the kinds of failure add up to the requests.
    sql: >
      SELECT * FROM marts.judge_coverage
      WHERE n_requests <> n_ok + n_missing + n_failed
         OR n_failed <> n_truncated + n_repetition + n_unparseable + n_off_scale + n_context_overflow
                        + n_refused_by_server + n_transport_error
  - name: every_request_is_counted
    description: The requests of the models add up to those of staging.scores.
    sql: >
      SELECT judge_id, marts_n, staging_n
      FROM (SELECT judge_id, sum(n_requests) AS marts_n FROM marts.judge_coverage GROUP BY judge_id) AS marts
      FULL JOIN (SELECT judge_id, count(*) AS staging_n FROM staging.scores GROUP BY judge_id) AS staging
      USING (judge_id)
      WHERE marts_n IS DISTINCT FROM staging_n
*/
WITH requests AS (
    SELECT
        judge_id,
        judge_name,
        is_demonstration,
        model_id,
        count(*) AS n_requests,
        count(CASE WHEN status = 'ok' THEN 1 END) AS n_ok,
        count(CASE WHEN status = 'missing' THEN 1 END) AS n_missing,
        count(CASE WHEN status = 'truncated' THEN 1 END) AS n_truncated,
        count(CASE WHEN status = 'repetition' THEN 1 END) AS n_repetition,
        count(CASE WHEN status = 'unparseable' THEN 1 END) AS n_unparseable,
        count(CASE WHEN status = 'off_scale' THEN 1 END) AS n_off_scale,
        count(CASE WHEN status = 'context_overflow' THEN 1 END) AS n_context_overflow,
        count(CASE WHEN status = 'refused_by_server' THEN 1 END) AS n_refused_by_server,
        count(CASE WHEN status = 'transport_error' THEN 1 END) AS n_transport_error
    FROM staging.scores
    GROUP BY judge_id, judge_name, is_demonstration, model_id
),

answers AS (
    SELECT judge_id, model_id, count(*) AS n_answers
    FROM staging.answers
    GROUP BY judge_id, model_id
),

distinct_verdicts AS (
    SELECT
        judge_id,
        model_id,
        verdict_key,
        max(prompt_tokens) AS prompt_tokens,
        max(completion_tokens) AS completion_tokens,
        max(cached_tokens) AS cached_tokens
    FROM staging.scores
    WHERE status <> 'missing'
    GROUP BY judge_id, model_id, verdict_key
),

tokens AS (
    SELECT
        judge_id,
        model_id,
        count(*) AS n_verdicts,
        CAST(sum(prompt_tokens) AS BIGINT) AS prompt_tokens,
        CAST(sum(completion_tokens) AS BIGINT) AS completion_tokens,
        CAST(sum(cached_tokens) AS BIGINT) AS cached_tokens
    FROM distinct_verdicts
    GROUP BY judge_id, model_id
)

SELECT
    requests.judge_id,
    requests.judge_name,
    requests.is_demonstration,
    requests.model_id,
    counts.expected AS n_expected,
    counts.answered AS n_answered,
    counts.rejected AS n_rejected,
    answers.n_answers,
    requests.n_requests,
    requests.n_ok,
    requests.n_missing,
    requests.n_requests - requests.n_ok - requests.n_missing AS n_failed,
    requests.n_truncated,
    requests.n_repetition,
    requests.n_unparseable,
    requests.n_off_scale,
    requests.n_context_overflow,
    requests.n_refused_by_server,
    requests.n_transport_error,
    requests.n_ok / requests.n_requests AS coverage,
    (requests.n_requests - requests.n_ok - requests.n_missing) / requests.n_requests AS failure_share,
    coalesce(tokens.n_verdicts, 0) AS n_verdicts,
    coalesce(tokens.prompt_tokens, 0) AS prompt_tokens,
    coalesce(tokens.completion_tokens, 0) AS completion_tokens,
    coalesce(tokens.cached_tokens, 0) AS cached_tokens,
    tokens.cached_tokens / nullif(tokens.prompt_tokens, 0) AS cached_share
FROM requests
JOIN answers ON answers.judge_id = requests.judge_id AND answers.model_id = requests.model_id
LEFT JOIN tokens ON tokens.judge_id = requests.judge_id AND tokens.model_id = requests.model_id
LEFT JOIN raw.answer_counts AS counts ON counts.model_id = requests.model_id
