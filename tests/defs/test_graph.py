"""The asset graph as it is meant to be: a change of it is seen in review as a change of `asset_graph.json`.

After a change that is meant: `POLLUX_UPDATE_SNAPSHOTS=1 python -m pytest tests/defs/test_graph.py`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
import sqlglot
from sqlglot import exp

from pollux_dagster.definitions import build_defs
from pollux_dagster.settings import Settings
from pollux_dagster.warehouse.contracts import contracts
from pollux_dagster.warehouse.schema import VIEWS

ROOT = Path(__file__).parent.parent.parent
SNAPSHOT = Path(__file__).parent / "asset_graph.json"


def graph(settings: Settings) -> dict[str, object]:
    defs = build_defs(settings)
    assets = {}
    for spec in defs.resolve_all_asset_specs():
        assets[spec.key.to_user_string()] = {
            "deps": sorted(dep.asset_key.to_user_string() for dep in spec.deps),
            "group": spec.group_name,
            "kinds": sorted(spec.kinds),
            "owners": list(spec.owners),
            "partitions": spec.partitions_def.name if spec.partitions_def is not None else None,  # type: ignore[attr-defined]
            "runs_by_itself": spec.automation_condition is not None,
        }
    resolved = defs.resolve_asset_graph()
    checks = [
        {"check": key.to_user_string(), "blocking": resolved.get_check_spec(key).blocking}
        for key in resolved.asset_check_keys
    ]
    return {
        "assets": dict(sorted(assets.items())),
        "checks": sorted(checks, key=lambda c: str(c["check"])),
        "jobs": sorted(job.name for job in defs.resolve_all_job_defs() if not job.name.startswith("__")),
        "schedules": sorted(s.name for s in defs.schedules or []),
        "sensors": sorted(s.name for s in defs.sensors or []),
    }


def test_the_asset_graph_is_the_one_that_was_reviewed(world: Settings) -> None:
    now = json.dumps(graph(world), indent=1, ensure_ascii=False) + "\n"
    if os.environ.get("POLLUX_UPDATE_SNAPSHOTS"):
        SNAPSHOT.write_text(now)
    assert now == SNAPSHOT.read_text()


def test_every_asset_is_described_owned_and_grouped(world: Settings) -> None:
    for spec in build_defs(world).resolve_all_asset_specs():
        assert spec.description, spec.key
        assert spec.owners, spec.key
        assert spec.group_name != "default", spec.key
        assert spec.kinds, spec.key


def test_a_check_waits_for_every_table_that_it_reads(world: Settings) -> None:
    resolved = build_defs(world).resolve_asset_graph()
    of_several = 0
    for contract in contracts(world.minimum_coverage):
        key = dg.AssetCheckKey(dg.AssetKey(contract.table.split(".")), contract.name)
        parents = {parent.to_user_string().replace("/", ".") for parent in resolved.get(key).parent_entity_keys}
        assert parents == {contract.table, *contract.other_tables}, contract.name
        of_several += len(parents) > 1
        parsed = {
            (table.db, table.name) for table in sqlglot.parse_one(contract.query, dialect="duckdb").find_all(exp.Table)
        }
        written = {f"{schema}.{name}" for schema, name in parsed if schema not in ("", "meta", "landing")}
        assert {*contract.other_tables, contract.table} == {*written - {*VIEWS}, contract.table}, contract.name
    assert of_several > 1
    (counts,) = (contract for contract in contracts(0.5) if contract.name == "counts_add_up")
    assert counts.other_tables == ("marts.task_quality",)


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_dg_accepts_the_definitions(pollux_environment: dict[str, str], tmp_path: Path) -> None:
    dg_command = Path(sys.executable).with_name("dg")
    result = subprocess.run(
        [dg_command, "check", "defs"],
        cwd=ROOT,
        env={**pollux_environment, "DAGSTER_HOME": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
