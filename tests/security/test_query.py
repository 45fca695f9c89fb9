"""SQL that somebody else wrote, on the publication: it reads what is published and nothing else, and it ends."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
from typer.testing import CliRunner, Result

from pollux_dagster.cli import app

SECRET = "the-words-of-another-file"
CSV = f"a,b\n1,{SECRET}\n"

# {file} is a CSV file outside, {target} a path where nothing is, {database} another DuckDB file.
READS_FILES = [
    "SELECT * FROM '{file}'",
    'SELECT * FROM "{file}"',
    "SELECT * FROM read_csv('{file}')",
    "SELECT * FROM read_csv_auto(['{file}'])",
    "SELECT * FROM read_text('{file}')",
    "SELECT * FROM read_text('{folder}/*')",
    "SELECT * FROM read_blob('{file}')",
    "SELECT * FROM read_json('{file}')",
    "SELECT * FROM read_ndjson_objects('{file}')",
    "SELECT * FROM read_json_objects_auto('{file}')",
    "SELECT * FROM read_parquet('{file}')",
    "SELECT * FROM parquet_metadata('{file}')",
    "SELECT * FROM parquet_kv_metadata('{file}')",
    "SELECT * FROM parquet_schema('{file}')",
    "SELECT * FROM parquet_full_metadata('{file}')",
    "SELECT * FROM parquet_bloom_probe('{file}', 'a', 1)",
    "SELECT * FROM sniff_csv('{file}')",
    "SELECT * FROM glob('{folder}/*')",
    "SELECT * FROM read_duckdb('{database}')",
    "SELECT * FROM '{database}'",
    "SELECT * FROM query_table('{file}')",
    "SELECT * FROM query('SELECT * FROM read_text(''{file}'')')",
    "SELECT * FROM query('SELECT * FROM ' || 'read_text(''{file}'')')",
    "SELECT * FROM json_execute_serialized_sql(json_serialize_sql('FROM read_text(''{file}'')'))",
    "SELECT (SELECT content FROM read_text('{file}'))",
    "WITH f AS MATERIALIZED (FROM read_text('{file}')) FROM f",
    "SELECT 1 ORDER BY (SELECT content FROM read_text('{file}'))",
    "SELECT 1 LIMIT (SELECT count(*) FROM read_text('{file}'))",
    "SELECT * FROM t, LATERAL (SELECT * FROM read_text('{file}'))",
    "SELECT * FROM t POSITIONAL JOIN read_text('{file}')",
    "DESCRIBE FROM read_csv('{file}')",
    "SUMMARIZE FROM read_csv('{file}')",
    "EXPLAIN ANALYZE SELECT * FROM read_text('{file}')",
    "PIVOT (FROM read_csv('{file}')) ON a",
    "SELECT * FROM read_text('/proc/self/environ')",
    "SELECT * FROM read_csv('/dev/stdin')",
    "SELECT getenv('HOME')",
    "IMPORT DATABASE '{folder}'",
]
REACHES_OUT = [
    "SELECT * FROM read_csv('http://127.0.0.1:9/x.csv')",
    "SELECT * FROM 'https://example.org/x.parquet'",
    "SELECT * FROM read_text('s3://bucket/x')",
    "SELECT * FROM read_parquet('hf://datasets/a/b.parquet')",
    "SELECT * FROM sqlite_scan('{file}', 'x')",
    "SELECT * FROM postgres_scan('host=127.0.0.1', 'public', 't')",
    "ATTACH 'postgres:host=127.0.0.1' AS p",
    "INSTALL httpfs",
    "INSTALL httpfs FROM 'http://127.0.0.1:9'",
    "LOAD httpfs",
    "LOAD '{file}'",
    "FORCE INSTALL spatial FROM community",
    "CREATE SECRET s (TYPE s3, KEY_ID 'a', SECRET 'b')",
    "CREATE PERSISTENT SECRET s (TYPE http, BEARER_TOKEN 'b')",
    "SELECT * FROM which_secret('s3://b', 's3'), duckdb_secrets(), read_text('s3://b/x')",
]
WRITES = [
    "COPY t TO '{target}'",
    "COPY (SELECT 1) TO '{target}' (FORMAT parquet)",
    "COPY t FROM '{file}'",
    "EXPORT DATABASE '{target}'",
    "EXPLAIN ANALYZE COPY t TO '{target}'",
    "EXPLAIN COPY t TO '{target}'",
    "ATTACH '{target}' AS x",
    "ATTACH '{database}' AS x (READ_ONLY)",
    "DETACH pollux",
    "CREATE TABLE x AS SELECT 1",
    "CREATE TEMP TABLE x AS SELECT 1",
    "CREATE TEMP VIEW x AS FROM read_text('{file}')",
    "CREATE TEMP MACRO x() AS 1",
    "INSERT INTO t VALUES (2)",
    "UPDATE t SET a = 2",
    "DELETE FROM t",
    "TRUNCATE t",
    "DROP TABLE t",
    "ALTER TABLE t ADD COLUMN b INTEGER",
    "MERGE INTO t USING t AS s ON t.a = s.a WHEN MATCHED THEN DELETE",
    "WITH x AS (DELETE FROM t RETURNING *) FROM x",
    "COMMENT ON TABLE t IS 'x'",
    "VACUUM",
    "CHECKPOINT",
    "FORCE CHECKPOINT",
    "SELECT * FROM checkpoint()",
    "SET enable_external_access = true",
    "SET GLOBAL memory_limit = '1TB'",
    "RESET memory_limit",
    "SET VARIABLE x = 1",
    "PRAGMA enable_profiling",
    "PRAGMA profiling_output = '{target}'",
    "PRAGMA log_query_path = '{target}'",
    "CALL enable_logging(storage := 'file', storage_path := '{target}')",
    "SELECT * FROM enable_logging(storage = 'file', storage_path = '{target}')",
    "SELECT * FROM \"enable_logging\" /* */ (storage = 'file', storage_path = '{target}')",
    "PIVOT (SELECT * FROM enable_profiling(save_location = '{target}.json', format = 'json')) ON 1",
    "SELECT write_log('x')",
    "SELECT 'x'.write_log()",
    "BEGIN",
    "PREPARE p AS SELECT 1",
    "EXECUTE p",
    "USE memory",
    "UPDATE EXTENSIONS",
    "SELECT 1; SELECT 2",
    "SELECT 1; COPY t TO '{target}'",
    "PIVOT t ON a; PIVOT t ON a",
    "CREATE TYPE e AS ENUM ('a'); SELECT 1",
    "SELECT 1; -- \n DROP TABLE t",
    "",
    "  ;; -- nothing\n",
]
READS_THE_PUBLICATION = [
    "SELECT a FROM t",
    "FROM t",
    "TABLE t",
    "VALUES (1), (2)",
    "SELECT ';' AS x /* ; */ -- ; DROP TABLE t",
    "SELECT a FROM t;",
    "(SELECT a FROM t)",
    "WITH x AS (SELECT a FROM t) SELECT * FROM x UNION ALL SELECT 2",
    "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r WHERE n < 5) FROM r",
    "PIVOT t ON a",
    "SELECT * FROM (PIVOT t ON a)",
    "UNPIVOT t ON a",
    "DESCRIBE t",
    "SUMMARIZE t",
    "SHOW TABLES",
    "SHOW ALL TABLES",
    "EXPLAIN SELECT a FROM t",
    "EXPLAIN ANALYZE SELECT a FROM t",
    "EXPLAIN (FORMAT json) SELECT a FROM t",
    "SELECT table_name FROM duckdb_tables()",
    "SELECT a AS query, a AS checkpoint FROM t",
    "SELECT count(*) FROM range(3)",
]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a home that has a publication, and beside it a folder with a CSV file and another database."""
    folder = tmp_path_factory.mktemp("original")
    (folder / "home" / "published").mkdir(parents=True)
    with duckdb.connect(str(folder / "home" / "published" / "pollux.duckdb")) as con:
        con.execute("CREATE TABLE t AS SELECT 1 AS a")
    outside = folder / "outside"
    outside.mkdir()
    (outside / "rows.csv").write_text(CSV)
    (outside / "schema.sql").write_text("CREATE TABLE x (a INTEGER);")
    (outside / "load.sql").write_text("")
    with duckdb.connect(str(outside / "other.duckdb")) as con:
        con.execute(f"CREATE TABLE secret AS SELECT '{SECRET}' AS words")
    return folder


