"""The groups of POLLUX criteria, in every spelling POLLUX uses, and which criteria are gates.

A gate zeroes a whole answer, so a group that cannot be read is an error and is never guessed: otherwise a misspelt
`critical` would silently switch a gate off.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches

UNSPECIFIED = "unspecified"
_GROUPS = {
    "critical": ("critical", "критические", "критический", "критичные", "критичный"),
    "general": ("general", "fine grained", "общие", "общий", "общее"),
    "domain": ("domain", "domain specific", "стилевые", "стилевой", "доменные", "доменный"),
    "task": ("task", "task specific", "задачные", "задачный"),
    "subjective": ("subjective", "субъективные", "субъективный"),
    UNSPECIFIED: (UNSPECIFIED, ""),
}
_GROUP_OF = {alias: group for group, aliases in _GROUPS.items() for alias in aliases}
# One group name for two kinds of criteria. Those with levels 0 and 1 are POLLUX's gates, all others are not.
_GENERAL_AND_CRITICAL = "general & critical"
# Words people use for a gate that are not close to any spelling of `critical`.
_MEANT_AS_CRITICAL = ("gate", "гейт", "blocker", "blocking", "stop", "veto", "must", "стоп")
# POLLUX's gates have names that begin like this; inline criteria carry the name and no group.
_CRITICAL_OPENINGS = (
    "есть ли критичное нарушение формата",
    "ответа нет, но есть заглушка цензора",
    "is there a critical format violation",
    "no output because of the censor",
)


class UnknownGroupError(ValueError):
    """A criterion is filed under a group that POLLUX does not have. The message names the nearest."""

    def __init__(self, value: object) -> None:
        groups = ", ".join(group for group in _GROUPS if group != UNSPECIFIED)
        super().__init__(
            f"expected a criteria group ({groups}, or a POLLUX name of one), got {value!r:.200}{_hint(value)}"
        )


class ConflictingGroupError(ValueError):
    """One criterion is filed under two different groups in one place."""


def read_group(values: Iterable[object], criteria_name: str, levels: Sequence[float]) -> str:
    """Return the group that the statements about one criterion agree on, `unspecified` where there is none.

    values: everything the criterion's row states: Russian or English text in any case, `{ru, en}`, None or blank. A
    criterion with the name of a POLLUX gate is critical. Raises UnknownGroupError for an unknown group, and
    ConflictingGroupError when two statements differ.
    """
    stated = {group for value in values for group in _stated(value, levels)}
    if (named := group_by_name(criteria_name)) != UNSPECIFIED:
        stated.add(named)
    if len(stated) > 1:
        raise ConflictingGroupError(
            f"criterion {criteria_name!r:.200} is filed under {' and '.join(sorted(stated))}: expected one group"
            + (" (its name is one of POLLUX's own gates)" if named != UNSPECIFIED else "")
        )
    return stated.pop() if stated else UNSPECIFIED


def group_by_name(criteria_name: str) -> str:
    """The group that the name alone decides: critical for POLLUX's own gates, else `unspecified`."""
    opening = criteria_name.strip().lower()
    return "critical" if opening.startswith(_CRITICAL_OPENINGS) else UNSPECIFIED


def is_gate(group: str, levels: Sequence[float]) -> bool:
    """Whether the criterion is a gate: critical, with exactly the levels 0 and 1 (1: cannot be rated)."""
    return group == "critical" and tuple(levels) == (0.0, 1.0)


def _stated(value: object, levels: Sequence[float]) -> set[str]:
    """The groups that a value names; empty where it is blank."""
    texts = [value.get(language) for language in ("en", "ru")] if isinstance(value, Mapping) else [value]
    if isinstance(value, Mapping) and value and not {"en", "ru"} & value.keys():
        raise UnknownGroupError(value)
    groups = set()
    for text in texts:
        if text is not None and not isinstance(text, str):
            raise UnknownGroupError(value)
        spelling = _spelling(text or "")
        if spelling == _GENERAL_AND_CRITICAL:
            groups.add("critical" if tuple(levels) == (0.0, 1.0) else "general")
        elif spelling in _GROUP_OF:
            groups.add(_GROUP_OF[spelling])
        else:
            raise UnknownGroupError(value)
    return groups - {UNSPECIFIED}


def _spelling(text: str) -> str:
    return re.sub(r"[\s_\-–]+", " ", text).strip().casefold()


def _hint(value: object) -> str:
    spelling = _spelling(value) if isinstance(value, str) else ""
    if spelling in _MEANT_AS_CRITICAL:
        return "; a gate is a criterion of the group 'critical' with levels 0 and 1"
    nearest = get_close_matches(spelling, [alias for alias in _GROUP_OF if alias], n=1, cutoff=0.6)
    return f"; nearest is {nearest[0]!r}" if nearest else ""
