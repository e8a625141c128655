"""Voronoi cells of points in a rectangle: their areas, and the density at the points."""

from __future__ import annotations

import numpy as np
from scipy.spatial import Delaunay, KDTree, QhullError

from mollifier.errors import DataError
from mollifier.mollify.arrays import Array

_SIDE_SAMPLES = 2_000


def cell_areas(x: Array, y: Array, bounds: tuple[float, float, float, float]) -> Array:
    """Areas of the Voronoi cells, clipped to the rectangle (x0, x1, y0, y1), shape (n,).

    Points near a side are mirrored in it, which makes the side an edge of their cells. The area of a cell is
    1/8 sum |p_i - p_j|^2 (cot a + cot b), with the angles a, b opposite the edge ij in the Delaunay
    triangulation (Meyer et al., Visualization and Mathematics III, 2003). Raises `DataError` if there are
    fewer than three points, or all lie on a line or outside the rectangle.

    >>> cell_areas(np.array([1.0, 3.0, 1.0]), np.array([1.0, 1.0, 3.0]), (0, 4, 0, 4)).sum().round(6)
    np.float64(16.0)
    """
    points = np.stack([x, y], axis=1)
    if len(points) < 3:
        raise DataError(f"{len(points)} positions were given; Voronoi cells need at least three.")
    try:
        mesh = Delaunay(np.concatenate([points, *_mirrored(points, bounds)]))
    except QhullError as error:
        why = str(error).splitlines()[0]
        raise DataError(f"The positions have no Voronoi cells ({why}); do they lie on a line?") from error
    return _areas(mesh)[: len(points)]


def _areas(mesh: Delaunay) -> Array:
    """Areas of the Voronoi cells of a triangulation, shape (n,)."""
    corner = mesh.points[mesh.simplices]
    area = np.zeros(len(mesh.points))
    for k in range(3):
        here, left, right = corner[:, k], corner[:, (k + 1) % 3], corner[:, (k + 2) % 3]
        a, b = left - here, right - here
        twice = np.maximum(np.abs(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]), np.finfo(float).tiny)
        share = np.einsum("ij,ij->i", a, b) / twice * np.sum((left - right) ** 2, axis=1) / 8
        for j in (1, 2):
            area += np.bincount(mesh.simplices[:, (k + j) % 3], share, area.size)
    return area


def _mirrored(points: Array, bounds: tuple[float, float, float, float]) -> list[Array]:
    """Mirror images in each side of the points whose cell may reach it."""
    tree, images = KDTree(points), []
    for side, place in enumerate(bounds):
        axis = side // 2
        low, high = bounds[2 - 2 * axis : 4 - 2 * axis]
        along = np.linspace(low, high, _SIDE_SAMPLES)
        edge = np.empty((along.size, 2))
        edge[:, axis], edge[:, 1 - axis] = place, along
        # A cell reaches the side only if its point is no farther than the nearest point of some place there.
        reach = float(tree.query(edge)[0].max()) + (high - low) / _SIDE_SAMPLES
        # The sides of the second axis mirror the images in the first, which closes the corners.
        every = np.concatenate([points, *images]) if axis else points
        image = every[np.abs(every[:, axis] - place) <= reach].copy()
        image[:, axis] = 2 * place - image[:, axis]
        # A point on the side has no separate image.
        images.append(image[np.abs(image[:, axis] - place) > 1e-9 * (high - low)])
    return images


def point_density(x: Array, y: Array) -> Array:
    """Density at each position, the inverse area of its Voronoi cell in the box of all, shape (n,).

    >>> x, y = (c.ravel().astype(float) for c in np.mgrid[:20, :20])
    >>> float(np.median(point_density(x, y)).round(6))
    1.0
    """
    place, which, count = np.unique(np.stack([x, y], axis=1), axis=0, return_inverse=True, return_counts=True)
    box = float(x.min()), float(x.max()), float(y.min()), float(y.max())
    area = cell_areas(place[:, 0], place[:, 1], box)
    return (count / np.maximum(area, 1e-12 * float(np.median(area))))[which.ravel()]
