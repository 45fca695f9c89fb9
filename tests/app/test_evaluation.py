"""The main job, run for real: a folder of answers, a vLLM server on the CPU, published tables."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

from pollux_dagster.app.resources import JudgeResource, Resources
from pollux_dagster.definitions import build_defs
from pollux_dagster.runs.instance import fail_orphaned_runs, open_instance
from pollux_dagster.settings import Settings
from tests.pipeline_world import ANSWERS, write_answers, write_instructions

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(420), pytest.mark.slow]
SCORES = "SELECT model_id, prompt_id, criteria_name, status, score, final_score FROM staging.scores ORDER BY ALL"


def evaluate(settings: Settings, servers: Path, **judge_options: Any) -> bool:
    """Both jobs in this process, on the session's server."""
    judge = Resources.of(settings).judge
    shared = JudgeResource(
        **{**judge.model_dump(), "state_root": str(servers), "idle_shutdown_s": 300.0, **judge_options}
    )
    defs = build_defs(settings, {"judge": shared})
    with open_instance(settings.dagster_home) as instance:
        fail_orphaned_runs(instance)
        assert defs.resolve_job_def("ingest").execute_in_process(instance=instance).success
        job = defs.resolve_job_def("evaluate")
        return job.execute_in_process(instance=instance, raise_on_error=False).success


def published(settings: Settings, query: str) -> pl.DataFrame:
    with duckdb.connect(str(settings.published), read_only=True) as con:
        return con.sql(query).pl()


def last_judging(settings: Settings) -> dict[str, int]:
    """What the last judging step asked for, from the run records."""
    with duckdb.connect(str(settings.warehouse), read_only=True) as con:
        row = con.sql(
            "SELECT details->>'requested' FROM meta.runs WHERE step = 'judge' ORDER BY position DESC LIMIT 1"
        ).fetchone()
    assert row is not None
    return {"requested": int(row[0])}


def land(settings: Settings, models: dict[str, int], instructions: int = 12) -> None:
    write_instructions(settings.landing, instructions)
    for model_id, offset in models.items():
        write_answers(settings.landing, model_id, instructions, partial(_answer, offset))


def _answer(offset: int, number: int) -> str:
    return f"{ANSWERS[(number + offset) % 3]} {offset}.{number}"


def test_a_landing_folder_becomes_published_tables_and_only_news_is_judged(
    world: Settings, shared_servers: Path
) -> None:
    land(world, {"alpha": 0, "org/beta 'β'": 1})
    assert evaluate(world, shared_servers)
    assert last_judging(world)["requested"] == 2 * 12 * 2
    quality = published(world, "SELECT * FROM marts.model_quality")
    assert set(quality["model_id"]) == {"alpha", "org/beta 'β'"}
    assert quality["judge_name"].str.starts_with("demo@").all()
    assert quality["is_demonstration"].all()
    assert (quality["coverage"] >= 0.98).all()

    # Every number can be walked back to the file and row of the answer behind it.
    walked = published(
        world,
        "SELECT s.model_id, o.answer, o.file_path, o.row_number, v.rationale FROM staging.scores s "
        "JOIN judging.verdicts v USING (verdict_key) "
        "JOIN raw.model_outputs o USING (model_id, prompt_id, sample_index)",
    )
    assert walked.height == 48
    assert walked["rationale"].null_count() == 0

    # Nothing new: nothing is asked, and no server is needed: this state folder never gets one.
    before = published(world, SCORES)
    no_servers = world.home / "no-servers"
    assert evaluate(world, no_servers)
    assert last_judging(world)["requested"] == 0
    assert not no_servers.exists()
    assert published(world, SCORES).equals(before)

    # One more model: only its requests.
    write_answers(world.landing, "gamma", 12, lambda i: f"{ANSWERS[i % 3]} новый {i}.")
    assert evaluate(world, shared_servers)
    assert last_judging(world)["requested"] == 12 * 2

    # A model that wrote what another wrote costs nothing.
    write_answers(world.landing, "delta", 12, lambda i: f"{ANSWERS[i % 3]} новый {i}.")
    assert evaluate(world, shared_servers)
    assert last_judging(world)["requested"] == 0
    means = dict(published(world, "SELECT model_id, mean_score FROM marts.model_quality").iter_rows())
    assert means["gamma"] == means["delta"]

    # The warehouse is lost, and Dagster's storage: both are made again from landing folder and ledger.
    before = published(world, SCORES)
    world.warehouse.unlink()
    shutil.rmtree(world.dagster_home)
    assert evaluate(world, no_servers)
    assert last_judging(world)["requested"] == 0
    assert published(world, SCORES).equals(before)


def test_a_run_killed_in_the_middle_resumes_and_ends_with_the_same_tables(
    world: Settings, shared_servers: Path, tmp_path: Path, pollux_environment: dict[str, str]
) -> None:
    land(world, {f"model-{k}": k for k in range(4)}, instructions=60)
    run = [sys.executable, "-m", "pollux_dagster.cli", "run"]
    first = subprocess.Popen(run, env=pollux_environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 240
        while _flushed(world) < 100:
            assert first.poll() is None, "the run ended before it could be killed; give it more to do"
            assert time.monotonic() < deadline, "no verdict reached the ledger in time"
            time.sleep(0.02)
    finally:
        first.send_signal(signal.SIGKILL)
        first.wait()
    assert not world.published.exists()
    assert evaluate(world, shared_servers)
    asked = last_judging(world)["requested"]
    assert 0 < asked < 4 * 60 * 2, "a resumed run asks for what is missing and for nothing else"

    undisturbed = replace(world, home=tmp_path / "undisturbed")
    assert evaluate(undisturbed, shared_servers)
    assert published(world, SCORES).equals(published(undisturbed, SCORES))


def test_a_failed_blocking_check_keeps_the_last_good_publication(world: Settings, shared_servers: Path) -> None:
    land(world, {"alpha": 0})
    assert evaluate(world, shared_servers)
    good = published(world, "SELECT * FROM meta.publication")
    # Half of the new model's answers do not fit the judge's context: their verdicts are failures.
    write_answers(world.landing, "flood", 12, lambda i: f"{ANSWERS[i % 3]} {'слово ' * 20_000 * (i % 2)}{i}")
    assert not evaluate(world, shared_servers)
    assert published(world, "SELECT * FROM meta.publication").equals(good)
    # Nor is there a way round it.
    with open_instance(world.dagster_home) as instance:
        job = build_defs(world).resolve_job_def("rebuild_tables")
        assert not job.execute_in_process(instance=instance, raise_on_error=False).success
    assert published(world, "SELECT * FROM meta.publication").equals(good)
    with duckdb.connect(str(world.warehouse), read_only=True) as con:
        (statuses,) = con.sql("SELECT list(DISTINCT status) FROM judging.verdicts WHERE score IS NULL").fetchone() or (
            [],
        )
        failed = con.sql("SELECT check_name FROM meta.check_results WHERE NOT passed AND blocking").fetchall()
    assert statuses == ["context_overflow"]
    assert ("coverage_is_sufficient",) in failed


def _flushed(settings: Settings) -> int:
    """Verdicts that are on disk in active files of the ledger."""
    return sum(path.read_bytes().count(b"\n") for path in settings.ledger.glob("active/*") if path.is_file())
