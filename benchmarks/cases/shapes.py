"""Steady flow in a ring and in an L: an unknown conductivity from scattered temperatures, and from places of
the edge where it was measured. Finite volumes in polar and in Cartesian cells; measured are their centres."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import xarray as xr
from numpy.typing import NDArray
from scipy.sparse.linalg import spsolve

from benchmarks.cases.base import Case
from benchmarks.cases.store import simulated
from mollifier.data.observations import Observations
from mollifier.problem.domain import Domain
from mollifier.problem.unknowns import FieldUnknown

Array = NDArray[np.float64]

# Cells kept as places of measurements, and nodes of the truth along each side of the box.
_PLACES, _NODES = 20_000, 40


@dataclass(frozen=True)
class Shape:
    """A domain in the square [-1, 1]^2.

    Attributes
    ----------
    domain
        As the problem has it.
    lobes
        Centres (x, y) of a rise of 0.5 and a fall of 0.35 of the conductivity, which is 1 elsewhere.
    edge
        Places of the edge at which it was measured, shape (n, 2).
    temperature
        On the edge, of x and y.
    polar
        Whether it is simulated in polar cells, of the ring 0.3 < r < 1; else in squares.
    """

    domain: Domain
    lobes: tuple[tuple[float, float], tuple[float, float]]
    edge: Array
    temperature: Callable[[Array, Array], Array]
    polar: bool = False

    def conductivity(self, x: Array, y: Array) -> Array:
        """The true k."""
        (a, b), (c, d) = self.lobes
        rise, fall = (x - a) ** 2 + (y - b) ** 2, (x - c) ** 2 + (y - d) ** 2
        return 1 + 0.5 * np.exp(-rise / 0.08) - 0.35 * np.exp(-fall / 0.08)


def _circle(places: int) -> Array:
    angle = np.linspace(0, 2 * np.pi, places, endpoint=False)
    return 0.999 * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def _sides(places: int) -> Array:
    """Places along the outer sides of the L, about so many."""
    along = np.linspace(-1, 1, places // 3)
    low, half = np.full_like(along, -0.999), along[along <= 0]
    high = np.full_like(half, 0.999)
    sides = (along, low), (low[1:], along[1:]), (high, half), (half, high)
    return np.concatenate([np.stack(s, axis=1) for s in sides])


def _round(x: Array, y: Array) -> Array:
    """1 on the inner edge of the ring, 0.3 cos(angle) on the outer one."""
    r = np.hypot(x, y)
    return np.where(r < 0.5, 1.0, 0.3 * x / r)


def _singular(x: Array, y: Array) -> Array:
    """Such that the temperature is as r^(2/3) at the corner that points inwards."""
    notch = np.where(np.minimum(x, y) > -1e-9, 0.4 * (1 - np.maximum(x, y)), 0.0)
    return 1.2 * (x - y) + 0.2 * x * y + notch


SHAPES = {
    "ring": Shape(
        Domain(inside="0.3^2 < x^2 + y^2 < 1"), ((0.5, 0.3), (-0.5, -0.2)), _circle(60), _round, polar=True
    ),
    "l-shape": Shape(
        Domain(polygon=[[-1, -1], [1, -1], [1, 0], [0, 0], [0, 1], [-1, 1]]),
        ((0.5, -0.5), (-0.5, 0.2)),
        _sides(50),
        _singular,
    ),
}


def simulate(shape: str, cells: int = 400) -> xr.Dataset:
    """Temperatures in cells drawn with a chance in proportion to their area.

    Parameters
    ----------
    shape
        Of `SHAPES`.
    cells
        Along each side of the box; the ring has 0.4 and 0.8 times as many along radius and angle.
    """
    own = SHAPES[shape]
    ends = ((0.3, 1, 2 * cells // 5), (0, 2 * np.pi, 4 * cells // 5)) if own.polar else ((-1, 1, cells),) * 2
    p, q = (np.linspace(low, high, n + 1) for low, high, n in ends)
    middle = (p[1:] + p[:-1]) / 2, (q[1:] + q[:-1]) / 2

    def at(p: Array, q: Array) -> tuple[Array, Array]:
        a, b = np.meshgrid(p, q, indexing="ij")
        return (a * np.cos(b), a * np.sin(b)) if own.polar else (a, b)

    (x, y), faces = at(*middle), (at(p, middle[1]), at(middle[0], q))
    across, along = (v[:, None] if own.polar else 1.0 for v in (p, middle[0]))  # length of a unit of q
    ratio = (q[1] - q[0]) / (p[1] - p[0])
    inside = (x < 0) | (y < 0) | own.polar
    linked = own.conductivity(*faces[0]) * across * ratio, own.conductivity(*faces[1]) / along / ratio
    u = finite_volumes(inside, linked, [own.temperature(*f) for f in faces], (False, own.polar))
    area = np.where(inside, along, 0.0).ravel()
    kept = np.random.default_rng(0).choice(x.size, _PLACES, replace=False, p=area / area.sum())
    places = {n: ("point", v.ravel()[kept]) for n, v in (("x", x), ("y", y))}
    return xr.Dataset({"u": ("point", u.ravel()[kept])}, places)


def finite_volumes(
    inside: NDArray[np.bool_], linked: Sequence[Array], known: Sequence[Array], periodic: Sequence[bool]
) -> Array:
    """Temperatures in the cells inside, shape (n, m): the flows through the faces of each sum to zero.

    Parameters
    ----------
    inside
        Which cells belong to the domain, shape (n, m).
    linked, known
        By axis: conductance between the centres on either side of each face, and the temperature of the face
        where it is one of the edge, shapes (n + 1, m) and (n, m + 1).
    periodic
        By axis, whether the first face is the last.
    """
    number = np.full(inside.shape, -1)
    number[inside] = np.arange(inside.sum())
    matrix, right = sp.csc_array((inside.sum(),) * 2), np.zeros(inside.sum())
    for axis, wraps in enumerate(periodic):
        sides = [(int(a == axis), int(a == axis)) for a in (0, 1)]
        wide = np.pad(number, sides, "wrap") if wraps else np.pad(number, sides, constant_values=-1)
        faces = np.arange(number.shape[axis] + (not wraps))
        low, high = (np.take(wide, faces + i, axis).ravel() for i in (0, 1))
        weight, value = (np.take(v[axis], faces, axis).ravel() for v in (linked, known))
        both, edge = (low >= 0) & (high >= 0), (low >= 0) != (high >= 0)
        here, w = np.maximum(low, high)[edge], 2 * weight[edge]
        rows = np.concatenate([low[both], high[both], low[both], high[both], here])
        columns = np.concatenate([low[both], high[both], high[both], low[both], here])
        values = np.concatenate([*(s * weight[both] for s in (1, 1, -1, -1)), w])
        matrix = matrix + sp.csc_array((values, (rows, columns)), shape=matrix.shape)
        np.add.at(right, here, w * value[edge])
    found = np.full(inside.shape, np.nan)
    found[inside] = spsolve(matrix, right)
    return found


def build(shape: str = "l-shape", near: float | None = None) -> Case:
    """The case.

    Parameters
    ----------
    shape
        Of `SHAPES`.
    near
        Distance from the origin within which k is judged; everywhere by default.
    """
    own = SHAPES[shape]
    nodes = (np.arange(_NODES) + 0.5) * 2 / _NODES - 1
    x, y = np.meshgrid(nodes, nodes, indexing="ij")
    clean = simulated("shapes", simulate, shape=shape)
    judged = own.domain.of(Observations.from_dataset(clean), {}).contains({"x": x.ravel(), "y": y.ravel()})
    judged = judged.reshape(x.shape) & (np.hypot(x, y) < (near or np.inf))
    truth = xr.DataArray(
        np.where(judged, own.conductivity(x, y), np.nan), {"x": nodes, "y": nodes}, ("x", "y")
    )
    a, b = own.edge.T
    edge = Observations({"k": own.conductivity(a, b)}, {"x": a, "y": b}, noise={"k": 0.01})
    return Case(
        name=shape,
        title=f"Conductivity in a {shape} from scattered temperatures",
        equation="0 = div(k*grad(u))",
        unknowns={"k": FieldUnknown(over=("x", "y"), lower=0.0, measurements=edge)},
        clean=clean,
        truth={"k": truth},
        source="Ours.",
        fails="Without the measurements of k any multiple of it fits; at the corner of the L u is r^(2/3).",
        fields=("u",),
        engines=("joint",),
        points=700,
        domain=own.domain,
    )