@pytest.fixture
def home(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(original, tmp_path, dirs_exist_ok=True)
    monkeypatch.setenv("POLLUX_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def query(sql: str, *options: str) -> Result:
    return CliRunner().invoke(app, ["query", *options, "--", sql])


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


ATTACKS = [*READS_FILES, *REACHES_OUT, *WRITES]


# An attack is refused before anybody asks where its rows go.
@pytest.mark.parametrize(
    ("attack", "to_csv"),
    [
        *((attack, False) for attack in ATTACKS),
        *(
            pytest.param(attack, True, marks=() if at % 8 == 0 else pytest.mark.slow)
            for at, attack in enumerate(ATTACKS)
        ),
    ],
)
def test_an_attack_is_refused_in_a_sentence_and_leaves_everything_as_it_is(
    home: Path, attack: str, to_csv: bool
) -> None:
    outside = home.parent / "outside"
    sql = attack.format(
        file=outside / "rows.csv", folder=outside, database=outside / "other.duckdb", target=outside / "new"
    )
    before = contents(home.parent)
    result = query(sql, *(["--csv", str(home / "rows.csv")] if to_csv else []))
    assert result.exit_code == 1, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert result.output.startswith("error: ")
    assert SECRET not in result.output
    assert contents(home.parent) == before


@pytest.mark.parametrize("sql", READS_THE_PUBLICATION)
def test_every_form_of_reading_works(home: Path, sql: str) -> None:
    result = query(sql)
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    "sql", ["-- of every model\nSELECT a FROM t", "--csv=x\nSELECT a FROM t", "--\nSELECT a FROM t"]
)
def test_sql_that_begins_with_a_comment_is_not_taken_for_an_option(home: Path, sql: str) -> None:
    result = CliRunner().invoke(app, ["query", sql])
    assert (result.exit_code, result.stderr) == (0, "")
    assert "1" in result.stdout


def test_an_option_that_does_not_exist_is_refused_by_name(home: Path) -> None:
    result = CliRunner().invoke(app, ["query", "--cvs", "rows.csv", "SELECT a FROM t"])
    assert result.exit_code == 2
    assert "No such option: --cvs" in result.stderr


def test_a_file_can_be_read_only_where_a_flag_names_its_folder(home: Path) -> None:
    outside, elsewhere = home.parent / "outside", home.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "other.csv").write_text("x\nprivate\n")
    (outside / "link.csv").symlink_to(elsewhere / "other.csv")
    refused = query(f"SELECT b FROM '{outside}/rows.csv'")
    assert refused.exit_code == 1
    assert "--allow-files FOLDER" in refused.output
    allowed = query(f"SELECT b FROM '{outside}/rows.csv'", "--allow-files", str(outside))
    assert allowed.exit_code == 0, allowed.output
    assert SECRET in allowed.output
    for path in (elsewhere / "other.csv", outside / ".." / "elsewhere" / "other.csv", outside / "link.csv"):
        result = query(f"SELECT * FROM '{path}'", "--allow-files", str(outside))
        assert result.exit_code == 1
        assert "private" not in result.output
    assert query(f"COPY t TO '{outside}/new.csv'", "--allow-files", str(outside)).exit_code == 1
    assert not (outside / "new.csv").exists()


