"""A slice of the chaos suite for every test run: the stub engine over real HTTP, real processes, a fixed seed.

`python -m tests.chaos` runs the whole of it, on vLLM. A failure names the command that replays it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.chaos.arena import Arena, make_arena, play
from tests.chaos.child import warm_up
from tests.chaos.kill import leftovers
from tests.chaos.scenarios import scenarios
from tests.chaos.world import quiet

SEED = 7
FAST = ("segment-bit_flipped",)
# tests/judge has these faults one reply at a time and these ends of a server on the stub engine, tests/warehouse the
# clock, tests/app a home of an earlier version.
SLOW = (
    "disk-ledger-full",
    "fault-reset_mid_body-50%",
    "fault-429-50%",
    "server-bad-flag",
    "disk-publication-read_only",
    "clock-jumps",
    "earlier-layout",
    "fault-html-50%",
    "fault-answer_of_another-50%",
    "fault-off_scale-50%",
    "fault-truncated_reasoning-50%",
    "kill-step-0",
    "kill-server-0",
    "calls-judge-kill",
)
SLICE = (*FAST, *SLOW)

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    """One stub engine for the whole slice; after it nothing may be left."""
    quiet()
    arena = make_arena(tmp_path_factory.mktemp("chaos"), stub=True)
    warm_up()
    yield arena
    arena.stop()
    deadline = time.monotonic() + 15  # a supervisor that has let go of its lock is still a process for a moment
    while left := leftovers():
        assert time.monotonic() < deadline, f"processes {left} are left"
        time.sleep(0.1)


def test_names_of_scenarios_replay_one_each() -> None:
    names = [scenario.name for scenario in scenarios()]
    assert len(set(names)) == len(names)
    assert set(SLICE) <= set(names)


@pytest.mark.parametrize(
    "scenario",
    [
        pytest.param(scenario, id=scenario.name, marks=[pytest.mark.slow] if scenario.name in SLOW else [])
        for scenario in scenarios()
        if scenario.name in SLICE
    ],
)
def test_a_promise_holds(arena: Arena, scenario: object) -> None:
    outcome = play(scenario, arena, SEED)  # type: ignore[arg-type]
    assert not outcome.error, (
        f"{outcome.error}\nreplay: python -m tests.chaos --stub --seed {SEED} --only {outcome.scenario.name}"
    )
    if "skipped" in outcome.figures:
        pytest.skip(str(outcome.figures["skipped"]))
