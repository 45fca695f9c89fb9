"""The printed report: a judge at a time, whole in a terminal of 80 columns."""

from __future__ import annotations

import io
import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pytest
from rich.console import Console
from typer.testing import CliRunner

from pollux_dagster import queries, report
from pollux_dagster.cli import app
from pollux_dagster.page.write import write_report
from pollux_dagster.warehouse.schema import create_schema
from tests.page.pages import Page
from tests.warehouse.tiny_world import ALPHA, BETA, GAMMA, JUDGE, OTHER_JUDGE


def printed(published: Path) -> str:
    out = io.StringIO()
    report.print_report(published, Console(file=out, width=80))
    return out.getvalue()


def test_each_judge_has_tables_of_its_own_under_its_name(published: Path) -> None:
    demonstration, other = printed(published).split(f"Judged by profile@{OTHER_JUDGE}")
    assert demonstration.startswith(f"DEMONSTRATION: judged by profile@{JUDGE}")
    for part in (demonstration, other):
        assert [part.count(title) for title in ("Leaderboard", "Mean score by task", "Coverage:")] == [1, 1, 1]
        assert all(name in part for name in (ALPHA, BETA, GAMMA.split()[0]))


def test_a_program_gets_the_same_tables(published: Path) -> None:
    found = json.loads(json.dumps(report.report_json(published), default=str))
    assert [judge["judge_name"] for judge in found["judges"]] == [f"profile@{JUDGE}", f"profile@{OTHER_JUDGE}"]
    for judge in found["judges"]:
        assert {row["model_id"] for row in judge["leaderboard"]} == {ALPHA, BETA, GAMMA}
        assert {row["judge_id"] for part in ("tasks", "coverage") for row in judge[part]} == {
            row["judge_id"] for row in judge["leaderboard"]
        }
    assert (found["sample"], found["not_current"]) == (None, None)


LABELS = """
UPDATE marts.model_quality SET mean_score = CASE model_id WHEN 'beta' THEN 0.9 ELSE 0.7 END;
UPDATE statistics.calibrated_quality SET status = 'calibrated', n_labelled = 60, is_doubtful = {is_doubtful},
    calibrated_mean = CASE model_id WHEN 'beta' THEN 0.3 WHEN 'alpha' THEN 0.6 ELSE 0.1 END;
UPDATE statistics.calibrated_quality SET ci_low = calibrated_mean - 0.1, ci_high = calibrated_mean + 0.1;
INSERT INTO statistics.people_comparison
SELECT judge_id, 'alpha', 'beta', 0.3, 0.05, 0.2, 0.4, 1e-4, 2e-4, {is_sure}, 40, 10, FALSE, NULL, 'm' FROM meta.judges;
"""


@pytest.mark.parametrize(("is_doubtful", "is_sure"), [(False, True), (False, False), (True, False)])
def test_the_first_lines_say_where_people_turn_the_order_round(
    is_doubtful: bool, is_sure: bool, published: Path, tmp_path: Path
) -> None:
    """Not where people's scores may differ by chance, and people's mean not by labels that are no random draw."""
    home = tmp_path / "published" / "pollux.duckdb"
    home.parent.mkdir()
    shutil.copyfile(published, home)
    with duckdb.connect(str(home)) as con:
        con.execute(LABELS.format(is_doubtful=is_doubtful, is_sure=is_sure))
    text = " ".join(printed(home).split(f"Judged by profile@{OTHER_JUDGE}")[1].split())
    head = text.split("Leaderboard")[0]
    said = (
        "People disagree with the judge: by their scores alpha (place 2 by the judge) is better than beta (place 1): "
        "0.600 against 0.300, difference +0.300 (95 % interval +0.200 to +0.400), by 60 and 60 labelled scores."
    )
    assert (said in head) is is_sure
    assert ("People's scores, extended to all answers" in text) is not is_doubtful
    compared = CliRunner().invoke(app, ["compare", "alpha", "beta", "--judge", OTHER_JUDGE, "--home", str(tmp_path)])
    assert (said in " ".join(compared.output.split())) is is_sure
    write_report(home, tmp_path / "report.html")
    short = Page(tmp_path / "report.html").text.split("In short")[2].split("Leaderboard")[0]
    assert (
        "alpha (place 2 by the judge) is better than beta (place 1): 0.600 against 0.300, difference +0.300"
        in short.replace(" ,", ",")
    ) is is_sure


@pytest.mark.parametrize(
    ("chance", "said", "means_are_printed"),
    [
        (0.01, "Length matters: longer answers score higher by ", True),
        (0.4, "Length explains nothing: by no criterion do longer answers score higher or lower", False),
    ],
)
def test_what_length_explains_stands_below_the_leaderboard(
    chance: float, said: str, means_are_printed: bool, published: Path, tmp_path: Path
) -> None:
    home = tmp_path / "published" / "pollux.duckdb"
    home.parent.mkdir()
    shutil.copyfile(published, home)
    with duckdb.connect(str(home)) as con:
        con.execute(f"UPDATE statistics.length_effect SET slope = 0.2, adjusted_p_value = {chance}")
        con.execute("UPDATE statistics.length_controlled SET score = 0.625, ci_low = 0.375, ci_high = 0.875")
    text = " ".join(printed(home).split(f"Judged by profile@{OTHER_JUDGE}")[1].split())
    assert said in text
    assert ("0.625 0.375–0.875" in text) is means_are_printed


