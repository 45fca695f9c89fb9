"""What judge tests share: a checkpoint small enough for any machine."""

from pathlib import Path

import pytest

DEMO_CHECKPOINT = Path(__file__).parents[2] / "pollux_dagster" / "demo" / "judge"


@pytest.fixture(scope="session")
def tiny_checkpoint() -> Path:
    """The packaged demo judge: a real Qwen3 checkpoint of a few megabytes."""
    if not (DEMO_CHECKPOINT / "model.safetensors").is_file():
        pytest.skip(f"no checkpoint in {DEMO_CHECKPOINT}: run tools/train_demo_judge.py")
    return DEMO_CHECKPOINT
