"""Dagster's storage in a real PostgreSQL, configured with the lines of docs/operate.md."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import dagster as dg
import pytest

from pollux_dagster.definitions import build_defs
from pollux_dagster.runs.instance import DAGSTER_YAML, announced_run, fail_orphaned_runs, open_instance
from pollux_dagster.runs.instance_owner import ForeignInstanceError
from pollux_dagster.runs.retention import prune
from pollux_dagster.settings import Retention, Settings
from tests.pipeline_world import write_answers, write_instructions
from tests.postgresql_server import BINARIES, serve
from tests.runs.test_orphaned_runs import killed_run
from tests.runs.test_retention import age, answers, present, run_once, table

OPERATE = Path(__file__).parents[2] / "docs" / "operate.md"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(BINARIES is None, reason="there is no PostgreSQL server on this machine"),
    pytest.mark.skipif(find_spec("dagster_postgres") is None, reason="the extra `postgres` is not installed"),
]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A private cluster on a loopback port; the URL of its database, in the form that the documentation gives."""
    with TemporaryDirectory(prefix="pollux-postgresql-") as folder:
        yield from serve(Path(folder))


@pytest.fixture(scope="module")
def shared(server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A home whose Dagster instance is in that database, as documented."""
    folder = tmp_path_factory.mktemp("world")
    settings = Settings.from_environment(
        {"POLLUX_HOME": str(folder / "home"), "POLLUX_LANDING": str(folder / "landing")}
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_POSTGRES_URL", server)
        configure(settings)
        yield settings


def configure(settings: Settings) -> None:
    (documented,) = re.findall(r"^```yaml\n(storage:\n.*?)^```$", OPERATE.read_text(), re.MULTILINE | re.DOTALL)
    settings.dagster_home.mkdir(parents=True)
    (settings.dagster_home / "dagster.yaml").write_text(DAGSTER_YAML + documented)


def test_an_ingest_is_recorded_there_and_nowhere_else(shared: Settings) -> None:
    write_instructions(shared.landing, 2)
    write_answers(shared.landing, "alpha", 2, lambda i: f"Ответ {i}.")
    with open_instance(shared.dagster_home) as instance, announced_run(instance) as run_id:
        job = build_defs(shared).resolve_job_def("ingest")
        assert job.execute_in_process(instance=instance, run_id=run_id).success
    with open_instance(shared.dagster_home) as instance:
        assert instance.get_run_by_id(run_id).status is dg.DagsterRunStatus.SUCCESS  # type: ignore[union-attr]
        assert instance.get_latest_materialization_event(dg.AssetKey(["raw", "instructions"])) is not None
    assert not [*shared.dagster_home.rglob("*.db")]


def test_a_second_home_on_the_same_database_is_refused(shared: Settings, tmp_path: Path) -> None:
    open_instance(shared.dagster_home).dispose()
    second = replace(shared, home=tmp_path / "second")
    configure(second)
    with pytest.raises(ForeignInstanceError, match="another database") as refused:
        open_instance(second.dagster_home)
    assert str(shared.home) in str(refused.value)
    assert "secret" not in str(refused.value)


def test_a_killed_run_is_failed(shared: Settings, tmp_path: Path) -> None:
    with killed_run(shared.home, tmp_path) as (instance, run_id):
        assert fail_orphaned_runs(instance) == [run_id]


def test_old_runs_go_and_the_present_stays(shared: Settings) -> None:
    keep = replace(shared, retention=Retention(days=10, runs=20))
    with open_instance(shared.dagster_home) as instance:
        landed = [run_once(instance, answers, name) for name in ("once", "again")]
        old = [*landed, run_once(instance, answers, "again"), run_once(instance, table)]
        age(instance, old, days=11)
        for _ in range(20):
            run_once(instance, table)
        before = present(instance)
        assert prune(instance, keep).runs >= 2
        assert present(instance) == before
        assert {*old} & {*instance.get_run_ids()} == {landed[0], old[2]}
