"""Tables for a terminal, a pipe or a file: every text escaped, no column cut off."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from decimal import Decimal
from types import NoneType
from typing import Any

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pollux_dagster.core.figures import rounded
from pollux_dagster.core.text import escaped

UNBROKEN = 16  # characters of a cell that are kept unbroken on a narrow terminal
HEADING = 12  # characters per line of a column heading


def figure(value: float | None) -> Decimal | None:
    """A number as tables show it, with three digits."""
    return None if value is None else rounded(value)


def interval(row: Mapping[str, Any]) -> str | None:
    """The interval of a row with `ci_low` and `ci_high`, in words."""
    return None if row["ci_low"] is None else f"{rounded(row['ci_low'])} to {rounded(row['ci_high'])}"


def print_rows(
    console: Console, title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], *, folds: bool = True
) -> None:
    """Print rows as a table; columns of numbers are right-aligned, and long texts are wrapped before short ones, unless
    nothing `folds`.

    Rich cuts off what is beyond the width. A table that cannot be narrowed enough is therefore printed wider where
    nobody sees where a line ends (a pipe, a file), and on a terminal as one block per row.
    """
    cells = [["" if value is None else escaped(value) for value in row] for row in rows]
    headings = [textwrap.fill(escaped(name), HEADING) if folds else escaped(name) for name in columns]
    longest = [max([1, *(cell_len(row[at]) for row in cells)]) for at in range(len(columns))]
    least = [min(length, UNBROKEN) for length in longest]
    narrowest = sum(least) + 2 * len(columns) - 1
    console.print()
    if narrowest > console.width and console.is_terminal:
        _print_blocks(console, title, columns, rows)
        return
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1, 0, 0),
    )
    of_headings = [max(map(cell_len, heading.split("\n"))) for heading in headings]
    with_headings = list(map(max, least, of_headings))
    if not console.is_terminal:
        least = with_headings if folds else list(map(max, longest, of_headings))
        room = max(sum(least) + 2 * len(columns), console.width)
        console = Console(file=console.file, width=room, force_terminal=False)
    widths = list(map(max, longest, of_headings))
    for floor in (list(map(max, least, of_headings)), least):
        widths = _narrowed(widths, floor, console.width - 2 * len(columns) + 1)
    for at, heading in enumerate(headings):
        numbers = bool(rows) and all(isinstance(row[at], (int, float, Decimal, NoneType)) for row in rows)
        table.add_column(
            Text(heading),
            justify="right" if numbers else "left",
            width=widths[at],
            overflow="fold",
        )
    for row in cells:
        table.add_row(*map(Text, row))
    console.print(table)


def _narrowed(widths: Sequence[int], floor: Sequence[int], room: int) -> list[int]:
    """The widths of columns, narrowed towards `room` characters: the widest one gives way first, none below its floor.

    Rich's own choice can be wider than the table, whose end is then cut off.
    """
    narrowed = [max(least, min(width, room)) for width, least in zip(widths, floor, strict=True)]
    while sum(narrowed) > room and (wide := [at for at, width in enumerate(narrowed) if width > floor[at]]):
        narrowed[max(wide, key=narrowed.__getitem__)] -= 1
    return narrowed


def _print_blocks(console: Console, title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print each row as lines of column and value, an empty line between two rows."""
    blocks = [
        "\n".join(
            f"{escaped(name)}: {'' if value is None else escaped(value)}"
            for name, value in zip(columns, row, strict=True)
        )
        for row in rows
    ]
    if title:
        console.print(Text(title, style="bold"))
    console.print(Text("\n\n".join(blocks)))