def test_what_gated_means_is_said_where_an_answer_was(published: Path) -> None:
    demonstration, other = printed(published).split(f"Judged by profile@{OTHER_JUDGE}")
    assert "counts as 0 in every mean" in " ".join(demonstration.split())
    assert "counts as 0 in every mean" not in " ".join(other.split())


@pytest.mark.parametrize("width", [60, 80, 110])
def test_no_column_is_dropped_in_a_narrow_terminal(width: int, published: Path) -> None:
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=True, color_system=None)
    queries.print_query(published, "FROM marts.leaderboard", console)
    with duckdb.connect(str(published), read_only=True) as con:
        columns = con.sql("FROM marts.leaderboard").columns
    shown = "".join(out.getvalue().split())
    assert all(column in shown for column in columns)


def test_in_a_pipe_a_row_is_a_line_with_every_column_whole(published: Path) -> None:
    out = io.StringIO()
    long = "слово " * 100 + "конец"
    query = f"SELECT *, '{long}' AS a_long_text_of_people, 1 AS one FROM marts.leaderboard"
    queries.print_query(published, query, Console(file=out, width=80, force_terminal=False))
    with duckdb.connect(str(published), read_only=True) as con:
        found = con.sql(query)
        columns, rows = found.columns, found.fetchall()
    heading, _, *lines = [line for line in out.getvalue().splitlines() if line.strip()]
    assert heading.split() == columns
    assert len(lines) == len(rows) and all(long in line for line in lines)


def test_a_query_as_json_has_all_rows_and_no_control_character(published: Path) -> None:
    query = (
        "SELECT range AS n, 0.5::DECIMAL(3, 2) AS d, 'NaN'::DOUBLE AS f, DATE '2026-11-27' AS day, [1, 2] AS l, "
        f"{{'a': 1}} AS s, chr(155) || '«»' AS t, 2::HUGEINT ** 70 AS h FROM range({queries.PRINTED_ROWS + 1})"
    )
    lines = queries.query_json(published, query)
    rows = json.loads("\n".join(lines))
    assert len(rows) == queries.PRINTED_ROWS + 1 and all("\x9b" not in line for line in lines)
    expected = {"d": 0.5, "f": None, "day": "2026-11-27", "l": [1, 2], "s": {"a": 1}, "t": "\x9b«»", "h": 2.0**70}
    assert rows[7] == {"n": 7, **expected}
    assert queries.query_json(published, "SELECT 1 AS one WHERE FALSE") == ["[", "]"]


def test_nothing_is_cut_off_in_a_terminal_of_80_columns(published: Path) -> None:
    text = printed(published)
    assert "…" not in text
    assert max(len(line) for line in text.splitlines() if not line.startswith(("Published:", "Try:"))) <= 80


def test_more_models_than_columns_are_said_to_be_more(published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "MODELS_ACROSS", 2)
    table = printed(published).split("Mean score by task")[1].split("Coverage:")[0]
    assert "the first 2 of 3 models; all of them: marts.task_quality" in " ".join(table.split())


def test_a_blocked_publication_is_explained_with_the_rows_that_block_it(tmp_path: Path) -> None:
    warehouse = tmp_path / "w.duckdb"
    sample = json.dumps([{"model_id": "\x1b[31mred", "coverage": 0.5}])
    with duckdb.connect(str(warehouse)) as con:
        create_schema(con)
        insert = (
            "INSERT INTO meta.check_results BY NAME SELECT 'r' AS run_id, 'judging.verdicts' AS asset, "
            "? AS check_name, 'ERROR' AS severity, TRUE AS blocking, FALSE AS passed, 1 AS failing_rows, "
            "'d' AS description, ? AS sample, ? AS checked_at, ? AS position"
        )
        con.execute(insert, ["of_an_earlier_run", sample, datetime.now(UTC) + timedelta(days=1), 1])
    before = report.last_check(warehouse)
    with duckdb.connect(str(warehouse)) as con:
        for position in (2, 3):  # another run checked it while this one waited; the clock was set back
            con.execute(insert, ["coverage_is_sufficient", sample, datetime.now(UTC), position])
    out = io.StringIO()
    report.print_blocked(warehouse, before, Console(file=out, width=80))
    assert out.getvalue().count("Blocked by coverage_is_sufficient of judging.verdicts") == 1
    assert "\\x1b[31mred" in out.getvalue()
    assert "of_an_earlier_run" not in out.getvalue()


def test_a_warehouse_that_cannot_be_read_explains_nothing_and_raises_nothing(tmp_path: Path) -> None:
    (tmp_path / "w.duckdb").write_bytes(b"no database")
    out = io.StringIO()
    report.print_blocked(tmp_path / "w.duckdb", report.last_check(tmp_path / "w.duckdb"), Console(file=out))
    assert out.getvalue() == ""
