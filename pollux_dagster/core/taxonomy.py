"""POLLUX taxonomies: criteria.json (what a criterion asks) and tasks.json (which criteria a task has).

A taxonomy is a plain mapping with Russian and English names side by side; each name of a task finds that task. Reading
the files and choosing criteria for an instruction is done in `ingest`. Schema: metainfo/criteria.json and
metainfo/tasks.json of github.com/ai-forever/POLLUX.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pollux_dagster.core.groups import read_group
from pollux_dagster.core.rubrics import RubricScale, UnreadableScaleError, read_level_keys, read_scale
from pollux_dagster.core.rubrics.direction import Direction, read_direction, read_statement

_LANGUAGES = ("ru", "en")
_CHILDREN = re.compile(r"tasks|subtasks(_l\d+)?")
# Criteria that compare with a reference answer, by code without its "__N" suffix.
_REFERENCE_CODES = frozenset({"correct_answer", "reference_agreement"})


class TaxonomyError(ValueError):
    """An entry of a taxonomy file does not have the POLLUX shape. `where` names the entry."""

    def __init__(self, where: str, problem: str) -> None:
        super().__init__(f"taxonomy entry {where}: {problem}")
        self.where = where


@dataclass(frozen=True, slots=True)
class TaxonomyCriterion:
    """One entry of criteria.json. `rubrics` is its scale as `level: description` lines, ascending.

    `higher_is_better` is what the entry states, None where it states nothing; `direction` is what its wording implies.
    """

    code: str
    name: str
    rubrics: str
    group: str
    domain: str | None
    scale: RubricScale
    needs_reference: bool
    higher_is_better: bool | None
    direction: Direction


@dataclass(frozen=True, slots=True)
class TaxonomyTask:
    """The criteria filed under one name of a task, optionally with one name of a subtask below it."""

    task_type: str
    task_subtype: str | None
    has_gold: bool | None
    domain: str | None
    codes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TaskLeaf:
    """One leaf of tasks.json: the path of names that leads to it (ru and en for each level) and its criteria."""

    path: tuple[tuple[str, ...], ...]
    has_gold: bool | None
    domain: str | None
    codes: tuple[str, ...]


def localized(value: object) -> str | None:
    """The Russian, else the English text of `{ru, en}`; a plain text unchanged; None when there is neither."""
    if isinstance(value, Mapping):
        value = next((value[k] for k in _LANGUAGES if isinstance(value.get(k), str)), None)
    return value.strip() or None if isinstance(value, str) else None


def looks_like_criteria(document: object) -> bool:
    """Whether a JSON document has the shape of criteria.json: entries with a name and a scale."""
    return _some_entry_has(document, {"name", "scale"})


def looks_like_tasks(document: object) -> bool:
    """Whether a JSON document has the shape of tasks.json: entries with child tasks or criteria codes."""
    return isinstance(document, Mapping) and any(
        isinstance(v, Mapping) and "name" in v and ("criteria" in v or any(_CHILDREN.fullmatch(k) for k in v))
        for v in document.values()
    )


def read_criterion(code: str, entry: object) -> TaxonomyCriterion:
    """Read one entry of criteria.json.

    Raises TaxonomyError for a wrong shape, UnreadableScaleError for a scale without numeric levels, UnknownGroupError
    for an unknown group and ConflictingGroupError for a group that contradicts the name's.
    """
    if not isinstance(entry, Mapping):
        raise TaxonomyError(code, f"expected an object, got {type(entry).__name__}")
    name = localized(entry.get("name"))
    if name is None:
        raise TaxonomyError(code, "expected a name as text or {ru, en}")
    rubrics = render_scale(code, entry.get("scale"))
    base = code.rsplit("__", 1)[0]
    scale = read_scale(rubrics)
    return TaxonomyCriterion(
        code=code,
        name=name,
        rubrics=rubrics,
        group=read_group([entry.get("crit_group")], name, scale.levels),
        domain=localized(entry.get("domain")),
        scale=scale,
        needs_reference=_needs_reference(code, entry.get("needs_reference"), base in _REFERENCE_CODES),
        higher_is_better=_higher_is_better(code, entry.get("higher_is_better")),
        direction=read_direction(name, rubrics),
    )


def _needs_reference(code: str, value: object, default: bool) -> bool:
    if value is None:
        return default
    if not isinstance(value, bool):
        raise TaxonomyError(code, f"expected needs_reference to be true or false, got {value!r:.200}")
    return value


def _higher_is_better(code: str, value: object) -> bool | None:
    try:
        return read_statement(value)
    except ValueError as error:
        raise TaxonomyError(code, str(error)) from error


def render_scale(where: str, scale: object) -> str:
    """Render `{"0": "…", "1": "…"}`, or that under ru/en, as `0: …` lines with levels ascending; text stays unchanged.

    The levels are the keys. The text is chosen so that read_scale finds exactly those levels in it, so the text alone
    determines the scale. Keys that are not levels are rendered as JSON, which read_scale refuses. Raises TaxonomyError
    for a wrong shape.
    """
    if isinstance(scale, str):
        return scale
    if isinstance(scale, Mapping):
        scale = next((scale[k] for k in _LANGUAGES if isinstance(scale.get(k), Mapping)), scale)
    if not isinstance(scale, Mapping) or not all(isinstance(v, str) for v in scale.values()):
        raise TaxonomyError(where, "expected a scale of level → text, or {ru: {level: text}}")
    items = [(str(level), text) for level, text in scale.items()]
    as_json = json.dumps(scale, ensure_ascii=False, indent=1)
    try:
        levels = read_level_keys([level for level, _ in items])
    except UnreadableScaleError:
        return as_json
    with suppress(ValueError):  # bands and words keep their order
        items.sort(key=lambda item: float(item[0].replace(",", ".")))
    # Unchanged wherever that reads unambiguously, so that the judge sees the author's own lines. A description with a
    # line such as "5: пять фактов" is indented; where that is still read otherwise, the JSON object itself is shown,
    # because its keys cannot be confused with its text.
    lines = [f"{level}: {text}" for level, text in items]
    for rubrics in ("\n".join(lines), "\n".join(line.replace("\n", "\n    ") for line in lines)):
        if _reads_as(levels, rubrics):
            return rubrics
    return as_json


def _reads_as(levels: RubricScale, rubrics: str) -> bool:
    try:
        return read_scale(rubrics) == levels
    except UnreadableScaleError:
        return False


def read_leaves(document: Mapping[str, Any]) -> Iterator[TaskLeaf | TaxonomyError]:
    """Every leaf of tasks.json in file order; a leaf without a usable list of criteria is yielded as its error."""
    for key, entry in document.items():
        yield from _walk(key, entry, ())


def _walk(key: str, entry: object, above: tuple[tuple[str, ...], ...]) -> Iterator[TaskLeaf | TaxonomyError]:
    where = " / ".join([names[0] for names in above] + [key])
    if not isinstance(entry, Mapping):
        yield TaxonomyError(where, f"expected an object, got {type(entry).__name__}")
        return
    path = (*above, _names(key, entry.get("name")))
    children = [(k, v) for k, v in entry.items() if _CHILDREN.fullmatch(k)]
    for field, below in children:
        if not isinstance(below, Mapping):
            yield TaxonomyError(where, f"expected {field} to be an object, got {type(below).__name__}")
            continue
        for child_key, child in below.items():
            yield from _walk(child_key, child, path)
    if children and "criteria" not in entry:
        return
    codes = entry.get("criteria")
    if not isinstance(codes, list) or not codes or not all(isinstance(c, str) for c in codes):
        yield TaxonomyError(where, f"expected criteria as a list of codes, got {codes!r:.200}")
        return
    gold = entry.get("has_gold")
    yield TaskLeaf(
        path=path,
        has_gold=gold if isinstance(gold, bool) else None,
        domain=localized(entry.get("domain")),
        codes=tuple(dict.fromkeys(codes)),
    )


def _names(key: str, name: object) -> tuple[str, ...]:
    named = [name.get(k) for k in _LANGUAGES] if isinstance(name, Mapping) else [name]
    texts = [n.strip() for n in [*named, key] if isinstance(n, str) and n.strip()]
    return tuple(dict.fromkeys(texts))


def expand_leaf_names(leaves: Sequence[TaskLeaf]) -> list[tuple[int, TaxonomyTask]]:
    """Every (task, subtask) name under which some leaf can be found: the first such leaf's index, and the criteria.

    A name that covers several leaves gets the criteria common to all of them, in the first one's order. A name whose
    leaves have no criterion in common is left out, because any choice between them would be a guess.
    """
    under: dict[tuple[str, str | None], list[int]] = {}
    for index, leaf in enumerate(leaves):
        for depth, names in enumerate(leaf.path):
            for name in names:
                below = [None, *(n for level in leaf.path[depth + 1 :] for n in level)]
                for sub in dict.fromkeys(below):
                    under.setdefault((name, sub), []).append(index)
    tasks = []
    for (name, sub), indexes in under.items():
        found = [leaves[i] for i in indexes]
        common = [c for c in found[0].codes if all(c in other.codes for other in found)]
        if common:
            golds, domains = {leaf.has_gold for leaf in found}, {leaf.domain for leaf in found}
            gold = golds.pop() if len(golds) == 1 else None
            domain = domains.pop() if len(domains) == 1 else None
            tasks.append((indexes[0], TaxonomyTask(name, sub, gold, domain, tuple(common))))
    return tasks


def _some_entry_has(document: object, keys: set[str]) -> bool:
    return isinstance(document, Mapping) and any(isinstance(v, Mapping) and keys <= v.keys() for v in document.values())
