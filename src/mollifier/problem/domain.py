"""Domains of any shape: where in the box of the data the equation holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from mollifier.data.observations import Observations
from mollifier.data.outlines import checked_rings
from mollifier.equations.build import listed
from mollifier.equations.lower import ArrayFunction
from mollifier.equations.names import time_coordinate
from mollifier.equations.system import EquationSystem
from mollifier.errors import ConfigurationError, check_known
from mollifier.mollify.arrays import Array, Mask
from mollifier.mollify.grid import Axis, Grid
from mollifier.problem import shapes
from mollifier.problem.shapes import Shape, is_path
from mollifier.problem.unknowns import as_names

_PLANES = (("x", "y"), ("lon", "lat"), ("longitude", "latitude"))


@dataclass(frozen=True, eq=False)
class Domain:
    """The part of the box of the data in which the equation holds; all that is given must hold there.

    Data outside are left out, the equation is imposed inside only, and fields are NaN outside.

    Parameters
    ----------
    inside
        Inequalities between expressions of the coordinates, one or several: ``"x^2 + y^2 < 1"``,
        ``["0.3 < x", "x < 2*t"]``. Constants of the problem may occur.
    polygon
        A GeoJSON file, a table with one vertex a row, or vertices (n, 2), or a list of these. A ring inside
        another is a hole.
    mask
        A variable of the data (a place is as the nearest node or sample), a file with one variable over its
        coordinates, a TIFF image or an array on the grid of the data, or a labelled array: zero, false or
        missing outside.
    label
        The value of the mask that is the domain; all but zero by default.
    over
        Coordinates of polygon vertices and of a mask without labels; by default those in space.

    Raises
    ------
    ConfigurationError
        If nothing is given, or a label without a mask.

    Examples
    --------
    >>> str(Domain(inside=["x^2 + y^2 < 1", "x > 0 > y"]))
    'x^2 + y^2 < 1, x > 0 > y'
    >>> str(Domain(polygon=[[0, 0], [2, 0], [2, 1], [1, 1], [1, 2], [0, 2]]))
    'a polygon (1 ring, 6 vertices)'
    """

    inside: str | Sequence[str] | None = None
    polygon: Any = None
    mask: Any = None
    label: int | None = None
    over: Sequence[str] | None = None

    def __post_init__(self) -> None:
        if (self.inside is None or not len(listed(self.inside))) and self.polygon is self.mask is None:
            raise ConfigurationError(
                "A domain was given without a shape; inside='x^2 + y^2 < 1', a polygon or a mask was "
                "expected."
            )
        if self.label is not None and self.mask is None:
            raise ConfigurationError(f"label={self.label!r} was given without a mask.")

    def __str__(self) -> str:
        found = [] if self.inside is None else [str(t) for t in listed(self.inside)]
        if self.polygon is not None:
            rings = [] if is_path(self.polygon) else shapes.as_rings(self.polygon)
            count = f"{len(rings)} ring{'s' * (len(rings) != 1)}, {sum(map(len, rings))} vertices"
            found.append(f"the polygon {self.polygon}" if not rings else f"a polygon ({count})")
        if self.mask is not None:
            named = f"the mask {self.mask}" if is_path(self.mask) else "a mask"
            found.append(named if self.label is None else f"{named} = {self.label}")
        return ", ".join(found)

    def of(self, data: Observations, constants: Mapping[str, float]) -> Interior:
        """The domain over the coordinates of some data.

        Raises
        ------
        ConfigurationError
            If an inequality cannot be read, or a polygon or a mask does not fit the coordinates.
        DataError
            If a file cannot be read.
        """
        found: list[Shape] = []
        if self.inside is not None:
            for text in listed(self.inside):
                found += shapes.inequalities(text, data, constants)
        if self.polygon is not None:
            names = self._over(data)
            if len(set(names)) != 2 or len(names) != 2:
                raise ConfigurationError(
                    f"A polygon lies in a plane, and the data vary in space over {', '.join(names)}; name "
                    "its two coordinates, as in Domain(polygon=..., over=('x', 'y'))."
                )
            rings = checked_rings(shapes.as_rings(self.polygon, names), "The domain")
            found.append(shapes.polygonal(names, rings))
        if self.mask is not None:
            if isinstance(self.mask, str) and self.mask in data.variables and not data.gridded:
                found.append(shapes.marked(data, self.mask, self._over(data), self.label))
            else:
                found.append(shapes.masked(self._labelled(data), self.label))
        return Interior(tuple(found), str(self))

    def _over(self, data: Observations) -> tuple[str, ...]:
        """The coordinates of vertices."""
        if self.over is not None:
            over = as_names("over", self.over, "['x', 'y']")
            text = "The domain is over '{}', not a coordinate of the data."
            check_known(over, data.coordinates, ConfigurationError, text)
            return over
        named = [plane for plane in _PLANES if set(plane) <= set(data.coordinates)]
        time = time_coordinate(data.coordinates, data.units)
        return named[0] if named else tuple(c for c in data.coordinates if c != time)

    def _labelled(self, data: Observations) -> xr.DataArray:
        """The mask over its coordinates."""
        mask = self.mask
        if isinstance(mask, str) and mask in data.variables:
            mask = data.dataset[mask]
        elif is_path(mask):
            file = Path(mask)
            if not file.suffix:
                text = "The mask '{}' of the domain is no variable of the data and no file."
                check_known(str(mask), data.variables, ConfigurationError, text)
            if file.suffix.lower() in shapes.IMAGES:
                mask = shapes.on_grid(shapes.read_image(file), self._over(data), data, True)
            else:
                mask = shapes.read_mask(file)
        if not isinstance(mask, xr.DataArray):
            mask = shapes.on_grid(np.asarray(mask), self._over(data), data)
        unknown = [d for d in map(str, mask.dims) if d not in data.coordinates]
        if unknown or not mask.dims:
            raise ConfigurationError(
                f"The mask of the domain varies over {', '.join(map(str, mask.dims)) or 'nothing'}; some of "
                f"{', '.join(data.coordinates)} were expected."
            )
        for d in mask.dims:
            if d not in mask.coords:
                if not data.gridded or mask.sizes[d] != data.dataset.sizes[d]:
                    raise ConfigurationError(
                        f"The mask of the domain has {mask.sizes[d]} nodes along '{d}' without places, as in "
                        f"DataArray(mask, {{'{d}': places, ...}}); the data have other nodes."
                    )
                mask = mask.assign_coords({d: data.dataset[d].values})
        return mask


@dataclass(frozen=True, eq=False)
class Interior:
    """A domain over the coordinates of a problem: where all its shapes hold."""

    shapes: tuple[Shape, ...]
    name: str

    @property
    def described(self) -> list[str]:
        """Its shapes in words, with digests."""
        return [s.text for s in self.shapes]

    def coordinates(self, data: Observations) -> tuple[str, ...]:
        """Those that it depends on, in the order of the data."""
        held = {c for s in self.shapes for c in s.coordinates}
        return tuple(c for c in data.coordinates if c in held)

    def contains(self, points: Mapping[str, Array]) -> Mask:
        """Which places lie inside: coordinate -> values (n,)."""
        found = [s.holds(np.stack([points[c] for c in s.coordinates], axis=1)) for s in self.shapes]
        return np.asarray(np.all(found, axis=0), dtype=np.bool_)

    def on(self, grid: Grid) -> Mask:
        """Which nodes of a grid lie inside, in its shape."""
        held = np.ones(grid.shape, dtype=np.bool_)
        for s in self.shapes:
            part = grid.subgrid(s.coordinates)
            points = dict(zip(part.names, part.coords().T, strict=True))
            found = s.holds(np.stack([points[c] for c in s.coordinates], axis=1))
            held &= found.reshape([a.size if a.name in s.coordinates else 1 for a in grid])
        return held

    def masked(self, fields: xr.Dataset, grid: Grid) -> xr.Dataset:
        """Fields on a grid, or on a part of its coordinates, NaN at nodes where they are outside."""
        return masked(fields, xr.DataArray(self.on(grid), dims=grid.names))

    def restricted(self, data: Observations) -> Observations:
        """The data inside; the box is theirs; `ConfigurationError` if there are none."""
        names = self.coordinates(data)
        if data.gridded:
            grid = data.grid(names)
            keep = xr.DataArray(self.on(grid), {c: data.dataset[c] for c in names}, names)
            places = {c: data.dataset[c].values[keep.any([d for d in names if d != c])] for c in names}
        else:
            points = {c: np.asarray(data.dataset[c].values, dtype=float) for c in names}
            inner = self.contains(points)
            keep = xr.DataArray(inner, dims=data.dataset[names[0]].dims)
            places = {c: x[inner] for c, x in points.items()}
        if not bool(keep.any()):
            raise ConfigurationError(
                f"No data lie inside the domain ({self.name}): see whether both have the same unit and "
                "origin."
            )
        if bool(keep.all()):
            return data
        share = 100 * float(1 - keep.mean())
        kept = data.mask(keep, f"{share:.2g} % of the places lie outside the domain ({self.name})")
        return kept.window(**{c: (float(x.min()), float(x.max())) for c, x in places.items()})


def masked(fields: xr.Dataset, held: xr.DataArray) -> xr.Dataset:
    """Fields, or functions of some of their coordinates, NaN where they do not hold."""

    def cut(v: xr.DataArray) -> xr.DataArray:
        over = held.any([d for d in held.dims if d not in v.dims])
        return v.where(over).transpose(*v.dims) if set(over.dims) & set(v.dims) else v

    return fields.map(cut)


# Nodes along an axis on which scattered places are judged, by the number of coordinates.
_SEARCH_NODES = {1: 1001, 2: 201}


def check_edges(system: EquationSystem, interior: Interior | None, data: Observations) -> None:
    """Refuse a domain that holds places where a coefficient of a derivative jumps: the state has a kink."""
    for edge in system.edges:
        held = {str(s) for s in edge.free_symbols} | set(interior.coordinates(data) if interior else ())
        names = tuple(c for c in data.coordinates if c in held)
        count = _SEARCH_NODES.get(len(names), 41)
        grid = data.grid(names) if data.gridded else Grid(*(Axis(c, *data.bounds[c], count) for c in names))
        points = dict(zip(names, np.meshgrid(*(a.points for a in grid), indexing="ij"), strict=True))
        side = np.sign(np.broadcast_to(ArrayFunction(edge)(points), grid.shape))
        side = np.where(interior.on(grid), side, np.nan) if interior else side
        if any((np.abs(np.diff(side, axis=a)) > 0).any() for a in range(side.ndim)):
            raise ConfigurationError(
                f"A coefficient jumps where {edge} = 0, and there the state has a kink. Leave out a band "
                f"that holds a node or more, as domain={{'inside': 'max({edge}, -({edge})) > 0.03'}}: on "
                "either side of it the equation holds."
            )
