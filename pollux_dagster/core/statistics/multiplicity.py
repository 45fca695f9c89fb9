"""P-values adjusted for being many: Holm's step-down.

Only the adjustment; the tests are made elsewhere. The one idea: the best of many comparisons is the luckiest
one too."""

from __future__ import annotations

import numpy as np

from pollux_dagster.core.statistics.clusters import Floats


def holm(p_values: Floats) -> Floats:
    """Adjusted (tests,) p-values, NaN kept and not counted: max over the smaller ones of (m - k) p_(k+1), at
    most 1.

    Holm 1979, Scandinavian Journal of Statistics 6:65. statsmodels' multipletests gives the same numbers, and
    collects garbage at every call, a tenth of a second in a process of ordinary size.
    """
    adjusted = np.full_like(p_values, np.nan)
    tested = np.flatnonzero(~np.isnan(p_values))
    order = tested[np.argsort(p_values[tested], kind="stable")]
    steps = p_values[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted
