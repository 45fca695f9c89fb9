"""A Dagster instance belongs to one home: a second one is refused, with both paths and what to do."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from pollux_dagster.definitions import build_defs
from pollux_dagster.runs.instance import open_instance
from pollux_dagster.runs.instance_owner import ForeignInstanceError, claim_instance
from pollux_dagster.settings import Settings

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


@pytest.fixture
def first(tmp_path: Path) -> Path:
    """A home that has its instance."""
    open_instance(tmp_path / "first" / "dagster").dispose()
    return tmp_path / "first"


def ask(home: Path, dagster_home: Path) -> None:
    """What a process of `home` does that was pointed to this DAGSTER_HOME."""
    with dg.DagsterInstance.from_config(str(dagster_home)) as instance:
        claim_instance(instance, home)


def test_a_second_home_is_refused_with_both_paths_and_what_to_do(first: Path, tmp_path: Path) -> None:
    second = tmp_path / "second"
    with pytest.raises(ForeignInstanceError) as refused:
        ask(second, first / "dagster")
    assert str(first) in str(refused.value)
    assert f"DAGSTER_HOME={second / 'dagster'}" in str(refused.value)
    ask(first, first / "dagster")
    # What the message says last hands it over.
    command = str(refused.value).rpartition("from now on: ")[2]
    subprocess.run(["sh", "-c", command], check=True)
    ask(second, first / "dagster")
    with pytest.raises(ForeignInstanceError, match=str(second)):
        ask(tmp_path / "third", first / "dagster")


def test_a_home_that_was_moved_or_copied_with_its_instance_is_at_home(first: Path, tmp_path: Path) -> None:
    shutil.copytree(first, tmp_path / "copy")
    open_instance(tmp_path / "copy" / "dagster").dispose()
    moved = first.rename(tmp_path / "moved")
    open_instance(moved / "dagster").dispose()


def test_a_home_that_was_moved_away_from_an_instance_elsewhere_keeps_it(tmp_path: Path) -> None:
    home, instance = tmp_path / "home", tmp_path / "instance"
    instance.mkdir()
    ask(home, instance)
    moved = home.rename(tmp_path / "moved")
    ask(moved, instance)
    shutil.copytree(moved, home)
    with pytest.raises(ForeignInstanceError, match="copy of the other"):
        ask(home, instance)


def test_an_instance_of_an_earlier_version_goes_to_its_own_home(tmp_path: Path) -> None:
    """It has no owner yet, and its home no id."""
    earlier = tmp_path / "home" / "dagster"
    earlier.mkdir(parents=True)
    dg.DagsterInstance.from_config(str(earlier)).dispose()
    open_instance(earlier).dispose()
    with pytest.raises(ForeignInstanceError):
        ask(tmp_path / "other", earlier)


def test_a_run_of_a_second_home_fails_and_leaves_nothing(first: Path, tmp_path: Path) -> None:
    (tmp_path / "landing").mkdir()
    (tmp_path / "landing" / "m.jsonl").write_text('{"prompt_id": 1, "model_id": "m", "answer": "да"}\n')
    with pytest.MonkeyPatch.context() as patch, dg.DagsterInstance.from_config(str(first / "dagster")) as instance:
        patch.setenv("POLLUX_HOME", str(tmp_path / "second"))
        patch.setenv("POLLUX_LANDING", str(tmp_path / "landing"))
        result = dg.execute_job(dg.reconstructable(ingest_job), instance)
        assert not result.success
        (failure,) = (event for event in result.all_events if event.is_job_failure)
        assert str(first) in str(failure.job_failure_data.error)
        assert instance.get_dynamic_partitions("models") == []


def ingest_job() -> dg.JobDefinition:
    return build_defs(Settings.from_environment()).resolve_job_def("ingest")


def test_the_code_location_of_a_second_home_does_not_load(first: Path, tmp_path: Path) -> None:
    settings = Settings.from_environment(
        {"POLLUX_HOME": str(tmp_path / "second"), "POLLUX_LANDING": str(tmp_path / "landing")}
    )
    environment = {**os.environ, **settings.to_environment(), "PYTHONPATH": str(ROOT)}

    def load(dagster_home: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", "from pollux_dagster.definitions import defs; defs()"],
            capture_output=True, text=True, check=False,
            env={**environment, "DAGSTER_HOME": str(dagster_home)},
        )  # fmt: skip

    refused = load(first / "dagster")
    assert refused.returncode
    assert f"belongs to the home {first}" in refused.stderr
    own = tmp_path / "second" / "dagster"
    own.mkdir(parents=True)
    assert load(own).returncode == 0, load(own).stderr


def test_the_command_says_so_in_one_sentence(tmp_path: Path) -> None:
    """A dagster.yaml can lead to another home's storage."""
    for name in ("first", "second"):
        (tmp_path / name / "dagster").mkdir(parents=True)
        yaml = f"storage:\n  sqlite:\n    base_dir: {tmp_path / 'shared'}\n"
        (tmp_path / name / "dagster" / "dagster.yaml").write_text(yaml)
    open_instance(tmp_path / "first" / "dagster").dispose()
    (tmp_path / "landing").mkdir()
    said = subprocess.run(
        [sys.executable, "-m", "pollux_dagster.cli", "run", "--home", str(tmp_path / "second"), "--landing",
         str(tmp_path / "landing")], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert said.returncode == 1
    assert said.stderr.startswith("error: expected a Dagster instance that belongs to the home")
    assert str(tmp_path / "first") in said.stderr
