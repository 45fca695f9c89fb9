"""Sums of rows within (group, cluster) cells, and the cluster-robust variance of a pooled mean computed from them.

After one sort, a mean and its variance need only the sums of each cell, so a hundred groups cost as much as one. The
intervals themselves are built in `intervals`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]

SMALL = 30
"""With fewer clusters the variance is the jackknife's, with the degrees of freedom of the effective number of clusters.
"""


@dataclass(frozen=True, slots=True)
class Cells:
    """Rows summed by (group, cluster): one entry for each pair that has rows, ordered by group.

    `group` and `cluster` are (cells,) codes, groups below `n_groups`; `total` and `count` are the (cells,) sums of
    values and numbers of rows. Where rows have weights, these are the sums of weighted values and of weights, and
    `weighted` is true for the groups that have a weight other than 1: (n_groups,).
    """

    group: Integers
    cluster: Integers
    total: Floats
    count: Floats
    n_groups: int
    weighted: Booleans

    def by_group(self, values: Floats) -> Floats:
        """Sum (cells,) values within each group: (n_groups,)."""
        sums: Floats = np.bincount(self.group, weights=values, minlength=self.n_groups).astype(np.float64)
        return sums


@dataclass(frozen=True, slots=True)
class PooledMeans:
    """Pooled means of groups with their clustered variance: every field is (n_groups,), NaN where undefined.

    `clusters` counts the clusters with rows; `draws` is the same number, or for a weighted group Kish's effective one;
    `degrees` are the degrees of freedom of the variance.
    """

    mean: Floats
    variance: Floats
    degrees: Floats
    rows: Floats
    clusters: Integers
    effective_clusters: Floats
    draws: Floats


def sum_cells(
    values: Floats, groups: Integers, clusters: Integers, n_groups: int, weights: Floats | None = None
) -> Cells:
    """Sum (rows,) values by group and cluster. Raises ValueError on unequal lengths or non-finite values.

    weights: (rows,), of the rows; all 1 when None.
    """
    if not len(values) == len(groups) == len(clusters):
        raise ValueError(
            f"values, groups and clusters must have one entry per row; got {len(values)}, {len(groups)} and "
            f"{len(clusters)}. Build all three from the same rows."
        )
    if not np.isfinite(values).all():
        raise ValueError(
            f"{int((~np.isfinite(values)).sum())} of {len(values)} values are not finite. A row without a "
            "score has no place in a mean: leave such rows out and count them in the coverage."
        )
    width = int(clusters.max()) + 1 if len(clusters) else 1
    cell, inverse = np.unique(groups.astype(np.int64) * width + clusters, return_inverse=True)
    weighted = np.zeros(n_groups, dtype=bool)
    if weights is not None:
        weighted[groups[weights != 1]] = True
        values = values * weights
    return Cells(
        group=cell // width,
        cluster=cell % width,
        total=np.bincount(inverse, weights=values, minlength=len(cell)).astype(np.float64),
        count=np.bincount(inverse, weights=weights, minlength=len(cell)).astype(np.float64),
        n_groups=n_groups,
        weighted=weighted,
    )


def matched_degrees(squares: Floats, fourths: Floats, clusters: Floats) -> Floats:
    """Degrees of freedom of a chi-squared with the same relative variance as a sum of squared residuals.

    squares, fourths: sums over the clusters of the residuals' second and fourth powers. 2G / (k - 1 + 2/(G-1)) with k =
    G sum(d^4) / sum(d^2)^2: Satterthwaite 1946 applied to the variance of a variance. NaN where nothing varies. numpy
    warns where it divides by zero, unless the caller silences it.
    """
    kurtosis = clusters * fourths / squares**2
    matched: Floats = 2 * clusters / (kurtosis - 1 + 2 / (clusters - 1))
    return matched


def pooled_means(cells: Cells) -> PooledMeans:
    """Pooled mean of each group (all rows have equal weight) with its clustered variance.

    With m = sum(S_g) / N over clusters g of n_g rows and residual d_g = S_g - m n_g:

    - At least 30 clusters: CR1, G/(G-1) sum(d_g^2) / N^2, G-1 degrees of freedom (Liang & Zeger 1986; Miller 2024,
      "Adding Error Bars to Evals", section 2.2, with the small-sample factor of Cameron & Miller 2015, section VI.A).
    - Fewer: CR3, the delete-one-cluster jackknife, (G-1)/G sum((d_g / (N - n_g))^2) (Bell & McCaffrey 2002; MacKinnon,
      Nielsen & Webb 2023), with Kish's effective number of clusters N^2 / sum(n_g^2) less 1 as degrees of freedom.
    - Where a few clusters make most of the variance, it is known less well than that. The degrees of freedom are then
      2G / (k - 1 + 2/(G-1)), k the kurtosis of the d_g, which match the variance of a variance (Satterthwaite 1946).

    With weights, S_g, n_g and N are weighted sums, and Kish's effective number of clusters stands for G where G is 30,
    a degree of freedom or (intervals.clustered_means) the size of an exact sample (Kish 1965, Survey Sampling).

    One cluster has no variance: NaN.
    """
    rows = cells.by_group(cells.count)
    clusters = np.bincount(cells.group, minlength=cells.n_groups).astype(np.int64)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = cells.by_group(cells.total) / rows
        effective = rows**2 / cells.by_group(cells.count**2)
        residual = cells.total - mean[cells.group] * cells.count
        draws = np.where(cells.weighted, effective, clusters)
        small = draws < SMALL
        rest = rows[cells.group] - np.where(small[cells.group], cells.count, 0.0)
        squares = cells.by_group((residual / rest) ** 2)
        g = clusters.astype(np.float64)
        variance = np.where(small, (g - 1) / g, g / (g - 1)) * squares
        matched = matched_degrees(cells.by_group(residual**2), cells.by_group(residual**4), g)
        degrees = np.fmin(np.where(small, effective - 1, draws - 1), matched)
    defined = clusters >= 2
    return PooledMeans(
        mean=mean,
        variance=np.where(defined, variance, np.nan),
        degrees=np.where(defined, np.maximum(degrees, 0.5), np.nan),
        rows=rows,
        clusters=clusters,
        effective_clusters=np.where(clusters > 0, effective, 0.0),
        draws=draws,
    )
