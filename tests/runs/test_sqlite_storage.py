"""The storage of a home's instance: its files are Dagster's own, whoever else writes, and whatever interrupts it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster._core.events import AssetObservationData

from pollux_dagster.runs import sqlite_storage
from pollux_dagster.runs.instance import DAGSTER_YAML, open_instance
from pollux_dagster.runs.sqlite_storage import EventLogStorage, RunStorage, ScheduleStorage

FORK = multiprocessing.get_context("fork")
DAGSTERS_OWN = DAGSTER_YAML.replace("instance_class:", "# instance_class:").replace("  module:", "# ").replace(
    "  class:", "# "
)  # fmt: skip
BATCH = 7
WRITES = 6
SAID_BY_A_FILE = ("PRAGMA journal_mode", "PRAGMA page_size", "SELECT version_num FROM alembic_version")


@dg.asset(check_specs=[dg.AssetCheckSpec("complete", asset="table")])
def table() -> dg.MaterializeResult:  # type: ignore[type-arg] # Dagster reads a parameter as several outputs
    return dg.MaterializeResult(
        metadata={"rows": 3}, check_results=[dg.AssetCheckResult(check_name="complete", passed=True)]
    )


def materialize(instance: dg.DagsterInstance) -> str:
    return dg.materialize([table], instance=instance).run_id


def planned(run_id: str, count: int = BATCH) -> list[dg.EventLogEntry]:
    """Events that Dagster keeps in the file of the run and in the one of all runs."""
    return [
        dg.EventLogEntry(  # type: ignore[no-untyped-call]
            error_info=None,
            level="DEBUG",
            user_message="",
            run_id=run_id,
            timestamp=time.time(),
            dagster_event=dg.DagsterEvent(
                event_type_value=dg.DagsterEventType.ASSET_OBSERVATION.value,
                job_name="job",
                event_specific_data=AssetObservationData(dg.AssetObservation(f"table_{number}")),
            ),
        )
        for number in range(count)
    ]


def rows(instance: dg.DagsterInstance, shard: str, run_id: str) -> int:
    """Events of a run in a file of the event log, read without either storage; the file must be sound."""
    with closing(sqlite3.connect(Path(instance.root_directory, "history", "runs", f"{shard}.db"))) as con:
        assert con.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        ((count,),) = con.execute("SELECT count(*) FROM event_logs WHERE run_id = ?", [run_id]).fetchall()
        return int(count)


def told(instance: dg.DagsterInstance, run_ids: Sequence[str]) -> object:
    """What an instance says about runs: through every one of its storages."""
    return [
        (
            instance.get_run_stats(run_id),
            instance.all_logs(run_id),
            instance.fetch_materializations(table.key, limit=9).records,
            instance.event_log_storage.get_asset_check_execution_history(next(iter(table.check_keys)), limit=9),
            instance.get_run_by_id(run_id),
        )
        for run_id in run_ids
    ]


def test_a_home_uses_it_and_can_be_moved(tmp_path: Path) -> None:
    with open_instance(tmp_path / "here" / "dagster") as instance:
        run_id = materialize(instance)
    (tmp_path / "here").rename(tmp_path / "there")
    with open_instance(tmp_path / "there" / "dagster") as instance:
        assert type(instance.run_storage) is RunStorage
        assert type(instance.event_log_storage) is EventLogStorage
        assert type(instance.schedule_storage) is ScheduleStorage
        assert instance.get_run_stats(run_id).steps_succeeded == 1
        assert type(dg.DagsterInstance.from_ref(instance.get_ref()).event_log_storage) is EventLogStorage
    assert not (tmp_path / "here").exists()


@pytest.mark.slow
def test_either_storage_reads_what_the_other_wrote(tmp_path: Path) -> None:
    """Homes of earlier versions use Dagster's own, and keep it until their dagster.yaml is changed."""
    folder = tmp_path / "dagster"
    folder.mkdir()
    run_ids = []
    for _ in range(2):
        for text in (DAGSTERS_OWN, DAGSTER_YAML):
            (folder / "dagster.yaml").write_text(text)
            with open_instance(folder) as instance:
                run_ids.append(materialize(instance))
    ours = told(instance, run_ids)
    assert type(instance.event_log_storage) is EventLogStorage
    (folder / "dagster.yaml").write_text(DAGSTERS_OWN)
    with open_instance(folder) as instance:
        assert type(instance.event_log_storage) is not EventLogStorage
        assert told(instance, run_ids) == ours
        assert len(instance.fetch_materializations(table.key, limit=9).records) == 4


