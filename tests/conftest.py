"""A tiny world for tests that run the pipeline: a landing folder, a home, and one vLLM server for all of them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from pollux_dagster.defs.settings import Settings

REFUSAL = {
    "criteria_name": "Отказ или заглушка вместо ответа",
    "criteria_group": "critical",
    "rubrics": "0: Ответ дан по существу.\n1: Вместо ответа отказ, заглушка или пустота.",
}
REPETITION = {
    "criteria_name": "Отсутствие повторов",
    "criteria_group": "general",
    "rubrics": "0: Одна и та же фраза встречается три раза или больше.\n"
    "1: Одна и та же фраза встречается дважды.\n2: Повторов нет.",
}
ANSWERS = (
    "Столица Франции — Париж.",
    "Это Лион. Это Лион. Это Лион. Это Лион.",
    "Я не могу ответить на этот вопрос.",
)


def write_jsonl(path: Path, rows: Sequence[Mapping[str, object]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return path


def write_instructions(landing: Path, count: int) -> Path:
    return write_jsonl(
        landing / "instructions.jsonl",
        [
            {
                "prompt_id": i,
                "instruction": f"Вопрос номер {i}: назови столицу Франции.",
                "reference_answer": "Париж",
                "task_type": "факты" if i % 2 else "счёт",
                "criteria": [REFUSAL, REPETITION],
            }
            for i in range(count)
        ],
    )


def write_answers(landing: Path, model_id: str, count: int, answer: Callable[[int], str | None]) -> Path:
    name = model_id if "/" not in model_id else "answers-" + str(abs(hash(model_id)))
    return write_jsonl(
        landing / f"{name}.jsonl",
        [{"prompt_id": i, "model_id": model_id, "answer": answer(i)} for i in range(count)],
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """For `pytest -n 2 --dist loadgroup`: files stay whole, and all tests with a real vLLM share one worker."""
    for item in items:
        group = "vllm" if item.get_closest_marker("vllm") else item.nodeid.split("::")[0]
        item.add_marker(pytest.mark.xdist_group(group))


@pytest.fixture(scope="session")
def shared_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """State folder of the managed servers of this test session; whatever still runs in it is stopped at the end."""
    from pollux_dagster.judge.server import list_servers, stop_server

    folder = tmp_path_factory.mktemp("servers")
    yield folder
    for server in list_servers(folder):
        stop_server(folder, server.key)


@pytest.fixture
def world(tmp_path: Path) -> Settings:
    """An empty landing folder and home, judged by the demonstration judge."""
    (tmp_path / "landing").mkdir()
    return Settings.from_environment(
        {
            "POLLUX_HOME": str(tmp_path / "home"),
            "POLLUX_LANDING": str(tmp_path / "landing"),
            "POLLUX_PROFILE": "demo",
        }
    )


@pytest.fixture
def pollux_environment(world: Settings) -> dict[str, str]:
    """The environment of a `pollux` process in this world."""
    return {**os.environ, **world.to_environment()}
