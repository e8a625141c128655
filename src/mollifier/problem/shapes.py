"""Shapes that a domain is made of: inequalities, polygons, masks; each tells which places it holds."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.spatial import KDTree

from mollifier.data.observations import Observations
from mollifier.data.outlines import GEOJSON, geojson_rings, inside
from mollifier.data.read import read
from mollifier.data.readers.tiff import open_tiff
from mollifier.data.text_tables import read_layout, split_header
from mollifier.equations.algebra import Algebra
from mollifier.equations.build import TreeBuilder
from mollifier.equations.lower import ArrayFunction
from mollifier.equations.names import Names
from mollifier.equations.syntax import read as statements
from mollifier.errors import ConfigurationError, EquationError
from mollifier.io.files import require_file
from mollifier.mollify.arrays import Array, Mask, nearest

IMAGES = (".tif", ".tiff")  #: Suffixes of images.
_COMPARED = re.compile(r"<=?|>=?")


@dataclass(frozen=True, eq=False)
class Shape:
    """Where one condition on the place holds: points (n, d) over its coordinates -> whether it does, (n,).

    The text says what it is, with a digest of what a text does not hold.
    """

    coordinates: tuple[str, ...]
    holds: Callable[[Array], Mask]
    text: str


def inequalities(text: Any, data: Observations, constants: Mapping[str, float]) -> Iterator[Shape]:
    """One shape for each comparison of a text."""
    example = "an inequality between expressions of the coordinates was expected, as in 'x^2 + y^2 < 1'."
    if not isinstance(text, str) or not _COMPARED.search(text):
        raise ConfigurationError(f"The domain was given as inside={text!r}; {example}")
    sides, signs = _COMPARED.split(text), _COMPARED.findall(text)
    builder = Algebra(Names(data.coordinates, constants=constants))
    try:
        parsed = [_expression(side, builder) for side in sides]
    except EquationError as error:
        raise ConfigurationError(f"The domain was given as inside='{text}'; {example} {error}") from None
    for left, right, sign in zip(parsed, parsed[1:], signs, strict=False):
        lower, upper = (left, right) if sign[0] == "<" else (right, left)
        level = ArrayFunction(lower - upper)
        if not level.symbols:
            raise ConfigurationError(f"The domain was given as inside='{text}'; {example}")
        yield Shape(level.symbols, _below_zero(level), f"{lower} <= {upper}")


def polygonal(names: tuple[str, ...], rings: Sequence[Array]) -> Shape:
    """The inside of rings over two coordinates."""
    return Shape(names, lambda p: inside(rings, p), f"polygon {digest(*rings)}")


def _expression(text: str, algebra: Algebra) -> Any:
    found = statements(text)
    if len(found) != 1 or found[0].right is not None:
        raise EquationError(f"One expression was expected:\n  {text}")
    return TreeBuilder(text, algebra).residual(found[0])


def _below_zero(level: ArrayFunction) -> Callable[[Array], Mask]:
    def holds(points: Array) -> Mask:
        with np.errstate(all="ignore"):
            value = level(dict(zip(level.symbols, points.T, strict=True)))
        return np.broadcast_to(np.asarray(value) <= 0, len(points))  # what is no number is outside

    return holds


def _inner(mask: xr.DataArray, label: int | None) -> Mask:
    """Where a mask has the label, or any."""
    if mask.dtype.kind not in "biuf" or not isinstance(label, int | np.integer | None):
        kind = f"has values of type {mask.dtype}" if mask.dtype.kind not in "biuf" else f"has {label=}"
        raise ConfigurationError(f"The mask of the domain {kind}; numbers or booleans were expected.")
    values = np.nan_to_num(np.asarray(mask.values, dtype=float))
    inner = values != 0 if label is None else values == label
    if not inner.any():
        present = ", ".join(f"{v:g}" for v in np.unique(values)[:12])
        raise ConfigurationError(
            f"The mask of the domain is {label if label is not None else 'not zero'} nowhere; its values "
            f"are {present}."
        )
    return inner


def marked(data: Observations, variable: str, names: tuple[str, ...], label: int | None) -> Shape:
    """A mark on scattered samples as a shape: a place is as the nearest sample."""
    inner = _inner(data.dataset[variable], label)
    places = np.stack([np.asarray(data.dataset[c].values, dtype=float) for c in names], axis=1)
    length = np.ptp(places, axis=0)
    tree = KDTree(places / length)
    return Shape(names, lambda p: inner[tree.query(p / length)[1]], f"mask {digest(places, inner)}")


def masked(mask: xr.DataArray, label: int | None) -> Shape:
    """A mask on a grid as a shape: a place is as the nearest node, and outside beyond its ends."""
    inner, names = _inner(mask, label), tuple(map(str, mask.dims))
    axes = [np.asarray(mask[c].values, dtype=float) for c in names]
    order = [np.argsort(x) for x in axes]
    inner = inner[np.ix_(*order)]
    axes = [x[i] for x, i in zip(axes, order, strict=True)]

    def holds(points: Array) -> Mask:
        index, within = [], np.ones(len(points), dtype=bool)
        for x, nodes in zip(points.T, axes, strict=True):
            index.append(nearest(nodes, x))
            ends = nodes[[0, -1]] if len(nodes) < 2 else 1.5 * nodes[[0, -1]] - 0.5 * nodes[[1, -2]]
            within &= (x >= ends[0]) & (x <= ends[1])
        return within & inner[tuple(index)]

    return Shape(names, holds, f"mask {digest(*axes, inner)}")


def on_grid(mask: NDArray[Any], over: Sequence[str], data: Observations, image: bool = False) -> xr.DataArray:
    """An array without labels on the grid of the data; an image has y before x."""
    names = next((n for n in (tuple(over), data.coordinates) if len(n) == mask.ndim), ())
    if data.gridded and names:
        sizes = tuple(data.dataset.sizes[c] for c in names)
        if not image and mask.ndim > 1 and len(set(mask.shape)) < mask.ndim and mask.shape == sizes:
            raise ConfigurationError(
                f"The mask of the domain has the shape {mask.shape}, which does not say which axis is which; "
                f"a labelled array was expected, as DataArray(mask, dims={list(names)})."
            )
        for dims in (names[::-1], names) if names == ("x", "y") else (names,):
            if mask.shape == tuple(data.dataset.sizes[c] for c in dims):
                return xr.DataArray(mask, {c: data.dataset[c] for c in dims}, dims)
        expected = f"the shape {sizes} of the data over {', '.join(names)}"
    else:
        expected = "a labelled array, as data are scattered" if not data.gridded else "fewer dimensions"
    raise ConfigurationError(f"The mask of the domain has the shape {mask.shape}; {expected} was expected.")


def read_image(file: Path) -> NDArray[Any]:
    """The pixels of a TIFF."""
    require_file(file)
    return open_tiff(file).array


def read_mask(file: Path) -> xr.DataArray:
    """The mask in a file of arrays or a table that fills a grid."""
    found = read(file)
    if len(found.variables) != 1 or not found.gridded:
        raise ConfigurationError(
            f"The mask '{file}' holds the variables {', '.join(found.variables)}"
            f"{'' if found.gridded else ' at scattered places'}; one variable on a grid was expected."
        )
    return found.dataset[found.variables[0]]


def is_path(given: Any) -> bool:
    """Whether something names a file or a variable."""
    return isinstance(given, str | Path)


def read_rings(file: Any, names: Sequence[str]) -> list[Array]:
    """Rings from GeoJSON, or one from a table: columns named as coordinates, else the first two."""
    path = Path(file)
    require_file(path)
    if path.suffix.lower() in GEOJSON:
        return geojson_rings(path)
    table = read_layout(path)
    columns = [split_header(n)[0] for n in table.names or ()]
    if table.width < len(names):
        raise ConfigurationError(f"The polygon '{path}' has {table.width} column; x and y were expected.")
    chosen = [columns.index(c) if c in columns else k for k, c in enumerate(names)]
    vertices = table.numbers({c: i for c, i in zip(names, chosen, strict=True)})
    return [np.stack([vertices[c] for c in names], axis=1)]


def as_rings(given: Any, names: Sequence[str] = ()) -> list[Array]:
    """Rings of a file over two coordinates, or from vertices (n, 2), or several rings of them."""
    if is_path(given):
        return read_rings(given, names)
    try:
        several = np.ndim(given[0]) == 2
        rings = [np.asarray(r, dtype=np.float64) for r in (given if several else [given])]
    except (TypeError, ValueError, KeyError, IndexError):
        rings = []
    if not rings or any(r.ndim != 2 or r.shape[1] != 2 for r in rings):
        raise ConfigurationError(
            "The polygon of the domain was given as neither a file nor vertices; pairs of numbers were "
            "expected, as in [[0, 0], [2, 0], [2, 1]], or a list of rings."
        )
    return rings


def digest(*arrays: NDArray[Any]) -> str:
    """A short digest of arrays."""
    found = hashlib.sha256()
    for a in arrays:
        found.update(np.ascontiguousarray(a).tobytes())
    return found.hexdigest()[:12]
