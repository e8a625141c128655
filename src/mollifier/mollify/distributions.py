"""Tails and quantiles of distributions, by SciPy's special functions: `scipy.stats` is slow to import.

An upper quantile is the value that is exceeded with the given probability. Arrays broadcast.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from mollifier.mollify.arrays import Array


def normal_tail(z: ArrayLike) -> Any:
    """Probability that a standard normal variable exceeds z."""
    return special.ndtr(-np.asarray(z))


def normal_upper(p: ArrayLike) -> Any:
    """Upper quantile of a standard normal variable."""
    return -special.ndtri(p)


def chi2_tail(x: ArrayLike, degrees: ArrayLike) -> Any:
    """Probability that chi-square exceeds x."""
    return special.chdtrc(degrees, x)


def chi2_upper(p: ArrayLike, degrees: ArrayLike) -> Any:
    """Upper quantile of chi-square.

    >>> round(float(chi2_upper(0.05, 1)), 2)
    3.84
    """
    return special.chdtri(degrees, p)


def student_tail(t: ArrayLike, degrees: ArrayLike) -> Any:
    """Probability that Student's t exceeds t."""
    return special.stdtr(degrees, -np.asarray(t))


def student_upper(p: ArrayLike, degrees: ArrayLike) -> Any:
    """Upper quantile of Student's t."""
    return -special.stdtrit(degrees, p)


def fisher_upper(p: ArrayLike, degrees: ArrayLike, others: ArrayLike) -> Any:
    """Upper quantile of the ratio of two mean squares, with the degrees of freedom of both."""
    return 1 / special.fdtri(others, degrees, p)


def beta_upper(p: ArrayLike, a: ArrayLike, b: ArrayLike) -> Any:
    """Upper quantile of a beta variable."""
    return special.betainccinv(a, b, p)


def ranks(values: ArrayLike) -> Array:
    """Ranks from 1 on, in the shape of the values (n,); equal values share their mean rank.

    >>> ranks([3.0, 1.0, 3.0]).tolist()
    [2.5, 1.0, 2.5]
    """
    _, where, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[where]