def test_the_file_of_a_new_run_is_the_one_that_dagster_makes(tmp_path: Path) -> None:
    made: list[list[list[tuple[object, ...]]]] = []
    for text in (DAGSTERS_OWN, DAGSTER_YAML):
        folder = tmp_path / str(len(made))
        folder.mkdir()
        (folder / "dagster.yaml").write_text(text)
        with open_instance(folder) as instance:
            run_id = materialize(instance)
            assert set(instance.event_log_storage.get_all_run_ids()) == {run_id}  # type: ignore[attr-defined]
        with closing(sqlite3.connect(folder / "history" / "runs" / f"{run_id}.db")) as con:
            schema = con.execute("SELECT type, name, sql FROM sqlite_master ORDER BY 1, 2").fetchall()
            made.append([schema, *(con.execute(said).fetchall() for said in SAID_BY_A_FILE)])
    assert made[0] == made[1]


def test_a_run_makes_an_engine_per_file_and_stores_what_it_plans_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[int] = []
    store = EventLogStorage.store_event_batch

    def counted(storage: EventLogStorage, events: Sequence[dg.EventLogEntry]) -> None:
        batches.append(len(events))
        store(storage, events)

    monkeypatch.setattr(EventLogStorage, "store_event_batch", counted)
    with open_instance(tmp_path / "dagster") as instance:
        before = sqlite_storage._engine_of.cache_info().misses
        run_id = materialize(instance)
        made = sqlite_storage._engine_of.cache_info().misses - before
        assert made <= 4  # runs, schedules, all runs' events, this run's
        assert batches == [2]  # the asset and its check
        kinds = [record.event_log_entry.dagster_event_type for record in instance.get_records_for_run(run_id).records]
        assert {dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED, dg.DagsterEventType.RUN_SUCCESS} <= {*kinds}


def test_of_a_batch_that_cannot_be_stored_nothing_is(tmp_path: Path) -> None:
    with open_instance(tmp_path / "dagster") as instance:
        events = planned("run")
        storage = instance.event_log_storage
        storage.store_event_batch(events)
        with closing(sqlite3.connect(Path(instance.root_directory, "history", "runs", "index.db"))) as con:
            con.execute(
                "CREATE TRIGGER refuse INSERT ON event_logs WHEN NEW.asset_key = '[\"table_5\"]' "
                "BEGIN SELECT RAISE(ABORT, 'refused'); END"
            )
            with pytest.raises(sa.exc.IntegrityError, match="refused"):
                storage.store_event_batch(events)
            con.execute("DROP TRIGGER refuse")
        assert rows(instance, "run", "run") == rows(instance, "index", "run") == BATCH
        storage.store_event_batch(events)
        assert rows(instance, "run", "run") == rows(instance, "index", "run") == 2 * BATCH


