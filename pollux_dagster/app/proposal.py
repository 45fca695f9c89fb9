"""A landing.toml to begin with, for files of no known format: their fields, guessed by their names."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from pollux_dagster.ingest.containers import first_rows, open_container
from pollux_dagster.ingest.landing_toml import NAME, Reading, glob_pattern
from pollux_dagster.ingest.rows import printable
from pollux_dagster.ingest.scan import LandingFile

_DEPTH = 4
# What people call the fields, the likeliest first. A name is compared by its last part, without case.
_GUESSES: Mapping[str, tuple[str, ...]] = {
    "prompt_id": ("prompt_id", "question_id", "item_id", "sample_id", "doc_id", "qid", "uid", "id", "idx", "index",
                  "номер", "id_промпта", "id_вопроса", "id_задания", "номер_вопроса", "промпт_id"),
    "answer": ("answer", "response", "completion", "prediction", "output", "generated_text", "generation", "reply",
               "model_answer", "content", "text", "result", "ответ", "ответ_модели"),
    "instruction": ("instruction", "prompt", "question", "query", "input", "task", "вопрос", "задание"),
    "model_id": ("model_id", "model", "model_name", "generator", "engine", "модель"),
    "score": ("score", "rating", "grade", "mark", "оценка"),
    "criteria_name": ("criteria_name", "criterion", "criteria", "aspect", "критерий"),
    "annotator": ("annotator", "rater", "assessor", "user", "worker_id", "эксперт"),
}  # fmt: skip
_WANTED: Mapping[str, tuple[str, ...]] = {
    "human_scores": ("prompt_id", "model_id", "criteria_name", "annotator", "score"),
    "answers": ("prompt_id", "answer", "model_id"),
    "pollux_instructions": ("prompt_id", "instruction"),
}
_OPENING = (
    "# A beginning: check every path, and delete what is not meant. See landing.toml in docs/reference/landing.md.\n"
)
_ACTIVATE = 'take the first "# " out of each line'


@dataclass(frozen=True, slots=True)
class ProposedEntry:
    """One `[[files]]`: the files of equal fields, their format, and the path of each field that was recognised.

    `leaves` are the texts and numbers in their rows. With a `fault`, which says why no row would be used by it, it is
    written as a comment.
    """

    files: tuple[LandingFile, ...]
    match: str
    format: str
    fields: Mapping[str, str]
    leaves: Mapping[str, Any]
    fault: str = ""

    @property
    def reading(self) -> Reading:
        """What the entry says about its files."""
        return Reading(format=self.format, fields=self.fields, said_by=NAME)


def proposed_entries(files: Sequence[LandingFile], unknown: AbstractSet[str]) -> list[ProposedEntry]:
    """The entries for those of a folder's files that are `unknown` and hold rows, by path; none of them tried yet."""
    alike: dict[frozenset[str], list[LandingFile]] = {}
    leaves: dict[frozenset[str], dict[str, Any]] = {}
    for file in files:
        if file.path in unknown and (found := _leaves_of(file)):
            alike.setdefault(frozenset(found), []).append(file)
            leaves.setdefault(frozenset(found), found)
    paths = [file.path for file in files if PurePosixPath(file.path).name != NAME]
    return [entry for key, group in alike.items() for entry in _entries(group, leaves[key], paths)]


def as_toml(entries: Sequence[ProposedEntry]) -> str:
    """The entries as a landing.toml; empty where there are none."""
    return _OPENING + "\n".join(map(_written, entries)) if entries else ""


def _entries(files: Sequence[LandingFile], leaves: Mapping[str, Any], paths: Sequence[str]) -> list[ProposedEntry]:
    guessed = {target: path for target, names in _GUESSES.items() if (path := _guess(leaves, names))}
    is_score = "score" in guessed and "criteria_name" in guessed
    # Of answers, which most landing files hold, where the names tell nothing.
    form = "human_scores" if is_score else "answers"
    if not is_score and "answer" not in guessed and "instruction" in guessed:
        form = "pollux_instructions"
    fields = {target: guessed[target] for target in _WANTED[form] if target in guessed}
    glob = _glob([file.path for file in files], paths)
    if glob is not None:
        return [ProposedEntry(tuple(files), glob, form, fields, leaves)]
    return [ProposedEntry((file,), file.path, form, fields, leaves) for file in files]


