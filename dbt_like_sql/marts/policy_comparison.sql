/*
description: >
  Every model's score and rank under each scoring policy, over the same verdicts, and how far the policies agree on the
  order of the models. Each policy is defined in its own mart (policy_strict, the default, policy_pollux,
  policy_pollux_max, policy_mera); scores of different policies are on different scales, so compare ranks. Kendall's
  tau-b is computed over the pairs of models of the judge: 1 is the same order, -1 the opposite one; NULL where a policy
  ties all models.
example: >
  SELECT model_id, policy, score, rank, coverage FROM marts.policy_comparison ORDER BY judge_name, model_id, policy
front: true
materialized: table
columns:
  judge_id: Identity of the judge.
  judge_name: Readable name of the judge.
  is_demonstration: True for a demonstration judge (demo, made-up).
  policy: strict, pollux, pollux_max or mera.
  model_id: LLM under test that wrote the answers.
  n: Scores in the mean; answers for mera.
  coverage: Usable scores / requests under the policy, gates not counted.
  score: The model's score under the policy; NULL where it has none.
  rank: Place among the models of the judge under the policy; equal scores share a place.
  worst_case: Lower bound for missing verdicts, strict only.
  best_case: Upper bound for missing verdicts, strict only.
  kendall_tau_strict: Kendall's tau-b between the order under this policy and that under strict.
  kendall_tau_pollux: Kendall's tau-b between the order under this policy and that under pollux.
  kendall_tau_pollux_max: Kendall's tau-b between the order under this policy and that under pollux_max.
  kendall_tau_mera: Kendall's tau-b between the order under this policy and that under mera.
checks:
  - unique: [judge_id, policy, model_id]
*/
WITH scores AS (
    SELECT 'strict' AS policy, judge_id, judge_name, is_demonstration, model_id, n, coverage, score,
        worst_case, best_case
    FROM marts.policy_strict
    UNION ALL
    SELECT 'pollux' AS policy, judge_id, judge_name, is_demonstration, model_id, n, coverage, score,
        CAST(NULL AS DOUBLE) AS worst_case, CAST(NULL AS DOUBLE) AS best_case
    FROM marts.policy_pollux
    UNION ALL
    SELECT 'pollux_max' AS policy, judge_id, judge_name, is_demonstration, model_id, n, coverage, score,
        CAST(NULL AS DOUBLE) AS worst_case, CAST(NULL AS DOUBLE) AS best_case
    FROM marts.policy_pollux_max
    UNION ALL
    SELECT 'mera' AS policy, judge_id, judge_name, is_demonstration, model_id, n, coverage, score,
        CAST(NULL AS DOUBLE) AS worst_case, CAST(NULL AS DOUBLE) AS best_case
    FROM marts.policy_mera
),

-- Rounded, because two policies may sum the same numbers in a different order.
pairs AS (
    SELECT
        a.judge_id,
        a.policy,
        a.model_id,
        b.model_id AS other_model_id,
        sign(round(a.score, 12) - round(b.score, 12)) AS direction
    FROM scores AS a
    JOIN scores AS b ON b.judge_id = a.judge_id AND b.policy = a.policy AND b.model_id > a.model_id
    WHERE a.score IS NOT NULL AND b.score IS NOT NULL
),

agreement AS (
    SELECT
        a.judge_id,
        a.policy,
        b.policy AS other_policy,
        sum(a.direction * b.direction)
            / nullif(sqrt(CAST(sum(abs(a.direction)) AS DOUBLE) * sum(abs(b.direction))), 0) AS tau
    FROM pairs AS a
    JOIN pairs AS b
        ON b.judge_id = a.judge_id AND b.model_id = a.model_id AND b.other_model_id = a.other_model_id
    GROUP BY a.judge_id, a.policy, b.policy
),

taus AS (
    SELECT
        judge_id,
        policy,
        max(CASE WHEN other_policy = 'strict' THEN tau END) AS kendall_tau_strict,
        max(CASE WHEN other_policy = 'pollux' THEN tau END) AS kendall_tau_pollux,
        max(CASE WHEN other_policy = 'pollux_max' THEN tau END) AS kendall_tau_pollux_max,
        max(CASE WHEN other_policy = 'mera' THEN tau END) AS kendall_tau_mera
    FROM agreement
    GROUP BY judge_id, policy
)

SELECT
    scores.judge_id,
    scores.judge_name,
    scores.is_demonstration,
    scores.policy,
    scores.model_id,
    scores.n,
    scores.coverage,
    scores.score,
    rank() OVER (PARTITION BY scores.judge_id, scores.policy ORDER BY round(scores.score, 12) DESC NULLS LAST) AS rank,
    scores.worst_case,
    scores.best_case,
    taus.kendall_tau_strict,
    taus.kendall_tau_pollux,
    taus.kendall_tau_pollux_max,
    taus.kendall_tau_mera
FROM scores
LEFT JOIN taus ON taus.judge_id = scores.judge_id AND taus.policy = scores.policy
