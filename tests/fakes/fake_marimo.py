"""A FAKE of the part of marimo that the notebook uses: cells run once, in an order in which their inputs exist."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from types import ModuleType, SimpleNamespace
from typing import Any


class App:
    """Collects cells; `run` gives each the values that earlier ones returned, by the names of their parameters."""

    def __init__(self, **_: Any) -> None:
        self.cells: list[Callable[..., Any]] = []

    def cell(self, **_: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        def keep(function: Callable[..., Any]) -> Callable[..., Any]:
            self.cells.append(function)
            return function

        return keep


def run(app: App, names: Sequence[str]) -> None:
    """Run all cells. `names` are those of the values that the first cell returns."""
    first, *others = app.cells
    values = dict(zip(names, first(), strict=True))
    for cell in others:
        cell(**{name: values[name] for name in inspect.signature(cell).parameters})


def module(publication: str, tables: list[tuple[str, Any]]) -> ModuleType:
    """What `import marimo` finds; `tables` receives the note and the rows of every table that is shown."""
    fake = ModuleType("marimo")

    def table(rows: Any, *, selection: None, label: str) -> str:
        tables.append((label, rows))
        return label

    vars(fake).update(
        App=App,
        cli_args=lambda: {"publication": publication},
        md=str,
        vstack=list,
        accordion=dict,
        ui=SimpleNamespace(table=table),
    )
    return fake
