"""Where fields are observed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mollifier.data.observations import Observations, Samples
from mollifier.mollify.arrays import Array, Index, nearest
from mollifier.mollify.grid import Grid


@dataclass(frozen=True)
class ObservedPlaces:
    """Where the fields are observed: a tensor product of coordinates, or scattered points without repeats.

    >>> ObservedPlaces(("x",), (np.array([0.0, 0.1, 0.2]),), None).index(np.array([[0.2], [0.1]]))
    array([2, 1])
    """

    coordinates: tuple[str, ...]
    axes: tuple[Array, ...] | None
    points: Array | None

    @classmethod
    def of(cls, data: Observations, variables: Sequence[str]) -> ObservedPlaces:
        """The places of all samples of some variables, which share their coordinates."""
        coordinates = data.coordinates_of(variables[0])
        if data.gridded:
            return cls(coordinates, tuple(a.points for a in data.grid(coordinates)), None)
        points = np.concatenate([data.samples(v).points for v in variables])
        return cls(coordinates, None, np.unique(points, axis=0))

    @classmethod
    def at(cls, samples: Samples) -> ObservedPlaces:
        """The places of the given samples."""
        return cls(samples.coordinates, None, np.unique(samples.points, axis=0))

    @property
    def size(self) -> int:
        """Number of places."""
        if self.points is not None:
            return len(self.points)
        return int(np.prod([len(x) for x in self.axes or ()]))

    @property
    def columns(self) -> dict[str, Array]:
        """Coordinate -> where the places are along it, (size,)."""
        if self.points is not None:
            return dict(zip(self.coordinates, self.points.T, strict=True))
        mesh = np.meshgrid(*(self.axes or ()), indexing="ij")
        return {c: x.ravel() for c, x in zip(self.coordinates, mesh, strict=True)}

    def index(self, points: Array) -> Index:
        """Flat index of points (n, d) that are among the places."""
        if self.axes is not None:
            found = [nearest(x, points[:, i]) for i, x in enumerate(self.axes)]
            return np.asarray(np.ravel_multi_index(found, [len(x) for x in self.axes]), dtype=np.intp)
        assert self.points is not None
        order = np.unique(np.concatenate([self.points, points]), axis=0, return_inverse=True)[1].reshape(-1)
        return np.asarray(order[len(self.points) :], dtype=np.intp)

    def scaled(self, grid: Grid) -> Any:
        """The places on [-1, 1] along each axis of a grid, as a derivative backend takes them."""
        at = self.axes if self.points is None else self.points.T
        assert at is not None
        scaled = {a.name: a.scaled(at[self.coordinates.index(a.name)]) for a in grid}
        return scaled if self.points is None else np.stack([*scaled.values()], axis=-1)
