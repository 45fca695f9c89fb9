"""Opening the warehouse: who waits for whom, what a file looks like, what is closed when."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from pollux_dagster.core import duckdb_memory
from pollux_dagster.warehouse import connection, duckdb_resource
from pollux_dagster.warehouse.connection import (
    WarehouseCorruptError,
    WarehouseLockedError,
    WarehouseModeError,
    connect,
    set_aside,
)
from pollux_dagster.warehouse.duckdb_resource import WarehouseResource
from pollux_dagster.warehouse.schema import SCHEMA_VERSION, SchemaVersionError, create_schema

LAYOUTS = Path(__file__).parents[1] / "chaos" / "layouts"
HOLD = """
import sys, time, duckdb
con = duckdb.connect(sys.argv[1])
con.execute("CREATE TABLE IF NOT EXISTS held (who VARCHAR)")
con.execute("INSERT INTO held VALUES ('other')")
print('held', flush=True)
time.sleep(float(sys.argv[2]))
con.close()
"""


def hold(path: Path, seconds: float) -> subprocess.Popen[str]:
    child = subprocess.Popen([sys.executable, "-c", HOLD, str(path), str(seconds)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "held\n"
    return child


def test_a_new_file_is_private_and_so_is_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "home" / "w.duckdb"
    connect(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert list(path.parent.iterdir()) == [path]


def test_a_second_process_waits_its_turn(tmp_path: Path) -> None:
    path = tmp_path / "w.duckdb"
    child = hold(path, 1.0)
    with connect(path, wait_s=30) as con:
        assert con.execute("SELECT who FROM held").fetchall() == [("other",)]
    assert child.wait() == 0


def test_a_reader_waits_too(tmp_path: Path) -> None:
    path = tmp_path / "w.duckdb"
    child = hold(path, 1.0)
    with connect(path, read_only=True, wait_s=30) as con:
        assert con.execute("SELECT who FROM held").fetchall() == [("other",)]
    assert child.wait() == 0


def test_when_waiting_is_over_the_holder_is_named(tmp_path: Path) -> None:
    path = tmp_path / "w.duckdb"
    child = hold(path, 600)
    with pytest.raises(WarehouseLockedError, match=rf"waited 0\.5 s for its lock, .*process {child.pid} \("):
        connect(path, wait_s=0.5)
    assert child.poll() is None, "it gave up while the other held the file"
    child.kill()
    child.wait()
    connect(path, wait_s=0).close()  # the lock went with its holder


def test_a_plain_connection_in_the_same_process_is_no_conflict(tmp_path: Path) -> None:
    path = tmp_path / "w.duckdb"
    with connect(path) as con, duckdb.connect(str(path)) as plain:
        con.execute("CREATE TABLE t AS SELECT 1 AS x")
        assert plain.execute("SELECT x FROM t").fetchall() == [(1,)]


def test_the_other_mode_in_the_same_process_is_an_error_that_says_so(tmp_path: Path) -> None:
    path = tmp_path / "w.duckdb"
    with connect(path), pytest.raises(WarehouseModeError, match="already has it open read-write"):
        connect(path, read_only=True)


def test_read_only_neither_writes_nor_creates(tmp_path: Path) -> None:
    path = tmp_path / "w.duckdb"
    with pytest.raises(duckdb.IOException, match="does not exist"):
        connect(path, read_only=True)
    assert not path.exists()
    connect(path).close()
    with connect(path, read_only=True) as con, pytest.raises(duckdb.InvalidInputException, match="read-only"):
        con.execute("CREATE TABLE t (x INTEGER)")


def test_what_does_not_fit_in_memory_spills_beside_the_file(tmp_path: Path) -> None:
    path = tmp_path / "w.duckdb"
    with connect(path) as con:
        spill, limit = con.execute(
            "SELECT current_setting('temp_directory'), current_setting('memory_limit')"
        ).fetchone() or ("", "")
    assert Path(spill) == Path(f"{path}.tmp")
    assert limit == f"{int(connection.DEFAULT_SETTINGS['memory_limit'][:-2]) * 10**6 / 2**20:.1f} MiB"


@pytest.mark.parametrize(
    ("processors", "machine_mb", "limit"), [(2, 16_000, 600), (16, 64_000, 2_000), (8, 1_024, 512)]
)
def test_the_limit_of_memory_grows_with_processors_and_is_at_most_half_of_the_machine(
    processors: int, machine_mb: int, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: processors)
    monkeypatch.setattr(os, "sysconf", {"SC_PAGE_SIZE": 4_000, "SC_PHYS_PAGES": machine_mb * 250}.__getitem__)
    assert duckdb_memory.memory_limit() == f"{limit}MB"


def test_the_database_gives_back_what_it_holds_and_keeps_its_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duckdb_memory, "_KEPT_MB", 10)
    monkeypatch.setattr(duckdb_memory, "_LEAST_MB_A_THREAD", 0)
    held = "SELECT sum(memory_usage_bytes) / 1e6, current_setting('memory_limit') FROM duckdb_memory()"
    with connect(tmp_path / "w.duckdb", settings={"memory_limit": "600MB"}) as con:
        con.execute("CREATE TABLE numbers AS SELECT hash(range) AS n FROM range(3_000_000)")
        (before, limit) = con.execute(held).fetchone() or (0, "")
        duckdb_memory.give_memory_back(con)
        (after, same) = con.execute(held).fetchone() or (0, "")
        assert before > 20
        assert after <= 10
        assert same in (limit, "572.1 MiB")  # its text is rounded down
        assert con.execute("SELECT count(*) FROM numbers").fetchone() == (3_000_000,)
        con.execute("SET memory_limit = '5MB'")
        duckdb_memory.give_memory_back(con)
        assert (con.execute(held).fetchone() or ("", ""))[1] == "4.7 MiB"


def test_a_setting_duckdb_does_not_know_closes_the_file_again(tmp_path: Path) -> None:
    path = tmp_path / "w.duckdb"
    with pytest.raises(duckdb.CatalogException, match="no_such_setting"):
        connect(path, settings={"no_such_setting": 1})
    assert subprocess.run([sys.executable, "-c", HOLD, str(path), "0"], check=False).returncode == 0


def test_the_resource_closes_when_the_body_raises(tmp_path: Path) -> None:
    path = tmp_path / "w.duckdb"
    resource = WarehouseResource(database=str(path), threads=1, connection_config={"memory_limit": "1GB"})
    with pytest.raises(ZeroDivisionError), resource.get_connection() as con:
        assert con.execute("SELECT current_setting('threads')").fetchone() == (1,)
        raise ZeroDivisionError
    with pytest.raises(duckdb.ConnectionException):
        con.execute("SELECT 1")
    # Another process can have the file at once.
    assert subprocess.run([sys.executable, "-c", HOLD, str(path), "0"], check=False).returncode == 0


def test_the_resource_opens_read_only(tmp_path: Path) -> None:
    resource = WarehouseResource(database=str(tmp_path / "w.duckdb"))
    with resource.get_connection() as con:
        create_schema(con)
    with (
        resource.get_connection(read_only=True) as con,
        pytest.raises(duckdb.InvalidInputException, match="read-only"),
    ):
        con.execute("DELETE FROM raw.criteria")


def test_creating_the_schema_again_keeps_every_row(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("INSERT INTO raw.rejected_rows VALUES ('f', 1, 'r', 'd', NULL)")
    create_schema(con)
    assert con.table("raw.rejected_rows").count("*").fetchone() == (1,)
    assert con.execute("SELECT version FROM meta.schema_version").fetchall() == [(SCHEMA_VERSION,)]


def test_a_warehouse_of_before_rows_were_numbered_gets_its_old_order(con: duckdb.DuckDBPyConnection) -> None:
    for table in ("meta.runs", "meta.check_results", "judging.golden_rounds"):
        con.execute(f"ALTER TABLE {table} DROP COLUMN position")
    con.execute("ALTER TABLE meta.check_results DROP COLUMN state")
    con.execute("UPDATE meta.schema_version SET version = 1")
    for run, year in (("first", 2031), ("second", 2021)):  # appended in this order, the clock set back in between
        when = f"make_timestamptz({year}, 1, 1, 0, 0, 0)"
        con.execute(f"INSERT INTO meta.runs VALUES ('{run}', 'judge', {when}, {when}, '{{}}')")
        con.execute(f"INSERT INTO meta.check_results VALUES ('{run}', 'a', 'c', 'e', TRUE, TRUE, 0, 'd', '[]', {when})")
        con.execute(
            f"INSERT INTO judging.golden_rounds VALUES ('{run}', 'j', 'm', 'e', 'v', '', TRUE, {when}, '{run}')"
        )
    for _ in range(2):
        create_schema(con)
        for table in ("meta.runs", "meta.check_results"):
            assert con.execute(f"SELECT run_id, position FROM {table} ORDER BY position").fetchall() == [
                ("first", 1), ("second", 2)
            ]  # fmt: skip
        # A round that returned was changed in place: its date is all that tells when.
        rounds = con.execute("SELECT run_id, position FROM judging.golden_rounds ORDER BY position").fetchall()
        assert rounds == [("second", 1), ("first", 2)]
    assert con.execute("SELECT max(version) FROM meta.schema_version").fetchone() == (SCHEMA_VERSION,)


def test_a_warehouse_from_the_future_is_refused(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("INSERT INTO meta.schema_version VALUES (?, now())", [SCHEMA_VERSION + 1])
    with pytest.raises(SchemaVersionError, match="newer version of the package"):
        create_schema(con)
    con.execute("BEGIN; COMMIT")  # no transaction was left open


@pytest.mark.parametrize("kept_bytes", [0, 100, 9_000])
def test_a_file_that_is_no_database_names_the_command_that_makes_it_again(tmp_path: Path, kept_bytes: int) -> None:
    path = tmp_path / "w.duckdb"
    con = connect(path)
    con.execute("CREATE TABLE t AS SELECT md5(i::VARCHAR) AS text FROM range(50_000) numbers(i)")
    con.close()
    path.write_bytes(path.read_bytes()[:kept_bytes])
    with pytest.raises(WarehouseCorruptError, match="pollux rebuild"):
        connect(path)
    aside = set_aside(path)
    assert aside is not None
    assert aside.stat().st_size == kept_bytes
    assert not path.exists()
    assert set_aside(path) is None


def test_damage_that_shows_only_when_a_table_is_read_names_the_way_out_too(tmp_path: Path) -> None:
    path = tmp_path / "w.duckdb"
    con = connect(path)
    con.execute("CREATE TABLE t AS SELECT md5(i::VARCHAR) AS text FROM range(200_000) numbers(i)")
    con.close()
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 64] = bytes(64)
    path.write_bytes(bytes(content))
    with (
        pytest.raises(WarehouseCorruptError, match="pollux rebuild"),
        WarehouseResource(database=str(path)).get_connection() as con,
    ):
        con.execute("SELECT max(text) FROM t").fetchall()


def test_a_file_that_another_process_has_open_is_not_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "w.duckdb"
    child = hold(path, 600)
    try:
        with pytest.raises(WarehouseLockedError, match="another process has it open"):
            set_aside(path)
    finally:
        child.kill()
        child.wait()
    assert path.exists()


AND_DIE = """
import os, sys
from pathlib import Path
from pollux_dagster.warehouse.connection import connect
from pollux_dagster.warehouse.schema import create_schema
con = connect(sys.argv[1])
create_schema(con) if sys.argv[2] == "create_schema" else con.execute(sys.argv[2])
os._exit(0)  # as SIGKILL would: what was committed is in the write-ahead log, and nowhere else
"""


def commit_and_die(path: Path, statement: str) -> None:
    subprocess.run([sys.executable, "-c", AND_DIE, str(path), statement], check=True)
    assert path.with_name(f"{path.name}.wal").exists()


@pytest.mark.parametrize("layout", [None, *sorted(LAYOUTS.glob("*.sql"))], ids=lambda layout: layout and layout.stem)
def test_a_kill_right_after_the_schema_was_brought_up_leaves_a_file_that_opens(
    tmp_path: Path, layout: Path | None
) -> None:
    path = tmp_path / "w.duckdb"
    connect(path).close()
    if layout is not None:
        with duckdb.connect(str(path)) as con:
            con.execute(layout.read_text())
            con.execute("INSERT INTO meta.schema_version VALUES (1, now())")
    commit_and_die(path, "create_schema")
    with connect(path) as con:
        assert con.execute("SELECT max(version) FROM meta.schema_version").fetchone() == (SCHEMA_VERSION,)
        assert con.execute("FROM judging.golden_requests").fetchall() == []


def test_a_table_of_version_1_can_be_altered_by_a_process_that_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "w.duckdb"
    with connect(path) as con:
        create_schema(con)
        for table in ("landing.model_outputs", "raw.model_outputs"):  # as version 1 made them
            con.execute(f"ALTER TABLE {table} ALTER injection_reasons SET DEFAULT []")
        con.execute("UPDATE meta.schema_version SET version = 1")
    with connect(path) as con:
        create_schema(con)
    commit_and_die(path, "ALTER TABLE raw.model_outputs ADD COLUMN later INTEGER")
    with connect(path) as con:
        con.execute(
            "INSERT INTO landing.model_outputs (file_path, row_number, model_id, sample_index) VALUES ('f', 1, 'm', 0)"
        )
        assert con.execute("SELECT injection_reasons FROM landing.model_outputs").fetchall() == [([],)]
        assert con.execute("SELECT later FROM raw.model_outputs").fetchall() == []


def test_no_default_of_the_schema_calls_a_function() -> None:
    with duckdb.connect() as con:
        create_schema(con)
        defaults = con.execute(
            "SELECT column_default FROM duckdb_columns() WHERE column_default IS NOT NULL"
        ).fetchall()
    assert defaults
    assert [text for (text,) in defaults if "(" in text.replace("CAST(", "")] == []


def test_a_log_that_cannot_be_replayed_names_the_command_that_makes_the_file_again(tmp_path: Path) -> None:
    path = tmp_path / "w.duckdb"
    with connect(path) as con:
        con.execute("CREATE TABLE t (a INTEGER)")
    commit_and_die(path, "ALTER TABLE t ADD COLUMN b VARCHAR[] DEFAULT []")
    with pytest.raises(WarehouseCorruptError, match="pollux rebuild") as caught:
        connect(path)
    assert len(str(caught.value).splitlines()) == 1
    set_aside(path)
    with connect(path) as con:
        assert con.execute("SELECT table_name FROM duckdb_tables()").fetchall() == []


def test_a_log_without_its_file_is_not_replayed_into_a_new_one(tmp_path: Path) -> None:
    path = tmp_path / "w.duckdb"
    commit_and_die(path, "CREATE TABLE old (a INTEGER)")
    path.rename(tmp_path / "elsewhere")  # what a `pollux rebuild` that was killed at the wrong moment leaves
    with connect(path) as con:
        assert con.execute("SELECT table_name FROM duckdb_tables()").fetchall() == []
    assert len(list(tmp_path.glob("w.duckdb.orphan-*.wal"))) == 1


def test_a_warehouse_of_a_newer_version_is_refused_by_every_step(tmp_path: Path) -> None:
    path = tmp_path / "w.duckdb"
    with connect(path) as con:
        create_schema(con)
        con.execute("INSERT INTO meta.schema_version VALUES (?, now())", [SCHEMA_VERSION + 1])
    warehouse = WarehouseResource(database=str(path))
    with pytest.raises(SchemaVersionError, match="another home"), warehouse.get_connection():
        pass
    connect(path, wait_s=0).close()  # nothing was left open


WITHOUT_RIGHTS = """
import os, sys
from pathlib import Path
from pollux_dagster.warehouse import connection
link = os.link
def then_lose_the_right_to_write(*names):  # as `chmod` by somebody else does, in the middle
    Path(sys.argv[1]).chmod(0o500)
    link(*names)
