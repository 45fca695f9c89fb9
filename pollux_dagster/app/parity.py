"""How near a home's judge comes to its row of the model card, on the wide set that the user supplies. Asks no judge."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import numpy as np

from pollux_dagster.app.doctor import examined_files, file_lines
from pollux_dagster.app.resources import Resources
from pollux_dagster.core.model_card import CardRow, ModelCard, read_model_card
from pollux_dagster.core.statistics.clusters import Booleans
from pollux_dagster.core.statistics.parity import (
    OPTIONS,
    Choices,
    Measured,
    RatedItems,
    all_figures,
    every_choice,
    figures,
)
from pollux_dagster.ingest.load import hash_file, load_file
from pollux_dagster.ingest.resolve import resolve_if_changed
from pollux_dagster.ingest.scan import LandingFile
from pollux_dagster.ingest.sync import sync
from pollux_dagster.settings import Settings
from pollux_dagster.warehouse.connection import connect
from pollux_dagster.warehouse.schema import create_schema
from pollux_dagster.warehouse.statistics.wide_set import WideSet, wide_set
from pollux_dagster.warehouse.verdicts import load_verdicts

_RUN = "parity"


class ParityError(RuntimeError):
    """There is nothing to compare; the message says what was expected and what to do."""


@dataclass(frozen=True, slots=True)
class Tried:
    """One combination of choices: its figures by scope, and `distance` to the card's row.

    `distance` is the largest difference from a figure that the row states; None where it states none, infinite where
    one of those figures is undefined here.
    """

    choices: Choices
    figures: Mapping[str, Mapping[str, float]]
    distance: float | None


@dataclass(frozen=True, slots=True)
class Parity:
    """A judge beside the model card. `shown` is the nearest combination, or the defaults where none is nearest.

    `scopes` and `criteria` have the figures of `shown` with intervals; a criterion's are pooled over its items. `tried`
    has every combination that can differ, the nearest first where the row states figures.
    """

    judge_name: str
    judge_id: str
    card: ModelCard
    row: CardRow | None
    shown: Choices
    scopes: Mapping[str, Measured]
    criteria: tuple[tuple[str, str, Measured], ...]
    tried: tuple[Tried, ...]
    kept_out_found: Mapping[str, int]
    wide: WideSet
    excluded: tuple[str, ...]
    said_of_files: tuple[str, ...]


def measure_parity(
    settings: Settings,
    wide: Path,
    *,
    card: Path | None = None,
    row: str | None = None,
    exclude: Collection[str] = (),
    choose: Collection[str] = (),
) -> Parity:
    """Compare the settings' judge with people on the wide set at `wide`, a file or a folder of files.

    card: a card file instead of the packaged one. row: the card's row to compare with, by name, instead of the judge's
    own. exclude: names of criteria or groups that no combination includes. choose: `choice=value` for each choice (a
    field of `Choices`) that is not to be tried out.

    Raises:
        ParityError: the file has no usable ratings, the judge has no usable verdict on them, or a name is unknown.
        ValueError: the card file is not of its form, or a choice has no such value.
        OSError: the wide set or the card file cannot be read.
    """
    stated = read_model_card(card) if card else read_model_card()
    use = Resources.of(settings)
    identity = use.judge.identity()
    compared = _row(stated, row) if row else stated.row_of(use.judge.judge_profile.model)
    found, said = _judged_wide_set(use, settings, wide)
    items, types = _without(found, exclude) if exclude else (found.items, found.task_types)
    scopes, kept_out = _scopes(items, types, stated)
    tried = _try_all(scopes, every_choice(items, _fixed(choose)), compared)
    shown = tried[0].choices
    return Parity(
        judge_name=identity.judge_name,
        judge_id=identity.judge_id,
        card=stated,
        row=compared,
        shown=shown,
        scopes={scope: figures(part, shown) for scope, part in scopes.items()},
        criteria=tuple(_by_criterion(found, items, shown)),
        tried=tried,
        kept_out_found=kept_out,
        wide=found,
        excluded=tuple(exclude),
        said_of_files=said,
    )


def _judged_wide_set(use: Resources, settings: Settings, wide: Path) -> tuple[WideSet, tuple[str, ...]]:
    """The rated items of the wide set with the judge's verdicts on them, and what is to be said of its files."""
    identity = use.judge.identity()
    with TemporaryDirectory(prefix="pollux-parity-") as folder, closing(connect(Path(folder, "wide.duckdb"))) as con:
        create_schema(con)
        _read(con, wide, judge_reasoning=settings.judge_reasoning)
        load_verdicts(con, use.ledger.open().segments())
        said = tuple(file_lines(examined_files(con)))
        found = wide_set(con, identity.judge_id)
        others = [] if found is None or len(found.items) else _judges_with_verdicts(con, use.ledger.records)
    if found is None:
        raise ParityError(
            f"expected people's scores in {wide} (rows with instruction, answer, model_id, criteria_name, rubrics and "
            "criteria_score), found none that can be used" + "".join(f"\n{line}" for line in said)
        )
    if not len(found.items):
        statuses = ", ".join(f"{count} {status}" for status, count in found.unjudged.items())
        raise ParityError(
            f"expected verdicts of {identity.judge_name} on the answers of {wide} in {settings.ledger}, found none "
            f"(items: {statuses}): "
            + (
                "choose a judge that has some, with --profile, --judge-model and --judge-url as in its `pollux run`: "
                f"{'; '.join(others)}"
                if others
                else "put the file into the landing folder and run `pollux run` with this judge first"
            )
        )
    return found, said


