"""What a landing format is: how it is recognised, what its rows mean, and what of it the landing tables keep.

Everything the project knows about a format is one `Format`, listed in `formats.FORMATS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pollux_dagster.ingest.formats.context import FileContext, ScoreColumns
from pollux_dagster.ingest.landing_records import Record
from pollux_dagster.ingest.rows import RawRow

Fields = dict[str, Any]
RowReader = Callable[[Fields, FileContext], list[Record]]


class Holds(StrEnum):
    """What a file is for. The values are what `landing.files.holds` holds."""

    ANSWERS = "answers"
    INSTRUCTIONS = "instructions"
    SCORES = "scores"
    TAXONOMY = "taxonomy"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Format:
    """One landing format.

    `name`: what `landing.files.format` holds. `fields`: the fields by which people know it, for messages.
    `recognises`: whether a row is of this format; with `lies` only in a file of such a path. `read`: a row's records.
    `refuse`: why a file is not read, given its context and first rows, or None; it names the tool and says what to do.
    `people`: the columns that hold people's scores, given the first rows. `model`: the model of all of a file's rows,
    by its path or header, where the tool writes one file per run. `document`: whether a JSON document is as a whole of
    this format; then `unfold` gives its rows, or `read_document` its records.
    """

    name: str
    holds: Holds
    fields: tuple[str, ...] = ()
    recognises: Callable[[Fields], bool] | None = None
    read: RowReader | None = None
    refuse: Callable[[FileContext, Sequence[Fields]], str | None] | None = None
    lies: Callable[[FileContext], bool] | None = None
    document: Callable[[Any], bool] | None = None
    unfold: Callable[[Any], Iterator[RawRow]] | None = None
    read_document: Callable[[Any], Iterator[tuple[int, list[Record]]]] | None = None
    people: Callable[[Sequence[Fields]], ScoreColumns] | None = None
    model: Callable[[FileContext], str | None] | None = None


def has(*names: str, any_of: tuple[str, ...] = (), none_of: tuple[str, ...] = ()) -> Callable[[Fields], bool]:
    """A recogniser: every one of `names`, one of `any_of` if given, and none of `none_of`."""
    required, alternatives, excluded = frozenset(names), frozenset(any_of), frozenset(none_of)

    def recognises(fields: Fields) -> bool:
        keys = fields.keys()
        return required <= keys and not excluded & keys and (not alternatives or bool(alternatives & keys))

    return recognises


UNKNOWN = Format("unknown", Holds.UNKNOWN)
