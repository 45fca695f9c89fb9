"""A judge that was trained on a few criteria is asked for no other ones."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pollux_dagster.settings import Settings
from tests.pipeline_world import write_answers, write_jsonl

OWN = {
    "criteria_name": "Вежливый тон",
    "rubrics": "0: Тон грубый.\n1: Тон сухой.\n2: Тон вежливый.",
}


@pytest.mark.slow
def test_the_demonstration_judge_refuses_criteria_that_it_does_not_know(
    world: Settings, pollux_environment: dict[str, str]
) -> None:
    instruction = {"prompt_id": 0, "instruction": "Попроси не шуметь.", "task_type": "письмо", "criteria": [OWN]}
    write_jsonl(world.landing / "instructions.jsonl", [instruction])
    write_answers(world.landing, "rude", 1, lambda _: "Хватит шуметь!")
    command = [sys.executable, "-m", "pollux_dagster.cli", "run"]
    environment = {**pollux_environment, "POLLUX_MINIMUM_COVERAGE": "0"}
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    last = ran.stderr.splitlines()[-1]
    assert "the judge demo knows 5 criteria" in last, ran.stderr
    assert "1 other: «Вежливый тон»" in last and "--profile pollux-4b" in last
    assert not world.published.exists()
