"""Runs contracts: what the database cannot tell to be met is evaluated by Great Expectations, over pandas frames that
hold only the checked columns, and it names the rows.

A contract that has passed on the rows that its query finds now is not run again. Great Expectations is imported only
when it is asked, because the import takes seconds of every run.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

import duckdb

from pollux_dagster.warehouse.checks import MAX_SAMPLE_ROWS, CheckResult, found
from pollux_dagster.warehouse.contracts import NO_ROWS, Contract, Expectation
from pollux_dagster.warehouse.gate import contract_state, latest_result, rows_in
from pollux_dagster.warehouse.surely_met import surely_met

if TYPE_CHECKING:
    import pandas as pd
    from great_expectations.core.batch_definition import BatchDefinition


@dataclass(frozen=True, slots=True)
class Audit:
    """The result of one contract on a number of rows; `result` names the failing ones."""

    result: CheckResult
    checked: int


def audit(con: duckdb.DuckDBPyConnection, contract: Contract) -> Audit:
    """Run one contract against the warehouse, unless its last recorded result is that it passed on these very rows.

    Raises:
        RuntimeError: an expectation could not be evaluated at all (for instance because of a misspelt column).
        duckdb.Error: the query cannot be run.
        A check that cannot run must not look like one that passed: `not_run` is its result.
    """
    state = contract_state(con, contract)
    last = latest_result(con, contract)
    count = rows_in(state)
    # Where it found no rows, only its columns are asked for: the query is not run a second time.
    query = contract.query if count else f"FROM ({contract.query}) LIMIT 0"
    is_known = last is not None and last.passed and last.state == state
    if is_known or surely_met(con, query, contract.expectations):
        return Audit(_result(contract, state, count), count)
    if contract.expectations == NO_ROWS:
        sample = con.sql(query).limit(MAX_SAMPLE_ROWS).pl().to_dicts()
        return Audit(_result(contract, state, count, False, count, sample), count)
    frame = con.sql(query).df()
    failing: set[int] = set()
    is_kept = True
    for name, result, message in _validate(frame, contract.expectations):
        if message:
            raise RuntimeError(f"check {contract.name} of {contract.table}: {name} could not be evaluated: {message}")
        if result["success"]:
            continue
        rows = result.get("unexpected_index_list")
        failing.update(rows if isinstance(rows, list) else range(len(frame)))
        is_kept = False
    import polars as pl

    sample = pl.from_pandas(frame.iloc[sorted(failing)[:MAX_SAMPLE_ROWS]]).to_dicts()
    return Audit(_result(contract, state, len(frame), is_kept, len(failing), sample), checked=len(frame))


def not_run(con: duckdb.DuckDBPyConnection, contract: Contract, error: Exception) -> Audit:
    """The failed result of a contract whose audit raised: `error` is its finding, and stands for no row."""
    try:
        state = contract_state(con, contract)
    except duckdb.Error:  # the query itself is what cannot be run
        state = None
    return Audit(replace(_result(contract, state, 0, passed=False), finding=f"it could not be run: {error}"), checked=0)


def _result(
    contract: Contract,
    state: str | None,
    checked: int,
    passed: bool = True,
    failing_rows: int = 0,
    sample: Sequence[dict[str, Any]] = (),
) -> CheckResult:
    # Of a query for rows that must not be there, all are wrong: how many there are of how many says nothing.
    of = None if contract.expectations == NO_ROWS and not passed else checked
    finding = found(failing_rows, of, sample, contract.finding)
    return CheckResult(
        name=contract.name,
        description=contract.description,
        severity="error" if contract.blocking else "warn",
        passed=passed,
        failing_rows=failing_rows,
        sample=tuple(sample),
        state=state,
        finding=finding,
    )


def _validate(
    frame: pd.DataFrame, expectations: tuple[Expectation, ...]
) -> list[tuple[str, dict[str, object], str | None]]:
    """(expectation as text, its result, why it could not be evaluated) for each expectation."""
    whole_frame = _whole_frame()
    import great_expectations as gx
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    batch = whole_frame.get_batch(batch_parameters={"dataframe": frame})
    suite = gx.ExpectationSuite(
        name="contract",
        expectations=[ExpectationConfiguration(type=kind, kwargs=dict(args)) for kind, args in expectations],
    )
    outcome = batch.validate(suite, result_format={"result_format": "COMPLETE"})
    rows = []
    for result in outcome.results:
        config = result.expectation_config
        if config is None:
            raise RuntimeError("Great Expectations returned a result that names no expectation")
        label = f"{config.type}({config.kwargs.get('column', config.kwargs.get('column_list', ''))})"
        rows.append((label, {"success": result.success, **dict(result.result)}, _exception(result.exception_info)))
    return rows


@cache
def _whole_frame() -> BatchDefinition[Any]:
    """Great Expectations' name for "all rows of a frame that is handed over", made once per process.

    Each of its four parts writes the whole configuration as YAML again, which took half the time of a small check.
    """
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    rows = context.data_sources.add_pandas("warehouse").add_dataframe_asset("rows")
    return rows.add_batch_definition_whole_dataframe("all")


def _exception(info: Mapping[str, Any] | None) -> str | None:
    """The message of an evaluation that raised, from the expectation itself or from one of the metrics it needs."""
    for entry in (info or {}, *(value for value in (info or {}).values() if isinstance(value, dict))):
        if entry.get("raised_exception"):
            return str(entry.get("exception_message"))
    return None
