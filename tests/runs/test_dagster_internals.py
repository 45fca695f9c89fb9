"""What would make the names in runs/dagster_internals needless is not there yet: a failure here is good news.

Each message says what can go. Where Dagster only renamed something, importing the package fails first.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster._annotations import is_public
from dagster._core.instance.config import retention_config_schema
from dagster._core.storage.event_log.sqlite import sqlite_event_log

from pollux_dagster.runs.dagster_internals import execution, storage, web_server
from pollux_dagster.runs.instance import open_instance

GUARDS = re.compile("auth|guard|login|middleware|plugin|token", re.IGNORECASE)


@pytest.mark.parametrize("name", [*execution.__all__, *storage.__all__, *web_server.__all__])
def test_no_name_from_inside_is_exported_by_dagster(name: str) -> None:
    assert not hasattr(dg, name), (
        f"dagster exports {name} now: import it from there, and take it out of runs/dagster_internals"
    )


def test_dagsters_setting_retention_knows_ticks_and_no_runs() -> None:
    setting = retention_config_schema().config_type
    assert isinstance(setting, dg.Shape)
    known = set(setting.fields)
    assert known == {"auto_materialize", "schedule", "sensor"}, (
        f"the setting `retention` knows {known} now: where runs are among them, DAGSTER_YAML of runs/instance.py can "
        "say how long they are kept, and the part of runs/retention.py that works on the storage's tables can go"
    )


@dg.asset
def table() -> None: ...


def test_to_delete_a_run_deletes_the_newest_materialization_of_its_assets(tmp_path: Path) -> None:
    with open_instance(tmp_path / "dagster") as instance:
        run = dg.materialize([table], instance=instance)
        assert instance.fetch_materializations(table.key, limit=1).records
        instance.delete_run(run.run_id)
        assert not instance.fetch_materializations(table.key, limit=1).records, (
            "DagsterInstance.delete_run leaves the newest materialization now: runs/retention.py can delete runs by it"
        )


def test_a_run_does_not_say_publicly_what_it_was_launched_for_or_whether_it_will_be_tried_again() -> None:
    public = {name for name in dir(dg.DagsterRun) if is_public(inspect.getattr_static(dg.DagsterRun, name))}
    assert public, "Dagster marks what is public in another way now: look at DagsterRun by hand"
    told = {name for name in public if "partition" in name or "retry" in name}
    assert told == {"is_resume_retry"}, (
        f"of partitions and retries DagsterRun tells {told} now: defs/automation.py need not read the tags that say it"
    )


def test_dagsters_web_server_takes_no_middleware() -> None:
    # Here, as no other test needs them: importing them takes a second in every worker that collects this module.
    from dagster_webserver.app import create_app_from_workspace_process_context
    from dagster_webserver.cli import dagster_webserver
    from dagster_webserver.webserver import DagsterWebserver

    places = {
        "create_app_from_workspace_process_context": list(
            inspect.signature(create_app_from_workspace_process_context).parameters
        ),
        "DagsterWebserver": list(inspect.signature(DagsterWebserver).parameters),
        "DagsterWebserver.create_asgi_app": list(inspect.signature(DagsterWebserver.create_asgi_app).parameters),
        "the command dagster-webserver": [option.name for option in dagster_webserver.params],
    }
    for place, names in places.items():
        hooks = [name for name in names if name is not None and GUARDS.search(name)]
        assert not hooks, (
            f"{place} takes {hooks} now: where the guard can be put there, ui/webserver.py can start Dagster's own web "
            "server, and the last group of names can go"
        )


def test_dagsters_sqlite_storage_makes_an_engine_for_every_statement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    def counted(url: str, **options: Any) -> sa.Engine:
        made.append(url)
        return sa.create_engine(url, **options)

    monkeypatch.setattr(sqlite_event_log, "create_engine", counted)
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        made.clear()
        for _ in range(3):
            instance.get_records_for_run("run")
        assert len(made) >= 3, "Dagster keeps the engines of its SQLite files now: runs/sqlite_storage.py can go"
