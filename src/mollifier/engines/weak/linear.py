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

# Share of its length by which a direction must leave the others to be one more.
_APART = 0.5


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


def significant(slope: Array, noise: Array, error: float) -> Array:
    """Directions in which the information exceeds its own error, shape (m, k).

    Elsewhere what is left after the noise's share is taken away may be negative, and says nothing.
    """
    values, vectors = np.linalg.eigh(slope)
    share = np.einsum("ik,ij,jk->k", vectors, noise, vectors, optimize=True)
    return vectors[:, values > np.maximum(SINGULAR, error * share)]


def told(kept: Array, information: Array, prior: Array) -> int:
    """Number of directions that are kept, or that further information tells more of than the prior does.

    Parameters
    ----------
    kept
        Directions, shape (m, k).
    information, prior
        Precisions, shape (m, m); the prior's is positive definite.

    Examples
    --------
    >>> told(np.eye(3)[:, :1], np.diag([5.0, 4.0, 0.1]), np.eye(3))
    2
    """
    whiten = sl.solve_triangular(factored(prior), np.eye(len(prior)), lower=True)
    values, vectors = np.linalg.eigh(whiten @ information @ whiten.T)
    more, own = vectors[:, values > 1], np.linalg.qr(whiten @ kept)[0]
    if not more.shape[1]:
        return kept.shape[1]
    apart = np.linalg.svd(more - own @ (own.T @ more), compute_uv=False)
    return kept.shape[1] + int(np.sum(apart > _APART))
