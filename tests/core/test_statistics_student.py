"""Student's t and midranks are scipy.stats' to the last bit, though it is not imported."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
from scipy import stats

from pollux_dagster.core.statistics import student

DEGREES = np.array([-1, 0, 1e-9, 0.3, 0.5, 1, 2, 3.7, 10, 99, 1e4, 1e9, np.inf, np.nan])[:, None]
PROBABILITIES = np.array([-0.1, 1e-300, 0.025, 0.5, 0.975, 0.99999, 1, 1.1, np.nan])
VALUES = np.array([-np.inf, -1e9, -3, -1e-9, 0, 1e-9, 0.5, 2, 40, 1e9, np.inf, np.nan])


def test_quantiles_and_exceedances_are_those_of_scipy() -> None:
    np.testing.assert_array_equal(student.quantile(PROBABILITIES, DEGREES), stats.t.ppf(PROBABILITIES, DEGREES))
    np.testing.assert_array_equal(student.exceedance(VALUES, DEGREES), stats.t.sf(VALUES, DEGREES))


def test_midranks_are_those_of_scipy() -> None:
    values = np.random.default_rng(20261127).integers(-3, 4, 500) / 3
    np.testing.assert_array_equal(student.midranks(values), stats.rankdata(values))
    np.testing.assert_array_equal(student.midranks(values[:1]), [1.0])


def test_the_statistics_do_not_import_what_they_do_not_need() -> None:
    code = (
        "import sys, pollux_dagster.warehouse.statistics.refresh; "
        "assert not {'scipy.stats', 'scipy.optimize'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