def test_a_folder_of_files_that_is_not_there_is_an_error_that_names_it(home: Path) -> None:
    result = query("SELECT 1", "--allow-files", str(home / "nowhere"))
    assert result.exit_code == 1
    assert "nowhere" in result.output


def test_csv_still_writes_its_file_from_the_publication_and_an_allowed_folder(home: Path) -> None:
    outside = home.parent / "outside"
    sql = f"SELECT t.a, f.b FROM t JOIN '{outside}/rows.csv' AS f USING (a)"
    result = query(sql, "--csv", str(home / "rows.csv"), "--allow-files", str(outside))
    assert result.exit_code == 0, result.output
    assert (home / "rows.csv").read_text("utf-8-sig") == f'"a","b"\n1,"{SECRET}"\n'


def test_what_the_calling_program_holds_is_no_table(home: Path) -> None:
    for name in ("rows", "sql", "published", "HOSTILE"):
        assert "does not exist" in query(f"SELECT * FROM {name}").output


@pytest.mark.parametrize("to_csv", [False, True])
def test_a_query_over_its_time_is_stopped_with_the_limit_and_how_to_raise_it(
    home: Path, to_csv: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POLLUX_QUERY_SECONDS", "0.3")
    endless = "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r) SELECT count(*) FROM r"
    result = query(endless, *(["--csv", str(home / "rows.csv")] if to_csv else []))
    assert result.exit_code == 1
    assert "longer than 0.3 s" in result.output
    assert "POLLUX_QUERY_SECONDS" in result.output
    assert [path.name for path in home.iterdir()] == ["published"]


def test_a_csv_that_would_fill_the_disk_is_stopped_between_two_batches(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POLLUX_QUERY_SECONDS", "0.5")
    result = query("SELECT * FROM range(1000000000000)", "--csv", str(home / "rows.csv"))
    assert result.exit_code == 1
    assert "longer than 0.5 s" in result.output
    assert [path.name for path in home.iterdir()] == ["published"]


@pytest.mark.slow
def test_a_function_that_cannot_be_interrupted_ends_with_its_process(home: Path) -> None:
    stubborn = "SELECT levenshtein(repeat('a', 300000), repeat('b', 300000))"
    result = subprocess.run(
        [sys.executable, "-m", "pollux_dagster.cli", "query", stubborn, "--csv", str(home / "rows.csv")],
        env={**os.environ, "POLLUX_QUERY_SECONDS": "0.5"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert result.returncode == 1
    assert "POLLUX_QUERY_SECONDS" in result.stderr
    assert [path.name for path in home.iterdir()] == ["published"]


@pytest.mark.parametrize(
    "greedy",
    [
        "SELECT length(repeat('a', 4000000000))",
        "SELECT list_sum(range(1000000000))",
        "SELECT list(n) FROM range(300000000) AS r(n)",
    ],
)
def test_a_query_over_its_memory_is_stopped_and_says_how_to_give_it_more(
    home: Path, greedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POLLUX_QUERY_MEMORY", "200MB")
    before = resource.getrlimit(resource.RLIMIT_AS)
    result = query(greedy)
    assert result.exit_code == 1, result.output
    assert "more than 200MB" in result.output
    assert "POLLUX_QUERY_MEMORY" in result.output
    assert resource.getrlimit(resource.RLIMIT_AS) == before


@pytest.mark.slow
def test_a_query_larger_than_its_memory_is_spilled_and_the_spill_is_gone(
    home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    monkeypatch.setenv("POLLUX_QUERY_MEMORY", "100MB")
    result = query("SELECT count(DISTINCT s) FROM (SELECT n || repeat('x', 40) AS s FROM range(3000000) AS r(n))")
    assert result.exit_code == 0, result.output
    assert "3000000" in result.output
    assert list(temporary.iterdir()) == []


def test_more_rows_than_a_terminal_shows_are_named_and_not_held(home: Path) -> None:
    result = query("SELECT 'row' AS r FROM range(1000000000)")
    assert result.exit_code == 0
    assert result.output.count("row") < 10_100
    assert "first 10,000 rows" in result.output


@pytest.mark.parametrize(
    ("variable", "value"),
    [("POLLUX_QUERY_SECONDS", "0"), ("POLLUX_QUERY_SECONDS", "nan"), ("POLLUX_QUERY_MEMORY", "lots")],
)
def test_a_limit_that_is_none_is_told(home: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    monkeypatch.setenv(variable, value)
    result = query("SELECT 1")
    assert result.exit_code == 1
    assert variable in result.output
