"""Neumann eigenfunctions of the Laplacian on the mask of a nucleus, the test functions of the weak form.

They suit a nucleus of any shape: with no flux across the edge, the boundary terms of ``integral phi lap(mu) =
integral mu lap(phi)`` vanish, and ``lap(phi) = -kappa phi``. The first is constant, so that the first row of
the weak form is the integral balance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg as sl
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, map_coordinates
from scipy.sparse.linalg import eigsh

from mollifier.chromatin.rasters import laplacian

Array = NDArray[np.float64]

# Fewest pixels in the shortest wavelength, and the largest number of modes.
_PIXELS, _MOST = 6.0, 160
# Pixels in the shortest wavelength that are enough, and pixels of a nucleus above which blocks of pixels
# serve where there are twice as many: the time grows with the square of their number.
_ENOUGH, _MANY = 13.0, 12_000


@dataclass(frozen=True, eq=False)
class Modes:
    """Eigenfunctions on the pixels of a mask."""

    inside: NDArray[np.bool_]  #: The mask, (x, y).
    spacing: float  #: Side of a pixel, in any unit of length.
    values: Array  #: Eigenvalues kappa in 1/length^2, increasing from 0, shape (k,).
    functions: Array  #: Orthonormal, ``integral phi_i phi_j = delta_ij``, shape (pixels, k).
    #: The block of each pixel and the functions on blocks, (blocks, k), where they were computed on blocks.
    blocks: tuple[NDArray[np.intp], Array] | None = None

    @property
    def shortest(self) -> float:
        """Wavelength of the last mode."""
        return 2 * math.pi / math.sqrt(float(self.values[-1]))

    def project(self, values: Array) -> Array:
        """Integrals of values (pixels, ...) times each mode, shape (k, ...)."""
        return self.spacing**2 * (self.functions.T @ values)

    def gram(self, weight: Array) -> Array:
        """``sum phi_i phi_j weight`` over the pixels times their area squared, shape (k, k).

        On blocks the weight is summed over each: the functions hardly vary within one.
        """
        functions = self.functions
        if self.blocks is not None:
            index, functions = self.blocks
            weight = np.bincount(index, weight, len(functions)).astype(np.float64)
        return self.spacing**4 * ((functions * weight[:, None]).T @ functions)


def modes(inside: NDArray[np.bool_], spacing: float, shortest: float, most: int = _MOST) -> Modes:
    """The eigenfunctions down to a wavelength; fewer on coarse pixels or above ``most``.

    The five-point Laplacian is a finite-volume scheme. Its leading error, ``spacing^2/12 (d^4/dx^4 +
    d^4/dy^4)``, is subtracted from the eigenvalues, averaged over all directions. The number of modes follows
    from Weyl's law for Neumann conditions, ``area kappa/(4 pi) + perimeter sqrt(kappa)/(4 pi)``. Where pixels
    are much finer than the shortest wavelength, as in a large nucleus, the functions are computed on blocks
    of pixels and interpolated.

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
    coarser = int(math.sqrt(math.pi * area / count) / spacing / _ENOUGH)
    if coarser > 1 and inside.sum() > _MANY:
        return _interpolated(
            inside, spacing, modes(_blocks(inside, coarser), coarser * spacing, shortest, count)
        )
    matrix = -laplacian(inside, 1.0).tocsc()
    # The shift lies below zero, where the matrix is regular; a fixed start makes runs reproducible.
    begin = np.random.default_rng(0).standard_normal(matrix.shape[0])
    values, functions = eigsh(matrix, count, sigma=-1e-3 / inside.sum(), which="LM", v0=begin)
    order = np.argsort(values)
    exact = np.maximum(values[order], 0.0)
    exact[0] = 0.0
    exact += exact**2 / 16
    return Modes(inside, spacing, exact / spacing**2, functions[:, order] / spacing)


def _blocks(inside: NDArray[np.bool_], size: int) -> NDArray[np.bool_]:
    """Blocks of pixels of which half or more are inside."""
    wide = np.pad(inside, [(0, -n % size) for n in inside.shape])
    return wide.reshape(wide.shape[0] // size, size, wide.shape[1] // size, size).mean((1, 3)) >= 0.5


def _interpolated(inside: NDArray[np.bool_], spacing: float, found: Modes) -> Modes:
    """The functions on finer pixels, interpolated linearly and made orthonormal there."""
    size = round(found.spacing / spacing)
    near: Any = distance_transform_edt(~found.inside, return_distances=False, return_indices=True)
    place = (np.stack(np.nonzero(inside)) + 0.5) / size - 0.5
    functions = np.empty((place.shape[1], len(found.values)))
    full = np.zeros(found.inside.shape)
    for k, values in enumerate(found.functions.T):
        full[found.inside] = values
        functions[:, k] = map_coordinates(full[tuple(near)], place, order=1, mode="nearest")
    root = sl.cholesky(spacing**2 * functions.T @ functions, lower=True)
    functions = sl.solve_triangular(root, functions.T, lower=True).T
    number = np.cumsum(found.inside).reshape(found.inside.shape) - 1
    i, j = (np.nonzero(inside)[axis] // size for axis in (0, 1))
    return Modes(inside, spacing, found.values, functions, (number[tuple(near)][i, j], found.functions))
