"""Names and their integer codes, the form in which core.statistics takes groups and clusters.

Codes follow the order of the names, so results do not depend on the order in which the database returns the rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from pollux_dagster.core.statistics.clusters import Integers


@dataclass(frozen=True, slots=True)
class Codes:
    """`codes` has shape (rows,); `names` holds one row per code: the distinct values of the coded columns."""

    codes: Integers
    names: pl.DataFrame

    def __len__(self) -> int:
        return self.names.height


def encode(frame: pl.DataFrame, *columns: str) -> Codes:
    """Code the distinct combinations of `columns`; NULL is a value like any other."""
    names = frame.select(columns).unique().sort(columns, nulls_last=False).with_row_index("_code")
    joined = frame.select(columns).join(names, on=columns, how="left", nulls_equal=True, maintain_order="left")
    return Codes(joined["_code"].to_numpy().astype(np.int64), names.drop("_code"))
