"""Prints the published results as tables: leaderboard, tasks, coverage, checks.

Reads only the publication, as any analyst could. Whatever it prints passed through `plain`: names and answers come
from strangers, and a terminal obeys control characters.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from types import NoneType

import duckdb
from rich.console import Console
from rich.table import Table
from rich.text import Text

EXAMPLE_QUERY = "SELECT model_id, mean_score, n, coverage FROM marts.model_quality ORDER BY mean_score DESC"


def print_report(published: Path, console: Console) -> None:
    """Everything a reader wants first.

    Raises:
        FileNotFoundError: nothing was published there yet.
    """
    with _open(published) as con:
        _judges(con, console)
        _print(con, console, "Leaderboard", LEADERBOARD)
        _print(con, console, "Mean score by task", BY_TASK)
        _print(con, console, "Coverage: requests and what became of them", COVERAGE)
        _print(con, console, "Checks of the last run (all of them: meta.check_results)", CHECK_COUNTS)
        if con.sql(CHECKS_NOT_PASSED).fetchone():
            _print(con, console, "Checks that did not pass", CHECKS_NOT_PASSED)
    console.print(Text(f"\nPublished: {published}"))
    if (picture := published.with_name("leaderboard.png")).exists():
        console.print(Text(f"Picture:   {picture}"))
    console.print(Text(f'Try:       pollux query --home {published.parent.parent} "{EXAMPLE_QUERY}"'), soft_wrap=True)


def print_query(published: Path, sql: str, console: Console) -> None:
    """The rows of one query on the publication, as a table.

    Raises:
        FileNotFoundError: nothing was published there yet.
        duckdb.Error: the query is wrong; the message is DuckDB's.
    """
    with _open(published) as con:
        _print(con, console, "", sql)


def _open(published: Path) -> duckdb.DuckDBPyConnection:
    if not published.exists():
        raise FileNotFoundError(f"expected a publication at {published}, found none; run `pollux run` first")
    return duckdb.connect(str(published), read_only=True)


LEADERBOARD = """
    SELECT judge_name AS judge, place, model_id AS model, round(mean_score, 3) AS "mean score",
           format('{:.3f} … {:.3f}', ci_low, ci_high) AS "95 % interval",
           if(rank_low = rank_high, rank_low::VARCHAR, rank_low || '–' || rank_high) AS "rank, 95 %",
           n, round(coverage, 4) AS coverage, n_answers AS answers, round(gated_share, 3) AS "gated answers"
    FROM marts.leaderboard ORDER BY judge_name, place, model_id
"""
BY_TASK = """
    PIVOT (
        SELECT judge_name AS judge, task_type AS task, model_id, round(mean_score, 3) AS score
        FROM marts.task_quality WHERE grain = 'model_task'
    ) ON model_id USING any_value(score) GROUP BY judge, task ORDER BY judge, task
"""
COVERAGE = """
    SELECT judge_name AS judge, model_id AS model, n_requests AS requests, n_ok AS ok, n_requests - n_ok AS "not ok",
           round(coverage, 4) AS coverage, prompt_tokens AS "prompt tokens", completion_tokens AS "completion tokens"
    FROM marts.judge_coverage ORDER BY judge_name, model_id
"""
LATEST_CHECKS = """
    FROM meta.check_results
    QUALIFY row_number() OVER (PARTITION BY asset, check_name ORDER BY checked_at DESC) = 1
"""
CHECK_COUNTS = f"""
    SELECT count(*) FILTER (passed) AS passed, count(*) FILTER (NOT passed AND NOT blocking) AS warnings,
           count(*) FILTER (NOT passed AND blocking) AS failed
    FROM ({LATEST_CHECKS})
"""  # noqa: S608 - our own text
CHECKS_NOT_PASSED = f"""
    SELECT asset AS "table", check_name AS "check", if(blocking, 'FAILED', 'warning') AS result,
           failing_rows AS "failing rows"
    FROM ({LATEST_CHECKS}) WHERE NOT passed ORDER BY blocking DESC, asset, check_name
"""  # noqa: S608 - our own text


def _judges(con: duckdb.DuckDBPyConnection, console: Console) -> None:
    for name, model, demonstration in con.execute(
        "SELECT judge_name, model, is_demonstration FROM meta.judges "
        "WHERE judge_id IN (SELECT judge_id FROM marts.model_quality) ORDER BY judge_name"
    ).fetchall():
        if demonstration:
            console.print(
                Text(
                    f"DEMONSTRATION: judged by {plain(name)} ({plain(model)}), a toy that knows five criteria. "
                    "Its scores show the machinery, not the models.",
                    style="bold yellow",
                )
            )
        else:
            console.print(Text(f"Judged by {plain(name)} ({plain(model)})"))


def _print(con: duckdb.DuckDBPyConnection, console: Console, title: str, query: str) -> None:
    result = con.sql(query)
    print_rows(console, title, result.columns, result.fetchall())


def print_rows(console: Console, title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Rows as a table; a column of numbers stands to the right."""
    table = Table(title=title, title_justify="left", title_style="bold")
    for at, name in enumerate(columns):
        numbers = bool(rows) and all(isinstance(row[at], (int, float, Decimal, NoneType)) for row in rows)
        table.add_column(Text(plain(name)), justify="right" if numbers else "left")
    for row in rows:
        table.add_row(*(Text("" if value is None else plain(value)) for value in row))
    console.print()
    console.print(table)


def plain(value: object) -> str:
    """`value` as one line of printable text; anything a terminal would act on becomes a visible escape."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(value))
