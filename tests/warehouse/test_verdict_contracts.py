"""What the contracts on verdicts measure: coverage a model, and each kind of failure's share of a judge's verdicts."""

from __future__ import annotations

from collections import Counter

import pytest
from tiny_world import JUDGE, MISSING, MODELS, OTHER_JUDGE, PROMPTS, TinyWorld, criteria_of, planned, verdict_key

from pollux_dagster.warehouse.audit import audit
from pollux_dagster.warehouse.contracts import Contract, contracts


def contract(name: str) -> Contract:
    (found,) = [contract for contract in contracts(0.9) if contract.name == name]
    return found


def test_a_failures_share_is_of_all_verdicts_of_the_judge(world: TinyWorld) -> None:
    world.judge_everything()
    statuses = {
        verdict_key(JUDGE, model, prompt, code): planned(JUDGE, model, prompt, code)[0]
        for model in MODELS
        for prompt in PROMPTS
        for code in criteria_of(prompt)
    }
    judged = Counter(status for status in statuses.values() if status != MISSING)
    result = audit(world.con, contract("failures_are_rare")).result
    assert {row["judge_id"] for row in result.sample} == {JUDGE}
    shares = {row["status"]: row["share"] for row in result.sample}
    assert shares == pytest.approx({s: n / judged.total() for s, n in judged.items() if s != "ok"})


def test_coverage_is_measured_for_each_model_and_judge(world: TinyWorld) -> None:
    world.judge_everything()
    asked = {model: [(p, code) for p in PROMPTS for code in criteria_of(p)] for model in MODELS}
    expected = {
        model: sum(planned(JUDGE, model, *one)[0] == "ok" for one in requests) / len(requests)
        for model, requests in asked.items()
    }
    result = audit(world.con, contract("coverage_is_sufficient")).result
    assert contract("coverage_is_sufficient").blocking
    assert OTHER_JUDGE not in {row["judge_id"] for row in result.sample}
    assert {row["model_id"]: row["coverage"] for row in result.sample} == pytest.approx(
        {model: share for model, share in expected.items() if share < 0.9}
    )
