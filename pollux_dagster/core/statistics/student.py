"""Student's t distribution, and ranks, without scipy.stats: its import takes 0.6 s of every run.

The functions are those that scipy.stats.t calls (`_ppf` and `_sf` of scipy/stats/_continuous_distns.py), so the values
are the same to the last bit. Where degrees of freedom are not above 0 there is no distribution, and the value is NaN.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from pollux_dagster.core.statistics.clusters import Floats


def quantile(probability: ArrayLike, degrees: ArrayLike) -> Floats:
    """The value that t does not exceed with a probability in (0, 1]; arguments are broadcast."""
    found: Floats = special.stdtrit(degrees, probability)
    return found


def exceedance(value: ArrayLike, degrees: ArrayLike) -> Floats:
    """The probability that t exceeds a value; arguments are broadcast."""
    found: Floats = special.stdtr(degrees, np.negative(value))
    return found


def midranks(values: Floats) -> Floats:
    """(n,), each value's rank from 1, ties having the mean of their ranks, as scipy.stats.rankdata; without NaN."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    ranks: Floats = (last - (count - 1) / 2)[place]
    return ranks
