"""Means of two groups of cells, where cells of one replicate are more alike than cells of several.

The model is linear and mixed: a mean for each group, and normal effects of the replicate, of the dish (a
group in a replicate) and of the cell. Its variances maximise the restricted likelihood (Patterson and
Thompson, Biometrika 58:545, 1971), which depends on the data only through the mean of each dish and the sum
of squares within dishes. statsmodels' MixedLM, which the tests compare with, fails where the variance between
replicates is small, as it often is among few.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize

Array = NDArray[np.float64]

# Smallest variance of cells and first guess of the others, in units of the variance of all cells.
_SMALL, _FIRST = 1e-8, 0.3
# Variance in units of the mean square that is rounding.
_EQUAL = 1e-24


@dataclass(frozen=True)
class GroupMeans:
    """Means of a treated and a control group.

    Attributes
    ----------
    mean
        Treated and control.
    covariance
        Of the means, shape (2, 2).
    freedom
        Degrees of freedom of their difference; 0 where there are too few replicates for an interval.
    sd
        Standard deviation of a cell of a group.
    cells, units
        Numbers of cells and of replicates (or cells, where these are the unit) in both groups.
    """

    mean: tuple[float, float]
    covariance: Array
    freedom: float
    sd: float
    cells: tuple[int, int]
    units: tuple[int, int]

    @property
    def difference_error(self) -> float:
        """Standard error of the difference."""
        return self.contrast_error(1.0, -1.0)

    def contrast_error(self, *weights: float) -> float:
        """Standard error of a weighted sum of the means."""
        w = np.array(weights)
        return math.sqrt(max(float(w @ self.covariance @ w), 0.0))


@dataclass(frozen=True)
class Components:
    """Variances between replicates, between dishes of one replicate, and between cells of one dish.

    That between dishes may be negative, down to where the means of dishes have none left: cells of a dish are
    then less alike than cells of several. A bound at zero would make intervals too wide.
    """

    replicate: float
    dish: float
    cell: float


@dataclass(frozen=True)
class MixedFit:
    """The mixed model of cells: groups in alphabetical order, their means and the covariance of these.

    ``freedom`` are the degrees of freedom of a difference of means; ``dishes`` the number of each group.
    """

    groups: list[str]
    means: Array
    covariance: Array
    freedom: int
    dishes: list[int]
    variances: Components


def mixed_means(values: ArrayLike, treated: ArrayLike, replicates: Sequence[str]) -> GroupMeans:
    """Means of the treated and the control cells, with cells within replicates.

    Parameters
    ----------
    values
        One for each cell, shape (cells,).
    treated
        Whether it is treated, shape (cells,); both are among them.
    replicates
        Its replicate. One of the same name in both groups is one experiment with two dishes.

    Examples
    --------
    >>> found = mixed_means([1.0, 1.2, 1.1, 1.5, 1.6, 1.3], [0, 0, 0, 1, 1, 1], list("aabccd"))
    >>> found.freedom, found.units
    (2, (2, 2))
    """
    group = np.asarray(treated, dtype=bool)
    fit = mixed_fit(values, np.where(group, "0 treated", "1 control").tolist(), replicates)
    (a, b), c = fit.means.tolist(), fit.variances
    count = (int(group.sum()), int((~group).sum()))
    sd = math.sqrt(c.replicate + c.dish + c.cell)
    return GroupMeans((a, b), fit.covariance, fit.freedom, sd, count, (fit.dishes[0], fit.dishes[1]))


def mixed_fit(values: ArrayLike, groups: Sequence[str], replicates: Sequence[str]) -> MixedFit:
    """Fit the model; parameters as of `mixed_means`, with any number of groups.

    The degrees of freedom are those of the dishes that the groups and, where replicates hold several groups,
    the replicates leave, so that intervals of balanced studies are exact. Without any variation, the
    covariance and the degrees of freedom are zero.

    Examples
    --------
    >>> mixed_fit([1.0, 1.0, 3.0, 3.2], ["a"] * 4, list("wwxx")).variances.cell < 0.02
    True
    """
    y = np.asarray(values, dtype=float)
    labels = np.array([f"{g}\0{r}" for g, r in zip(groups, replicates, strict=True)])
    _, first, dish, sizes = np.unique(labels, return_index=True, return_inverse=True, return_counts=True)
    known, group = np.unique(np.array(groups)[first], return_inverse=True)
    names, shared = np.unique(np.array(replicates)[first], return_inverse=True)
    X, Z = (np.eye(len(k), dtype=np.float64)[i] for k, i in ((known, group), (names, shared)))
    Z = Z if len(names) < len(first) else Z[:, :0]
    mean = np.bincount(dish, y) / sizes
    found = _components(mean, sizes, float(np.sum((y - mean[dish]) ** 2)), X, Z)
    freedom, weight = len(first) - int(np.linalg.matrix_rank(np.hstack([X, Z]))), np.diag(sizes.astype(float))
    if found.cell > 0:
        weight = np.linalg.inv(_variance(found, sizes, Z))
    else:
        freedom = 0
    covariance: Any = np.linalg.inv(X.T @ weight @ X)
    means = covariance @ X.T @ weight @ mean
    covariance = covariance if found.cell > 0 else 0 * covariance
    return MixedFit(known.tolist(), means, covariance, freedom, X.sum(0).astype(int).tolist(), found)


def _variance(c: Components, sizes: NDArray[np.int64], Z: Array) -> Array:
    """Covariance of the means of dishes; a negative variance between them is shared by size."""
    own = c.cell / sizes
    own = own + c.dish if c.dish >= 0 else own * (1 + c.dish * _typical(sizes) / c.cell)
    return c.replicate * Z @ Z.T + np.diag(own)


def _typical(sizes: NDArray[np.int64]) -> float:
    """Harmonic mean of the numbers of cells."""
    return float(1 / np.mean(1 / sizes))


def _components(mean: Array, sizes: NDArray[np.int64], within: float, X: Array, Z: Array) -> Components:
    """Variances of the largest restricted likelihood; where Z is empty, replicates and dishes are one."""
    freedom = float(sizes.sum() - len(sizes))
    fit = X @ np.linalg.lstsq(X, mean, rcond=None)[0]
    scale = (within + float(sizes @ (mean - fit) ** 2)) / max(freedom + len(sizes) - X.shape[1], 1.0)
    if scale <= _EQUAL * float(np.mean(mean**2)):
        return Components(0.0, 0.0, 0.0)
    y, squares = mean / math.sqrt(scale), within / scale

    size = _typical(sizes)

    def of(theta: Array, unit: float = 1.0) -> Components:
        replicate, mean_of_dish, cell = (unit * theta).tolist()
        return Components(replicate, mean_of_dish - cell / size, cell)

    def loss(theta: Array) -> float:
        c = of(theta)
        V = _variance(c, sizes, Z)
        weighted = np.linalg.solve(V, np.column_stack([X, y]))
        information = X.T @ weighted[:, :-1]
        beta = np.linalg.solve(information, X.T @ weighted[:, -1])
        rest = y - X @ beta
        determinants = np.linalg.slogdet(V)[1] + np.linalg.slogdet(information)[1]
        quadratic = float(rest @ (weighted[:, -1] - weighted[:, :-1] @ beta))
        return freedom * math.log(c.cell) + squares / c.cell + determinants + quadratic

    bounds = [(0.0, None if Z.size else 0.0), (_SMALL, None), (_SMALL, None)]
    begin = np.array([_FIRST if Z.size else 0.0, _FIRST, max(squares / max(freedom, 1.0), 1e-3)])
    best = minimize(loss, begin, method="L-BFGS-B", bounds=bounds)
    return of(best.x, scale)
