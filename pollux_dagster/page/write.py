"""Makes the report: asks the publication, fills the template, packs the answers into what room is left.

Texts from outside reach the page in two ways only: through the template, which escapes them, and packed as base64.
"""

from __future__ import annotations

import base64
import hashlib
import json
import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import duckdb
import jinja2
import markupsafe
import orjson
from markupsafe import Markup

from pollux_dagster.core.figures import rounded
from pollux_dagster.core.files import write_private
from pollux_dagster.core.people_order import among, turned
from pollux_dagster.core.text import escaped, shortened
from pollux_dagster.core.times import shown
from pollux_dagster.page import figures, history
from pollux_dagster.page.evidence import collect
from pollux_dagster.page.figures import Figure, Row, Scale, ask, narrowed
from pollux_dagster.page.summary import NAMED, names, score, sentences, signed
from pollux_dagster.publication_access import QueryLimits, bounded, open_publication

MAX_BYTES = 8_000_000  # of the file, which is also sent by mail
MAX_EVIDENCE = 6_000_000  # of them for the answers
MAX_FILLED = 300  # characters of a name or another short text from outside
MAX_WHOLE = 20_000  # characters of a query, a rubric, a description
MAX_BOARD = 500  # models in the leaderboard's table
# For DuckDB, beside what the warehouse's has. A report on 670,000 verdicts took 5.5 s of CPU and 505 MiB with it, and
# 5.3 s and 664 MiB with 2 GB.
_MEMORY = "256MB"
_MARKER = "<!-- evidence -->"  # no text from outside can be this: its < is escaped
_KEPT = "\n\t\u00a0\u202f"
_FAILURES = (
    *("missing", "truncated", "repetition", "unparseable", "off_scale"),
    *("context_overflow", "refused_by_server", "transport_error", "rejected"),
)


class UnknownModelError(ValueError):
    """A model to narrow the report to is not in the publication; the message names those that are."""


def write_report(
    published: Path, target: Path, *, models: Sequence[str] = (), limits: QueryLimits | None = None
) -> None:
    """Write the report of a publication to `target`, mode 0600.

    `models` narrows it to some models; places and comparisons stay those among all. `limits` bounds the time and the
    memory of the whole process, for a command.

    Raises:
        FileNotFoundError: nothing has been published there yet.
        UnknownModelError: one of `models` is not there.
        QueryError: a limit was reached.
    """
    with open_publication(published, limits or QueryLimits(memory=_MEMORY)) as con:
        if limits is None:
            page = _page(con, published.parent, models)
        else:
            with bounded(con, limits):
                page = _page(con, published.parent, models)
    write_private(target, page)


def renew_report(published: Path) -> None:
    """Make report.html beside a publication again, in which something was recorded since. None is left where that
    fails, because the old one would be taken for what the publication says now.

    Raises: as `write_report`.
    """
    page = published.with_name("report.html")
    page.unlink(missing_ok=True)
    write_report(published, page)


def _page(con: duckdb.DuckDBPyConnection, folder: Path, models: Sequence[str]) -> bytes:
    judges = _rows(ask(con, figures.JUDGES))
    criteria = ask(con, figures.CRITERIA)
    known = _models(con, judges, models)
    tasks = [row["task_type"] for row in _rows(ask(con, figures.TASK_NAMES))]
    views = [_judge(con, number, judge, criteria, folder, models) for number, judge in enumerate(judges)]
    for view in views:
        view["anchor"] = f"judge-{view['number']}-" if len(views) > 1 else ""
    checks = ask(con, figures.CHECKS)
    values = {
        "judges": views,
        "criteria": criteria,
        "publication": _rows(ask(con, figures.PUBLICATION))[0],
        "counts": _counts(con, models),
        "staleness": _rows(ask(con, figures.STALENESS)),
        "checks": checks,
        "checks_failed": sum(not row["passed"] for row in _rows(checks)),
        "rejected": ask(con, figures.REJECTED),
        "files": ask(con, figures.FILES),
        "narrowed": models,
        "numbers": {
            "models": _numbered(known),
            "task": _numbered(tasks),
            "criterion": (by_id := _numbered([row["criterion_id"] for row in _rows(criteria)])),
            "gate": by_id,
        },
    }
    evidence = collect(con, judges, known, _rows(criteria), tasks, MAX_EVIDENCE)
    before, after = _rendered(values | {"evidence": evidence is not None}).split(_MARKER.encode())
    room = MAX_BYTES - len(before) - len(after)
    if evidence and len(evidence.packed) > room:
        evidence = collect(con, judges, known, _rows(criteria), tasks, room)
    return before + (evidence.packed if evidence else b"") + after


def _counts(con: duckdb.DuckDBPyConnection, models: Sequence[str]) -> Row:
    """How much there is, of the models that are shown."""
    if not models:
        return _rows(ask(con, figures.COUNTS))[0]
    counted = con.execute(figures.COUNTS_OF_MODELS, {"models": [*models]})
    columns = [column for column, *_ in counted.description or ()]
    return dict(zip(columns, counted.fetchone() or (), strict=True))


