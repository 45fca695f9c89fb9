"""Invariants written as SQL that returns the rows violating them, and the record of their results.

The caller decides whether a failed check stops anything; here it is only measured and recorded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import duckdb
import orjson

from pollux_dagster.warehouse.sql_header import SqlCheck

MAX_SAMPLE_ROWS = 20


@dataclass(frozen=True, slots=True)
class CheckResult:
    """`failing_rows` counts all rows that violate the invariant; `sample` holds at most 20 of them.

    `state` is the fingerprint of the checked rows, None where the check is run again before anything depends on it.
    """

    name: str
    description: str
    severity: Literal["error", "warn"]
    passed: bool
    failing_rows: int
    sample: tuple[dict[str, Any], ...]
    state: str | None = None

    @property
    def blocking(self) -> bool:
        return self.severity == "error"


def run_check(con: duckdb.DuckDBPyConnection, check: SqlCheck) -> CheckResult:
    """Run one check's SQL unchanged."""
    failing = con.sql(check.sql)
    (count,) = failing.count("*").fetchone() or (0,)
    sample = tuple(failing.limit(MAX_SAMPLE_ROWS).pl().to_dicts()) if count else ()
    return CheckResult(check.name, check.description, check.severity, count == 0, count, sample)


def record_check_results(
    con: duckdb.DuckDBPyConnection, results: Sequence[CheckResult], *, run_id: str, asset: str
) -> None:
    """Append `results` to meta.check_results; of two results of a check, the later has the higher position."""
    con.execute(
        "INSERT INTO meta.check_results BY NAME SELECT ? AS run_id, ? AS asset, unnest(?::VARCHAR[]) AS check_name, "
        "unnest(?::VARCHAR[]) AS severity, unnest(?::BOOLEAN[]) AS blocking, unnest(?::BOOLEAN[]) AS passed, "
        "unnest(?::BIGINT[]) AS failing_rows, unnest(?::VARCHAR[]) AS description, unnest(?::VARCHAR[]) AS sample, "
        "now() AS checked_at, unnest(?::VARCHAR[]) AS state, "
        "(SELECT coalesce(max(position), 0) FROM meta.check_results) + unnest(range(1, ?)) AS position",
        [
            run_id,
            asset,
            [result.name for result in results],
            [result.severity for result in results],
            [result.blocking for result in results],
            [result.passed for result in results],
            [result.failing_rows for result in results],
            [result.description for result in results],
            [orjson.dumps(result.sample, default=str).decode() for result in results],
            [result.state for result in results],
            len(results) + 1,
        ],
    )
