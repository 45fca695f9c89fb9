"""What judge tests share: a checkpoint small enough for any machine, and a world to judge in."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pollux_dagster.ledger.ledger import Ledger
from tests.fakes.fake_judge import FakeJudge
from tests.judge.judged_world import World

DEMO_CHECKPOINT = Path(__file__).parents[2] / "pollux_dagster" / "demo" / "judge"


@pytest.fixture(scope="session")
def tiny_checkpoint() -> Path:
    """The packaged demo judge: a real Qwen3 checkpoint of a few megabytes."""
    if not (DEMO_CHECKPOINT / "model.safetensors").is_file():
        pytest.skip(f"no checkpoint in {DEMO_CHECKPOINT}: run tools/train_demo_judge.py")
    return DEMO_CHECKPOINT


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A judge that answers well until told otherwise, and an empty ledger."""
    with FakeJudge() as judge:
        yield World(judge, Ledger(tmp_path / "ledger"), [])