@pytest.mark.slow
def test_threads_and_forked_processes_write_at_once(tmp_path: Path) -> None:
    """The engines were used before the fork: no connection of the parent may be used in a child."""
    with open_instance(tmp_path / "dagster") as instance:
        storage = instance.event_log_storage

        def write(name: str) -> None:
            for number in range(WRITES):
                if number % 2:
                    storage.store_event_batch(planned(name))
                else:
                    for event in planned(name):
                        storage.store_event(event)

        write("before")
        threads = [threading.Thread(target=write, args=[f"thread_{number}"]) for number in range(2)]
        processes = [FORK.Process(target=write, args=[f"process_{number}"]) for number in range(2)]
        for process in processes:  # before the threads: a lock that a thread holds would stay locked in them
            process.start()
        for thread in threads:
            thread.start()
        for worker in (*processes, *threads):
            worker.join()  # type: ignore[attr-defined]
        assert [process.exitcode for process in processes] == [0, 0]
        for name in ("before", "thread_0", "thread_1", "process_0", "process_1"):
            assert rows(instance, name, name) == rows(instance, "index", name) == WRITES * BATCH


def test_a_kill_leaves_sound_files_and_whole_batches(tmp_path: Path) -> None:
    with open_instance(tmp_path / "dagster") as instance:
        storage = instance.event_log_storage

        def write_forever() -> None:
            while True:
                storage.store_event_batch(planned("run"))

        storage.store_event_batch(planned("run"))
        for number in range(5):
            had = rows(instance, "index", "run")
            process = FORK.Process(target=write_forever)
            process.start()
            assert process.pid is not None
            while rows(instance, "index", "run") == had:
                time.sleep(0.001)
            time.sleep(number * 0.003)
            os.kill(process.pid, signal.SIGKILL)
            process.join()
            assert rows(instance, "run", "run") % BATCH == rows(instance, "index", "run") % BATCH == 0
        storage.store_event_batch(planned("run"))


def test_the_file_of_a_run_can_be_deleted_while_the_storage_is_open(tmp_path: Path) -> None:
    with open_instance(tmp_path / "dagster") as instance:
        deleted, kept = materialize(instance), materialize(instance)
        instance.delete_run(deleted)
        for suffix in ("", "-wal", "-shm"):
            Path(instance.root_directory, "history", "runs", f"{deleted}.db{suffix}").unlink(missing_ok=True)
        assert instance.get_run_by_id(deleted) is None
        assert instance.get_run_stats(kept).steps_succeeded == 1
        assert len(instance.fetch_materializations(table.key, limit=9).records) == 1


def test_a_file_that_was_replaced_is_opened_again(tmp_path: Path) -> None:
    """As a home is restored from a backup beside a web server that has it open."""
    with open_instance(tmp_path / "dagster") as instance:
        storage = instance.event_log_storage
        storage.store_event_batch(planned("run"))
        file = Path(instance.root_directory, "history", "runs", "run.db")
        with closing(sqlite3.connect(file)) as con, closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
            con.backup(copy)
        storage.store_event_batch(planned("run"))
        for suffix in ("", "-wal", "-shm"):
            file.with_name(f"run.db{suffix}").unlink(missing_ok=True)
        (tmp_path / "copy.db").rename(file)
        assert len(storage.get_logs_for_run("run")) == BATCH
        storage.store_event_batch(planned("run"))
        assert len(storage.get_logs_for_run("run")) == rows(instance, "run", "run") == 2 * BATCH


def test_a_connection_is_kept_for_a_file_and_no_more(tmp_path: Path) -> None:
    with open_instance(tmp_path / "dagster") as instance:
        storage = instance.event_log_storage
        threads = [threading.Thread(target=storage.store_event_batch, args=[planned(f"run_{n}")]) for n in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        index = Path(instance.root_directory, "history", "runs", "index.db")
        held = [link.readlink() for link in Path("/proc/self/fd").iterdir() if link.exists()]
        assert held.count(index) == 1


def test_a_commit_does_not_wait_for_the_disk_and_the_files_stay_sound(tmp_path: Path) -> None:
    with open_instance(tmp_path / "dagster") as instance:
        assert isinstance(instance.event_log_storage, EventLogStorage)
        with instance.event_log_storage.index_connection() as connection:
            assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 1  # NORMAL
            assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
