"""Waves that stand in a nucleus: eigenfunctions of the Laplacian on a mask, with no flux across its edge.

They are test functions made for a nucleus of any shape. A field with no flux across the edge needs no value
there: in ``integral phi lap(mu) = integral mu lap(phi)`` all that stands at the edge is zero, and ``lap(phi)
= -kappa phi`` again. The first is constant, so that the first row of any weak form is the integral balance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.sparse.linalg import eigsh

Array = NDArray[np.float64]

# Pixels to the shortest wave, and the most waves.
_PIXELS, _MOST = 6.0, 160


@dataclass(frozen=True, eq=False)
class Modes:
    """Eigenfunctions on the pixels of a mask.

    Attributes
    ----------
    inside
        The mask, (x, y).
    spacing
        Side of a pixel.
    values
        kappa of each, from 0, 1/spacing^2, shape (k,).
    functions
        With mean square one over the area, ``integral phi_i phi_j = delta_ij``, shape (pixels, k).
    """

    inside: NDArray[np.bool_]
    spacing: float
    values: Array
    functions: Array

    @property
    def shortest(self) -> float:
        """Wavelength of the last."""
        return 2 * math.pi / math.sqrt(float(self.values[-1]))

    def project(self, values: Array) -> Array:
        """Integrals against every function of values (pixels, ...), shape (k, ...)."""
        return self.spacing**2 * (self.functions.T @ values)

    def gram(self, weight: Array) -> Array:
        """``sum phi_i phi_j weight`` over the pixels times their area squared, shape (k, k)."""
        return self.spacing**4 * ((self.functions * weight[:, None]).T @ self.functions)


def modes(inside: NDArray[np.bool_], spacing: float, shortest: float, most: int = _MOST) -> Modes:
    """The eigenfunctions down to a wavelength; fewer where pixels are coarse or there would be too many.

    The Laplacian of five points is one of finite volumes, and right along straight edges. Its error inside,
    ``spacing^2/12 (d^4/dx^4 + d^4/dy^4)``, is taken away from the eigenvalues on average over all directions.
    How many waves there are is counted by Weyl's law, ``area kappa/(4 pi)`` and for no flux ``perimeter
    sqrt(kappa)/(4 pi)`` more.

    Examples
    --------
    >>> found = modes(np.ones((40, 30), dtype=bool), 1.0, 10.0)
    >>> np.round(np.sqrt(found.values[:3]) / np.pi, 4)  # 0, 1/40, 1/30
    array([0.    , 0.025 , 0.0333])
    >>> bool(np.allclose(found.project(found.functions), np.eye(len(found.values))))
    True
    """
    area = float(inside.sum()) * spacing**2
    root = 2 * math.pi / max(shortest, _PIXELS * spacing)
    perimeter = 2 * math.sqrt(math.pi * area)
    count = round(area * root**2 / (4 * math.pi) + perimeter * root / (4 * math.pi))
    count = min(max(count, 2), most, int(inside.sum()) - 2)
    matrix = -_laplacian(inside).tocsc()
    # A little below zero, where the matrix is regular; the start makes runs alike to the last digit.
    begin = np.random.default_rng(0).standard_normal(matrix.shape[0])
    values, functions = eigsh(matrix, count, sigma=-1e-3 / inside.sum(), which="LM", v0=begin)
    order = np.argsort(values)
    exact = np.maximum(values[order], 0.0)
    exact[0] = 0.0
    exact += exact**2 / 16
    return Modes(inside, spacing, exact / spacing**2, functions[:, order] / spacing)


def _laplacian(inside: NDArray[np.bool_]) -> sp.csr_array:
    """Five-point Laplacian for unit spacing; links that lead out of the mask are cut."""
    number = np.full(inside.shape, -1)
    number[inside] = np.arange(inside.sum())
    rows, columns = [], []
    for a, b in ((number[:-1], number[1:]), (number[:, :-1], number[:, 1:])):
        both = (a >= 0) & (b >= 0)
        rows += [a[both], b[both]]
        columns += [b[both], a[both]]
    place = np.concatenate(rows), np.concatenate(columns)
    size = int(inside.sum())
    links = sp.coo_array((np.ones(len(place[0])), place), shape=(size, size)).tocsr()
    return sp.csr_array(links - sp.diags_array(np.asarray(links.sum(1)).ravel()))
