"""A tiny world for tests that run the pipeline: a landing folder, a home, and one vLLM server for all of them."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pollux_dagster.settings import Settings

pytest_plugins = ["tests.warehouse.tiny_files"]

# Before NumPy is imported: its threads spin while they wait, and the other workers need the processor.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What waits longest, for vLLM, comes first and the short tests of `core` last: no worker is alone at the end."""
    first = {item.path for item in items if item.get_closest_marker("vllm")}
    last = Path(__file__).parent / "core"
    items.sort(key=lambda item: (item.path not in first, last in item.path.parents))


def pytest_collection_finish() -> None:
    """Thousands of tests and the modules they import stay to the end: no garbage collection looks at them again."""
    gc.collect()
    gc.freeze()


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