def _models(con: duckdb.DuckDBPyConnection, judges: Sequence[Row], wanted: Sequence[str]) -> list[str]:
    """The models whose answers are carried: the wanted ones, or all, in the order of the first judge's leaderboard."""
    boards = [_rows(ask(con, figures.LEADERBOARD, judge["judge_id"])) for judge in judges]
    known = list(dict.fromkeys(row["model_id"] for board in boards for row in board))
    if unknown := [model for model in wanted if model not in known]:
        named = ", ".join(known[:10]) + (f" and {len(known) - 10} more" if len(known) > 10 else "")
        raise UnknownModelError(
            f"expected models of the publication, got {', '.join(unknown)}; it has {named or 'none'}"
        )
    return [model for model in known if not wanted or model in wanted]


def _judge(
    con: duckdb.DuckDBPyConnection,
    number: int,
    judge: Row,
    criteria: Figure | None,
    folder: Path,
    wanted: Collection[str],
) -> dict[str, Any]:
    """What the template shows of one judge."""

    def of(query: str) -> Figure | None:
        return narrowed(ask(con, query, judge["judge_id"]), wanted)

    board, tasks, means = (of(query) for query in (figures.LEADERBOARD, figures.TASKS, figures.CRITERION_MEANS))
    rows = _rows(board)
    models = [row["model_id"] for row in rows]
    compared = models[: figures.MAX_COMPARED]
    pairs = ask(con, figures.PAIRS, judge["judge_id"], compared)
    put_round = among(turned(con, judge["judge_id"]), models)
    level_figure, people_levels, confusion = of(figures.LEVELS), of(figures.PEOPLE_LEVELS), of(figures.CONFUSION)
    calibrated, coverage = of(figures.CALIBRATED), of(figures.COVERAGE)
    drawn = ("ci_low", "ci_high", "mean_score", "people_mean", "people_ci_low", "people_ci_high")
    ends = [row[end] for row in rows for end in drawn]
    calibrated_ends = [
        row[end] for row in _rows(calibrated) for end in ("ci_low", "ci_high", "judge_mean", "calibrated_mean")
    ]
    length, controlled = of(figures.LENGTH), of(figures.LENGTH_CONTROLLED)
    controlled_ends = [
        row[end]
        for row in _rows(controlled)
        for end in ("mean_score", "length_controlled_ci_low", "length_controlled_ci_high")
    ]
    levels = {row["criterion_id"]: row["levels"] or () for row in _rows(criteria)}
    bars = figures.distributions(level_figure, people_levels, models, levels)
    return {
        "number": number,
        "id": judge["judge_id"],
        "name": judge["judge_name"],
        "model": judge["model"],
        "revision": judge["weights_revision"],
        "identity": json.dumps(json.loads(judge["identity"] or "{}"), ensure_ascii=False, indent=2, sort_keys=True),
        "is_demonstration": judge["is_demonstration"],
        "is_pollux": "pollux" in judge["model"].lower() and not judge["is_demonstration"],
        "sentences": sentences(rows, tasks, means, pairs, put_round, is_narrowed=bool(wanted)),
        "board": None if board is None else Figure(board.sql, rows[:MAX_BOARD]),
        "board_left_out": max(0, len(rows) - MAX_BOARD),
        "other_items": any(row["same_items"] is False for row in rows),
        "scale": _Axis(Scale.of(ends)),
        "ranks": _Axis(Scale(1, max(2, *(row["rank_high"] or 0 for row in rows), 2)), 3, 57),
        "tasks": figures.grid(tasks, models, "task_type", "task_type"),
        "criteria": figures.grid(means, models, "criterion_id", "criteria_name"),
        "gates": figures.grid(of(figures.GATES), models, "criterion_id", "criteria_name"),
        "pairs": figures.matrix(pairs, compared, len(models) - len(compared)),
        "length": length,
        "length_finding": _length_finding(_rows(length)),
        "controlled": controlled,
        "controlled_scale": _Axis(Scale.of(controlled_ends)),
        "levels": bars[: figures.MAX_CRITERIA],
        "levels_left_out": max(0, len(bars) - figures.MAX_CRITERIA),
        "level_figure": level_figure,
        "people_level_figure": people_levels,
        "agreement": of(figures.AGREEMENT),
        "agreement_by_criterion": of(figures.AGREEMENT_BY_CRITERION),
        "confusions": figures.confusions(confusion),
        "confusion_figure": confusion,
        "calibrated": calibrated,
        "calibration_scale": _Axis(Scale.of(calibrated_ends)),
        "coverage": coverage,
        "failures": [kind for kind in _FAILURES if any(row.get(f"n_{kind}") for row in _rows(coverage))],
        "left_out": of(figures.LEFT_OUT),
        "cost": of(figures.COST),
        "runs": of(figures.RUNS),
        "trend": _trend(history.past(folder), judge["judge_id"], models),
    }


