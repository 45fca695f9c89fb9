"""What becomes of each landing file, and a landing.toml to begin with for those of no known format. Asks no judge and
needs no home.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import duckdb

from pollux_dagster.ingest.containers import first_rows, open_container
from pollux_dagster.ingest.formats.format import UNKNOWN
from pollux_dagster.ingest.landing_toml import NAME
from pollux_dagster.ingest.rows import Reason, printable
from pollux_dagster.ingest.scan import LandingFile, scan
from pollux_dagster.ingest.sync import PACKAGE_PREFIX, SyncReport, sync
from pollux_dagster.settings import PACKAGE_TAXONOMY
from pollux_dagster.warehouse.schema import create_schema

_REFUSALS_SHOWN = 3
_DEPTH = 4
# What people call the fields, the likeliest first. A name is compared by its last part, without case.
_GUESSES: Mapping[str, tuple[str, ...]] = {
    "prompt_id": ("prompt_id", "question_id", "item_id", "sample_id", "doc_id", "qid", "uid", "id", "idx", "index",
                  "номер"),
    "answer": ("answer", "response", "completion", "prediction", "output", "generated_text", "generation", "reply",
               "model_answer", "content", "text", "result", "ответ", "ответ_модели"),
    "instruction": ("instruction", "prompt", "question", "query", "input", "task", "вопрос", "задание"),
    "model_id": ("model_id", "model", "model_name", "generator", "engine", "модель"),
    "score": ("score", "rating", "grade", "mark", "оценка"),
    "criteria_name": ("criteria_name", "criterion", "criteria", "aspect", "критерий"),
    "annotator": ("annotator", "rater", "assessor", "user", "worker_id", "эксперт"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Examined:
    """One landing file: what it was taken for, how many of its rows are used, and what is to be said about it."""

    path: str
    format: str
    rows: int
    accepted: int
    rejected: int
    refusals: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Examination:
    """All files of a landing folder, what in it is not read (path, why), and a landing.toml for unknown files or ""."""

    files: tuple[Examined, ...]
    ignored: tuple[tuple[str, str], ...]
    proposal: str

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def examine_landing(landing: Path) -> Examination:
    """Read a landing folder into a temporary database, as a run would, and say what became of it.

    Raises NotADirectoryError when `landing` is not a folder.
    """
    with duckdb.connect() as con:
        create_schema(con)
        report: SyncReport = sync(con, landing, run_id="doctor", taxonomy=PACKAGE_TAXONOMY)
        files = examined_files(con)
        unknown = {
            path
            for (path,) in con.execute(
                "SELECT file_path FROM raw.rejected_rows JOIN landing.files USING (file_path) "
                "WHERE row_number = 0 AND reason = ? AND format = ?",
                [Reason.UNKNOWN_FORMAT, UNKNOWN.name],  # a side file that is known by name needs no mapping
            ).fetchall()
        }
    found = [file for file in scan(landing).files if file.path in unknown]
    return Examination(files, report.ignored, propose(found))


def examined_files(con: duckdb.DuckDBPyConnection) -> tuple[Examined, ...]:
    """The landing files of a warehouse, in order of path, each with its first refusals and its notes in words."""
    refusals = _by_file(
        con,
        "SELECT file_path, CASE WHEN row_number = 0 THEN '' ELSE 'row ' || row_number || ': ' END || reason || ': '"
        " || detail || CASE WHEN same > 1 THEN ' (and ' || same - 1 || ' more)' ELSE '' END FROM ("
        "SELECT *, count(*) OVER (PARTITION BY file_path, reason) AS same FROM raw.rejected_rows "
        "QUALIFY row_number() OVER (PARTITION BY file_path, reason ORDER BY row_number) = 1) "
        "ORDER BY file_path, row_number",
    )
    notes = _by_file(con, "SELECT file_path, kind || ': ' || detail FROM raw.notes ORDER BY file_path, row_number")
    rows = con.execute(
        "SELECT f.file_path, f.format, f.row_count, count(r.row_number) FROM landing.files AS f "
        "LEFT JOIN raw.rejected_rows AS r USING (file_path) "
        "WHERE f.status = 'loaded' AND NOT starts_with(f.file_path, ?) GROUP BY ALL ORDER BY 1",
        [PACKAGE_PREFIX],
    ).fetchall()
    return tuple(
        Examined(path, form, count, count - bad, bad, refusals.get(path, ()), notes.get(path, ()))
        for path, form, count, bad in rows
    )


def file_lines(files: Sequence[Examined]) -> list[str]:
    """The refusals and notes of the files, one a line."""
    return [f"{file.path}: {said}" for file in files for said in (*file.refusals, *file.notes)]


def _by_file(con: duckdb.DuckDBPyConnection, query: str) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for path, text in con.execute(query).fetchall():
        if len(found.get(path, ())) < _REFUSALS_SHOWN:
            found[path] = (*found.get(path, ()), text)
    return found


def propose(files: Sequence[LandingFile]) -> str:
    """A landing.toml for those of these files that hold rows; empty where none does."""
    entries = [entry for file in files if (entry := _proposed_entry(file))]
    if not entries:
        return ""
    opening = "# A beginning: check every path, and delete what is not meant. See landing.toml in docs/run.md.\n"
    return opening + "\n".join(entries)


def _proposed_entry(file: LandingFile) -> str:
    try:
        with file.open() as handle:
            rows = [row.fields for row in first_rows(open_container(file, handle).rows)]
    except (OSError, ValueError):
        return ""
    row = next((fields for fields in rows if isinstance(fields, dict)), None)
    if row is None:
        return ""
    leaves = dict(_leaves(row, "", 0))
    guessed = {target: path for target, names in _GUESSES.items() if (path := _guess(leaves, names))}
    is_score = "score" in guessed and "criteria_name" in guessed
    form = "human_scores" if is_score else "answers" if "answer" in guessed else "pollux_instructions"
    wanted = {
        "human_scores": ("prompt_id", "model_id", "criteria_name", "annotator", "score"),
        "answers": ("prompt_id", "answer", "model_id"),
        "pollux_instructions": ("prompt_id", "instruction"),
    }[form]
    others = [path for path in leaves if path not in guessed.values()]
    return "\n".join(
        [
            "[[files]]",
            f"match = {_quoted(file.path)}",
            f"format = {_quoted(form)}",
            *(_proposed_field(target, guessed.get(target), leaves) for target in wanted),
            *([f"# its other fields: {printable(', '.join(others))[:300]!r}"] if others else []),
            "",
        ]
    )


def _proposed_field(target: str, path: str | None, leaves: Mapping[str, Any]) -> str:
    if path is None:
        return f'# fields.{target} = "…"'
    return f"fields.{target} = {_quoted(path)}  # as in {printable(repr(leaves[path]))[:60]}"


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


def write_proposal(landing: Path, proposal: str) -> Path:
    """Write the proposed landing.toml into the landing folder. Raises FileExistsError where there is one."""
    path = landing / NAME
    with path.open("x", encoding="utf-8") as file:
        file.write(proposal)
    return path
