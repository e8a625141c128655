"""Factors, inverses and ranks of matrices that noise or rounding has touched."""

from __future__ import annotations

import numpy as np
import scipy.linalg as sl
from numpy.typing import NDArray

Array = NDArray[np.float64]

JITTER = 1e-10
"""Share of a matrix's mean eigenvalue that is added where rounding could matter."""

SINGULAR = 1e-11
"""Eigenvalues of a scaled matrix that are none."""


def inverted(covariance: Array) -> Array:
    """Of a covariance, lifted a little."""
    diagonal = np.diag_indices_from(covariance)
    lifted = covariance.copy()
    lifted[diagonal] += JITTER * (lifted[diagonal] + lifted[diagonal].mean())
    lower = np.linalg.cholesky(lifted)
    (invert,) = sl.get_lapack_funcs(("potri",), (lower,))
    found, _ = invert(lower.T, lower=0, overwrite_c=1)
    found = found + found.T  # one triangle is zero
    found[diagonal] /= 2
    return found


def reciprocal(variances: Array) -> Array:
    """Weights; those of rows that vary least are held down, for they may be in error."""
    largest = variances.max()
    if not largest > 0:
        return np.ones_like(variances)
    return 1 / np.maximum(variances, 1e-3 * np.median(variances[variances > 0]))


def factored(matrix: Array, jitter: float = 1e-14) -> Array:
    """Lower Cholesky factor; eigenvalues that an estimate or rounding has made negative are lifted."""
    lift = jitter * np.trace(matrix) / len(matrix) * np.eye(len(matrix))
    try:
        return np.linalg.cholesky(matrix + lift)
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(matrix)
        raised = np.maximum(values, max(jitter, 1e-10) * np.abs(values).max())
        return np.linalg.cholesky((vectors * raised) @ vectors.T)
