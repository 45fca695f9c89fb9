"""The judges' table of the model card of Pollux-4B-Judge: its rows, and the task types that were kept out of training.

A figure that no readable source states is left out of `model_card.json` and never guessed; whoever has the card's
table at hand fills in a copy, with the source, and passes it as the card.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PACKAGED_CARD = Path(__file__).with_name("model_card.json")
SCOPES = ("overall", "in_domain", "out_of_domain")
METRICS = ("rmse", "macro_f1", "spearman")
_RANGES = {"rmse": (0.0, math.inf), "macro_f1": (0.0, 1.0), "spearman": (-1.0, 1.0)}
_SITUATION = re.compile(r"\s*\([^()]*\)$")


class ModelCardError(ValueError):
    """A card file does not have the form of `model_card.json`; the message says where and what was expected."""


@dataclass(frozen=True, slots=True)
class CardRow:
    """One judge of the table; `figures` has, for each scope that the card states, the metrics that it states."""

    name: str
    model: str
    figures: Mapping[str, Mapping[str, float]]
    source: str


@dataclass(frozen=True, slots=True)
class ModelCard:
    """`out_of_domain` are the task types kept out of training; a situation in brackets is no part of their names."""

    card: str
    rows: tuple[CardRow, ...]
    out_of_domain: tuple[str, ...]

    def row_of(self, model: str) -> CardRow | None:
        """The row of a judge, by the last part of its model's name, whose case does not matter."""
        wanted = _last_part(model)
        return next((row for row in self.rows if wanted in (_last_part(row.model), row.name.casefold())), None)

    def task_type_out_of_domain(self, task_type: str) -> str | None:
        """Which of the task types kept out of training this is; None for one that was trained on."""
        said = _plain(_SITUATION.sub("", task_type))
        return next((kept for kept in self.out_of_domain if said == _plain(kept)), None)


def read_model_card(path: Path = PACKAGED_CARD) -> ModelCard:
    """Read a card file.

    Raises:
        ModelCardError: it is no JSON of the expected form, or has a figure without a source or outside its range.
        OSError: it cannot be read.
    """
    try:
        stated = json.loads(path.read_text(encoding="utf-8"))
        kept_out = stated["out_of_domain"]["task_types"]
        rows = tuple(_row(path, entry) for entry in stated["judges"])
        names = [row.name for row in rows]
        if len(set(names)) < len(names):
            raise ModelCardError(f"{path}: two judges have one name, expected different ones: {', '.join(names)}")
        return ModelCard(str(stated["card"]), rows, tuple(str(name) for name in kept_out))
    except (KeyError, TypeError, AttributeError) as error:
        raise ModelCardError(f"{path}: expected the form of {PACKAGED_CARD}, {_missing(error)}") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ModelCardError(f"{path}: expected JSON in UTF-8: {error}") from error


def _row(path: Path, entry: Mapping[str, Any]) -> CardRow:
    name = str(entry["name"])
    figures = {}
    for scope, stated in entry["figures"].items():
        if scope not in SCOPES:
            raise ModelCardError(f"{path}, {name}: expected figures of {', '.join(SCOPES)}, got {scope!r}")
        figures[str(scope)] = {str(metric): _figure(path, name, metric, value) for metric, value in stated.items()}
    source = str(entry["source"])
    if any(figures.values()) and not source.strip():
        raise ModelCardError(f"{path}, {name}: figures without a source; write into `source` where they stand")
    return CardRow(name, str(entry["model"]), figures, source)


def _figure(path: Path, name: str, metric: str, value: object) -> float:
    if metric not in METRICS:
        raise ModelCardError(f"{path}, {name}: expected one of {', '.join(METRICS)}, got {metric!r}")
    low, high = _RANGES[metric]
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ModelCardError(f"{path}, {name}: expected {metric} as a number from {low:g} to {high:g}, got {value!r}")
    return float(value)


def _missing(error: Exception) -> str:
    return f"without {error}" if isinstance(error, KeyError) else f"found another: {error}"


def _last_part(model: str) -> str:
    return model.rstrip("/").rpartition("/")[2].casefold()


def _plain(name: str) -> str:
    return " ".join(name.split()).casefold()