def _read(con: duckdb.DuckDBPyConnection, wide: Path, *, judge_reasoning: bool) -> None:
    """Read the file as a run would; a folder with its landing.toml, if it has one."""
    if wide.is_dir():
        sync(con, wide, run_id=_RUN, taxonomy=None, judge_reasoning=judge_reasoning)
        return
    if not wide.is_file():
        raise ParityError(f"expected the wide set as a file or a folder of its files, found nothing at {wide}")
    path = wide.resolve()
    file = LandingFile.of(path.name, path, path.stat())
    load_file(con, file, hash_file(file), _RUN)
    resolve_if_changed(con, judge_reasoning=judge_reasoning)


def _judges_with_verdicts(con: duckdb.DuckDBPyConnection, records: Path) -> list[str]:
    """The judges that have a usable verdict on the answers that were read, with their models, most verdicts first."""
    known = records / "meta.judges.parquet"
    if not known.is_file():
        return []
    rows = con.execute(_JUDGES_WITH_VERDICTS, {"judges": str(known)}).fetchall()
    return [f"{name} (model {model}, {count} verdicts)" for name, model, count in rows]


_JUDGES_WITH_VERDICTS = """
SELECT judges.judge_name, judges.model, count(*)
FROM read_parquet($judges) AS judges CROSS JOIN judging.judgeable AS judgeable
JOIN judging.verdicts AS verdicts
    ON verdicts.verdict_key = judging.verdict_key(
        judges.judge_id, judgeable.answer_key, judgeable.criterion_key, 0
    )
WHERE verdicts.status = 'ok'
GROUP BY ALL ORDER BY count(*) DESC, judge_name
"""


def _row(card: ModelCard, name: str) -> CardRow:
    found = card.row_of(name)
    if found is None:
        raise ParityError(f"expected a row of the card, one of {', '.join(r.name for r in card.rows)}; got {name!r}")
    return found


def _without(found: WideSet, names: Collection[str]) -> tuple[RatedItems, tuple[str, ...]]:
    """The items, and their task types, of criteria that are not named by their own name or their group's."""
    keep = ~_excluded(found, names)
    if not keep.any():
        raise ParityError(f"no criterion is left without {', '.join(names)}; exclude fewer")
    return found.items.only(keep), tuple(compress(found.task_types, keep))


def _excluded(found: WideSet, names: Collection[str]) -> Booleans:
    """Whether the criterion of each item is named, by its own name or its group's."""
    listed = list(found.criteria.select("criteria_name", "criteria_group").iter_rows())
    unknown = [name for name in names if not any(name in criterion for criterion in listed)]
    if unknown:
        raise ParityError(
            f"expected criteria or groups of the wide set to exclude, got {', '.join(map(repr, unknown))}; it has "
            f"{', '.join(sorted({name for name, _ in listed}))}; groups {', '.join(sorted({g for _, g in listed}))}"
        )
    chosen: Booleans = np.array([any(name in criterion for name in names) for criterion in listed], dtype=np.bool_)
    excluded: Booleans = chosen[found.items.criterion]
    return excluded


def _fixed(chosen: Collection[str]) -> dict[str, str]:
    """The choices that are given as `name=value`, with dashes or underscores in the name."""
    fixed = {}
    for text in chosen:
        name, _, value = text.partition("=")
        if name.replace("-", "_") not in OPTIONS:
            choices = ", ".join(f"{known.replace('_', '-')}={'|'.join(values)}" for known, values in OPTIONS.items())
            raise ParityError(f"expected a choice as NAME=VALUE, one of {choices}; got {text!r}")
        fixed[name.replace("-", "_")] = value
    return fixed


def _scopes(
    items: RatedItems, task_types: Sequence[str], card: ModelCard
) -> tuple[dict[str, RatedItems], dict[str, int]]:
    """The items of each scope, and how many there are of each task type that was kept out of training."""
    kind = {name: card.task_type_out_of_domain(name) for name in set(task_types)}
    each = [kind[name] for name in task_types]
    outside = np.array([name is not None for name in each], dtype=np.bool_)
    parts = {"overall": items, "in_domain": items.only(~outside), "out_of_domain": items.only(outside)}
    return parts, {name: each.count(name) for name in card.out_of_domain}


def _try_all(scopes: Mapping[str, RatedItems], combinations: list[Choices], row: CardRow | None) -> tuple[Tried, ...]:
    by_scope = {scope: [found for _, found in all_figures(part, combinations)] for scope, part in scopes.items()}
    tried = [
        Tried(choices, here := {scope: by_scope[scope][at] for scope in scopes}, _distance(here, row))
        for at, choices in enumerate(combinations)
    ]
    # Stable, so that of equally near combinations the one with more defaults comes first. Equal sums may differ in
    # their last digits.
    return tuple(sorted(tried, key=lambda one: math.inf if one.distance is None else round(one.distance, 12)))


def _distance(here: Mapping[str, Mapping[str, float]], row: CardRow | None) -> float | None:
    if row is None or not any(row.figures.values()):
        return None
    gaps = [
        abs(here[scope][metric] - value) for scope, stated in row.figures.items() for metric, value in stated.items()
    ]
    return max(math.inf if math.isnan(gap) else gap for gap in gaps)


def _by_criterion(found: WideSet, items: RatedItems, shown: Choices) -> list[tuple[str, str, Measured]]:
    """(criterion_id, name, figures) of every criterion that `shown` includes, ordered by name."""
    names = found.criteria.select("criterion_id", "criteria_name").rows()
    measured = [
        (names[code][0], names[code][1], figures(items.only(items.criterion == code), shown))
        for code in np.unique(items.criterion)
    ]
    return sorted((one for one in measured if one[2].n), key=lambda one: (one[1], one[0]))