def _length_finding(criteria: Sequence[Row]) -> dict[str, Sequence[str]] | None:
    """The criteria by which longer answers score `higher` or `lower`; None where nothing is known of any."""
    if all(row["finding"] == "not known" for row in criteria):
        return None
    by = {row["criteria_name"]: row["finding"] for row in criteria}
    return {end: [name for name, finding in by.items() if finding.endswith(end)] for end in ("higher", "lower")}


@dataclass(frozen=True, slots=True)
class _Axis:
    """A scale drawn between two places of a picture."""

    scale: Scale
    left: float = 10
    right: float = 190

    def x(self, value: float) -> float:
        return round(self.left + self.scale.at(value) * (self.right - self.left), 1)

    def ticks(self) -> list[float]:
        return self.scale.ticks()


@dataclass(frozen=True, slots=True)
class _Line:
    """One model's past: `points` as SVG writes them, and the mean of the last two publications."""

    model: str
    points: str
    end: tuple[float, float] | None
    before: float | None
    now: float | None


@dataclass(frozen=True, slots=True)
class _Trend:
    first: datetime
    last: datetime
    lines: Sequence[_Line]


def _trend(past: Sequence[history.Past], judge_id: str, models: Sequence[str]) -> _Trend | None:
    """The past of a judge's models; None with fewer than two publications."""
    own = [
        (publication.published_at, publication.means[judge_id]) for publication in past if judge_id in publication.means
    ]
    if len(own) < 2:
        return None
    first, last = own[0][0], own[-1][0]
    seconds = max(1.0, (last - first).total_seconds())
    scale = Scale.of(means.get(model) for _, means in own for model in models)
    lines = []
    for model in models:
        points = [
            (round(5 + 190 * (at - first).total_seconds() / seconds, 1), round(26 - 22 * scale.at(means[model]), 1))
            for at, means in own
            if model in means
        ]
        drawn = " ".join(f"{x},{y}" for x, y in points)
        end = points[-1] if points else None
        lines.append(_Line(model, drawn, end, own[-2][1].get(model), own[-1][1].get(model)))
    return _Trend(first, last, lines)


def _rendered(values: dict[str, Any]) -> bytes:
    texts = dict(_texts())
    script_texts = orjson.dumps(texts.pop("script")).decode().replace("<", "\\u003c")
    style, script = _file("page.css"), _file("page.js")
    page = _environment().get_template("page.html.j2").render(
        values,
        texts=texts,
        shades=figures.SHADES,
        named=NAMED,
        printed=figures.MODELS_ON_PAPER,
        style=Markup(style),
        style_hash=_sha256(style),
        script=Markup(script),
        script_hash=_sha256(script),
        script_texts=Markup(script_texts),
        marker=Markup(_MARKER),
    )  # fmt: skip
    return page.encode()


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        loader=jinja2.FunctionLoader(_file),
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "score": score,
        "short": lambda value: str(rounded(value, 2)),
        "signed": signed,
        "signed_short": lambda value: signed(value, 2),
        "p_value": lambda value: "" if value is None else "p < 0.001" if value < 0.001 else f"p = {rounded(value)}",
        "share": _share,
        "count": lambda value: "" if value is None else f"{round(value):,}".replace(",", "\u202f"),
        "level": lambda value: f"{value:g}",
        "when": shown,
        "names": names,
        "filled": _filled,
        "emphasised": lambda values: _filled(values, ("model", "mean")),
        "whole": lambda text: markupsafe.escape(escaped(shortened(text or "", MAX_WHOLE), keep=_KEPT)),
    }
    return environment


def _share(value: float | None) -> str:
    """In percent. What is not all is never shown as 100 %."""
    return "" if value is None else f"{99.9 if 0.999 < value < 1 else rounded(value * 100, 1)} %"


def _filled(values: Mapping[str, object], bold: Collection[str] = ()) -> dict[str, Markup]:
    """Values that are filled into a text, those named in `bold` in bold."""
    return {name: Markup("<b>{}</b>" if name in bold else "{}").format(_printable(values[name])) for name in values}


def _printable(value: object) -> object:
    """What is filled in: names cut to a length that is still read, what moves, hides or reorders text as an escape."""
    if value is None:
        return ""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return escaped(shortened(value, MAX_FILLED), keep=_KEPT)


def _numbered(names: Sequence[str]) -> dict[str, int]:
    """Each name's place, by which the page's script knows it."""
    return {name: number for number, name in enumerate(names)}


def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@cache
def _texts() -> dict[str, Any]:
    return tomllib.loads(_file("texts.toml"))


def _file(name: str) -> str:
    return resources.files("pollux_dagster.page").joinpath(name).read_text(encoding="utf-8")


def _rows(figure: Figure | None) -> list[Row]:
    return figure.rows if figure else []
