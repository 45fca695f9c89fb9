"""POLLUX criteria.json and tasks.json as landing files. A row of the first is an entry, of the second a leaf.

A leaf is one row, however many names lead to it; each name is recorded with the first leaf that has it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pollux_dagster.core.groups import ConflictingGroupError, UnknownGroupError
from pollux_dagster.core.rubrics import UnreadableScaleError
from pollux_dagster.core.taxonomy import TaxonomyError, expand_leaf_names, read_criterion, read_leaves
from pollux_dagster.ingest.landing_records import Record, Rejection, TaxonomyCriterionRecord, TaxonomyTaskRecord
from pollux_dagster.ingest.rows import Reason, RowRejected, check_text, printable


def read_criteria_document(document: Mapping[str, Any]) -> Iterator[tuple[int, list[Record]]]:
    """Each entry's number and its record, or its rejection."""
    for number, (code, entry) in enumerate(document.items(), start=1):
        try:
            check_text(code)
            check_text(entry)
            c = read_criterion(code, entry)
        except UnreadableScaleError as error:
            yield number, [_rejection(Reason.UNREADABLE_SCALE, f"criterion {code!r:.200}: {error}", entry)]
        except UnknownGroupError as error:
            yield number, [_rejection(Reason.UNKNOWN_GROUP, f"criterion {code!r:.200}: {error}", entry)]
        except ConflictingGroupError as error:
            yield number, [_rejection(Reason.CONFLICTING_GROUP, f"criterion {code!r:.200}: {error}", entry)]
        except TaxonomyError as error:
            yield number, [_rejection(Reason.WRONG_TYPE, str(error), entry)]
        except RowRejected as error:
            yield number, [_rejection(error.reason, error.detail, entry)]
        else:
            yield (
                number,
                [
                    TaxonomyCriterionRecord(
                        c.code,
                        c.name,
                        c.rubrics,
                        c.group,
                        c.domain,
                        c.scale.levels,
                        c.needs_reference,
                        c.higher_is_better,
                        c.direction.higher_is_better,
                        c.direction.doubt,
                    )
                ],
            )


def read_tasks_document(document: Mapping[str, Any]) -> Iterator[tuple[int, list[Record]]]:
    """Each leaf's number and the names first found there, or the rejection of an unusable leaf."""
    leaves = list(enumerate(read_leaves(document), start=1))
    usable = [(number, leaf) for number, leaf in leaves if not isinstance(leaf, TaxonomyError)]
    named: dict[int, list[Record]] = {}
    for index, t in expand_leaf_names([leaf for _, leaf in usable]):
        record = TaxonomyTaskRecord(t.task_type, t.task_subtype, t.has_gold, t.domain, t.codes)
        named.setdefault(usable[index][0], []).append(record)
    for number, leaf in leaves:
        if isinstance(leaf, TaxonomyError):
            yield number, [_rejection(Reason.WRONG_TYPE, str(leaf), leaf.where)]
        else:
            yield number, named.get(number, [])


def _rejection(reason: Reason, detail: str, entry: object) -> Rejection:
    return Rejection(reason, printable(detail), printable(repr(entry)))