os.link = then_lose_the_right_to_write
connection.connect(Path(sys.argv[1]) / "w.duckdb")
"""


def test_a_folder_that_loses_its_rights_while_a_warehouse_is_made_is_told(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    drop = ["setpriv", "--bounding-set=-dac_override", "--inh-caps=-dac_override"] if os.getuid() == 0 else []
    if drop and subprocess.run([*drop, "true"], capture_output=True, check=False).returncode:
        pytest.skip("root here cannot give up its right to write everywhere")
    command = [*drop, sys.executable, "-c", WITHOUT_RIGHTS, str(home)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    home.chmod(0o700)
    assert "PermissionError" in ran.stderr
    assert "RecursionError" not in ran.stderr
    connect(home / "w.duckdb").close()
    assert [path.name for path in home.iterdir()] == ["w.duckdb"]


def opens_elsewhere(path: Path) -> bool:
    code = "import sys, duckdb; duckdb.connect(sys.argv[1]).close()"
    return subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, check=False).returncode == 0


def test_a_file_that_is_kept_open_is_let_go_on_demand_after_an_error_and_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "w.duckdb"
    warehouse = WarehouseResource(database=str(path))
    with warehouse.kept_open():
        with warehouse.get_connection() as con:
            con.execute("CREATE TABLE t AS SELECT 1 AS a")
        assert not opens_elsewhere(path)
        warehouse.release()
        assert opens_elsewhere(path)
        with warehouse.get_connection() as con:
            assert con.execute("FROM t").fetchall() == [(1,)]
        assert not opens_elsewhere(path)
        with pytest.raises(duckdb.CatalogException), warehouse.get_connection() as con:
            con.execute("FROM no_such_table")
        assert opens_elsewhere(path)
    with warehouse.get_connection():
        pass
    assert opens_elsewhere(path)


def test_the_schema_is_created_once_while_the_file_is_kept_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    created = []

    def counted(con: duckdb.DuckDBPyConnection) -> None:
        created.append(con)
        create_schema(con)

    monkeypatch.setattr(duckdb_resource, "create_schema", counted)
    path = tmp_path / "w.duckdb"
    warehouse = WarehouseResource(database=str(path))

    def step() -> None:
        with warehouse.get_connection() as con:
            warehouse.create_schema(con)
            con.execute("FROM raw.model_outputs")

    with warehouse.kept_open():
        step()
        step()
        assert len(created) == 1
        warehouse.release()
        with connect(path) as other:  # what another process may do as soon as the file is closed
            other.execute("DROP TABLE raw.model_outputs")
        step()
        assert len(created) == 2
        with pytest.raises(duckdb.CatalogException), warehouse.get_connection() as con:
            con.execute("FROM no_such_table")
        step()
        assert len(created) == 3
    step()
    step()
    assert len(created) == 5