def _glob(wanted: Sequence[str], paths: Sequence[str]) -> str | None:
    """A glob that matches the wanted ones of these paths and no others; None where there is no simple one."""
    if len(wanted) == 1:
        return wanted[0]
    folders = {str(PurePosixPath(path).parent) for path in wanted}
    star, below = ("*", "*") if len(folders) == 1 else ("**", "**/*")
    folder = os.path.commonpath(folders)
    endings = {PurePosixPath(path).suffix for path in wanted}
    start = os.path.commonprefix(wanted)  # noqa: RUF071 - of names, not of folders
    rests = [path.removeprefix(start)[::-1] for path in wanted]
    candidates = (
        ("" if folder in ("", ".") else f"{folder}/") + below + (endings.pop() if len(endings) == 1 else ""),
        start + star + os.path.commonprefix(rests)[::-1],  # noqa: RUF071
    )
    for glob in candidates:
        pattern = glob_pattern(glob)
        if {path for path in paths if pattern.fullmatch(path)} == set(wanted):
            return glob
    return None


def _written(entry: ProposedEntry) -> str:
    others = [path for path in entry.leaves if path not in entry.fields.values()]
    lines = [
        "[[files]]",
        f"match = {_quoted(entry.match)}",
        f"format = {_quoted(entry.format)}",
        *(_written_field(target, entry) for target in _WANTED[entry.format]),
        *([f"# its other fields: {printable(', '.join(others))[:300]!r}"] if others else []),
    ]
    if entry.fault:
        lines = [*_why_not(entry), *(f"# {line}" for line in lines)]
    return "\n".join([*lines, ""])


def _written_field(target: str, entry: ProposedEntry) -> str:
    path = entry.fields.get(target)
    if path is None:
        # In an entry to complete, a missing path is one of the lines to complete, not a comment within it.
        return f'{"" if entry.fault else "# "}fields.{target} = "…"'
    return f"fields.{target} = {_quoted(path)}  # as in {printable(repr(entry.leaves[path]))[:60]}"


def _why_not(entry: ProposedEntry) -> Iterator[str]:
    if not entry.fields:
        yield f"# No field was recognised by its name: fill in the paths and {_ACTIVATE}."
        return
    in_one_line = "".join(c if c.isprintable() else " " for c in entry.fault[:300])
    yield f"# With these paths no row would be used: correct them and {_ACTIVATE}. The first refusal:"
    yield f"#   {in_one_line}"


def _leaves_of(file: LandingFile) -> dict[str, Any]:
    """The leaves of a file's first row; empty where the file cannot be read or holds no row."""
    try:
        with file.open() as handle:
            rows: Iterable[Any] = [row.fields for row in first_rows(open_container(file, handle).rows)]
    except (OSError, ValueError):
        return {}
    return dict(_leaves(next((fields for fields in rows if isinstance(fields, dict)), {}), "", 0))


def _leaves(value: Any, path: str, depth: int) -> Iterator[tuple[str, Any]]:
    """The texts and numbers in a row with the paths that lead to them; of a list, its first item."""
    if isinstance(value, dict) and depth < _DEPTH:
        for name, item in value.items():
            yield from _leaves(item, f"{path}.{name}" if path else str(name), depth + 1)
    elif isinstance(value, list) and value and depth < _DEPTH:
        yield from _leaves(value[0], f"{path}[0]", depth + 1)
    elif isinstance(value, str | int | float) and path:
        yield path, value


def _guess(leaves: Mapping[str, Any], names: Sequence[str]) -> str | None:
    """The path whose last part is the likeliest of `names`; of several, the shortest."""
    for name in names:
        found = [path for path in leaves if path.rpartition(".")[2].partition("[")[0].casefold() == name]
        if found:
            return min(found, key=len)
    return None


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\U{ord(c):08X}" for c in escaped) + '"'
