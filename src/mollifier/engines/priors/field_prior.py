"""Priors of unknown fields on a lattice of values: Matern fields whose order and length are open.

Derivatives are differences of neighbours on the lattice. For the coefficients of a spline that is the penalty
of P-splines (Eilers and Marx, Stat. Sci. 11:89, 1996): every order is there whatever the spline's degree, and
past the edges of the domain too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, reduce

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from mollifier.engines.priors.differences import contrasts, differences
from mollifier.engines.priors.matern import SEMINORMS, matern_weights, mixed
from mollifier.mollify.grid import Axis, Grid

Array = NDArray[np.float64]

# Orders and lengths, in half-lengths of the domain, of the Matern fields looked at.
ORDERS = (1, 2, 3, 4)
LENGTHS = tuple(10.0 ** (i / 4) for i in range(-6, 3))
# Cells over the domain of a lattice made of nodes, along each axis, by the number of axes: at least.
_CELLS, _FEWEST_CELLS = {1: 128, 2: 32, 3: 12}, 6
# Eigenvalues below this share of the largest are none.
_ROUNDING = 1e-24


@dataclass(frozen=True)
class Shape:
    """What a prior is, but for its strength: the order of its highest derivatives, and its length.

    With an infinite length it is of one term, the mean squared derivatives of its order.
    """

    order: int
    length: float = np.inf


@dataclass(frozen=True)
class Choice:
    """Shape and strength of the prior of an unknown field."""

    shape: Shape
    strength: float

    def distance(self, other: Choice) -> float:
        """Of strengths, in logarithm; infinite between shapes."""
        return abs(float(np.log(self.strength / other.strength))) if self.shape == other.shape else np.inf


class Form:
    """The quadratic form of a prior at a strength of one, ``x'Px``; a constant is free.

    It is scaled so that the factor of the highest derivatives is one.

    Attributes
    ----------
    matrix
        What turns x into numbers whose sum of squares is x'Px, shape (m, p).
    square
        P, shape (p, p).
    spectrum
        Eigenvalues of P, shape (p,), none negative.

    Parameters
    ----------
    lattice
        Of the coefficients, flat in C order, along scaled coordinates.
    shape
        Of the prior.
    """

    def __init__(self, lattice: Grid, shape: Shape) -> None:
        factors = matern_weights(shape.order, shape.length).tolist()
        self.matrix = sp.csr_array(
            sp.vstack([derivative_rows(lattice, k) * np.sqrt(f) for k, f in enumerate(factors) if f])
        )
        self._size = lattice.size

    @cached_property
    def variance(self) -> float:
        """Mean variance of what it does not leave free, at a strength of one."""
        kept = self.spectrum[self.spectrum > _ROUNDING * self.spectrum[-1]]
        return float(np.sum(1 / kept)) / self._size

    @cached_property
    def square(self) -> Array:
        return (self.matrix.T @ self.matrix).toarray()

    @cached_property
    def spectrum(self) -> Array:
        # Of the rows, not their squares: the lowest would drown in the rounding of the highest.
        triangle = np.linalg.qr(self.matrix.toarray(), mode="r")
        roots = np.linalg.svd(triangle, compute_uv=False)[::-1]
        values = np.zeros(self._size)
        values[self._size - len(roots) :] = roots**2
        values[0] = 0.0
        return values

    def rows(self, x: Array) -> Array:
        """Numbers whose sum of squares is x'Px."""
        return self.matrix @ x

    def gradient(self, x: Array) -> Array:
        """Px."""
        return self.matrix.T @ (self.matrix @ x)


class FieldPrior:
    """The prior of one unknown field.

    Attributes
    ----------
    lattice
        Of the coefficients.
    shapes
        All that its kind leaves a choice of.
    shape
        What it is now; the seminorm of the first or second order to begin with.

    Parameters
    ----------
    lattice
        Of the coefficients, along scaled coordinates.
    kind
        As `mollifier.FieldUnknown` calls it.
    given
        Whether its strength is given: then it stays what it is.
    """

    def __init__(self, lattice: Grid, kind: str, given: bool = False) -> None:
        self.lattice = lattice
        self.shapes = (Shape(SEMINORMS["h2" if kind == "auto" else kind]),)
        self.shape = self.shapes[0]
        if kind == "auto" and not given:
            self.shapes = tuple(Shape(s, ell) for s in ORDERS for ell in LENGTHS)
            self.shape = Shape(self.shape.order, LENGTHS[-1])
        self._forms: dict[Shape, Form] = {}

    def form(self, shape: Shape) -> Form:
        """Of a shape."""
        if shape not in self._forms:
            self._forms[shape] = Form(self.lattice, shape)
        return self._forms[shape]

    @property
    def start(self) -> Shape:
        """Where a search for the best shape begins."""
        return self.shape if self.shape in self.shapes else Shape(self.shape.order, LENGTHS[-1])

    def neighbours(self, shape: Shape) -> Iterator[Shape]:
        """Shapes one order, or one length, away."""
        if len(self.shapes) == 1:
            return
        at, s = LENGTHS.index(shape.length), shape.order
        for order, i in ((s, at - 1), (s, at + 1), (s - 1, at), (s + 1, at)):
            if 0 <= i < len(LENGTHS) and Shape(order, LENGTHS[i]) in self.shapes:
                yield Shape(order, LENGTHS[i])


def derivative_rows(lattice: Grid, order: int) -> sp.csr_array:
    """Rows, shape (m, p), whose squares add up to the mean squared derivatives of an order.

    For order 0 to the mean squared distance from the mean, so that a constant is free.
    """
    if not order:
        return sp.csr_array(contrasts(lattice.size) / np.sqrt(lattice.size))
    parts = [sp.csr_array((0, lattice.size))]
    for counts, times in mixed(lattice.names, order):
        if all(counts[a.name] < a.size or not counts[a.name] for a in lattice):
            along = [differences(a, counts[a.name]) for a in lattice]
            matrix = sp.csr_array(reduce(lambda a, b: sp.kron(a, b, format="csr"), along))
            parts.append(sp.csr_array(matrix * np.sqrt(times / matrix.indptr[1:].size)))
    return sp.csr_array(sp.vstack(parts))


def thinned(nodes: Grid, domain: Grid) -> tuple[Grid, NDArray[np.intp]]:
    """A lattice of some of the nodes about a domain, and their places among all.

    Examples
    --------
    >>> domain, nodes = Grid(Axis("t", 0.0, 1.0, 513)), Grid(Axis("t", -0.125, 1.125, 641))
    >>> lattice, places = thinned(nodes, domain)
    >>> lattice.shape, places[:3].tolist()
    ((161,), [0, 4, 8])
    """
    cells = _CELLS.get(len(nodes.axes), _FEWEST_CELLS)
    axes, places = [], []
    for axis, own in zip(nodes, domain, strict=True):
        step = max((own.size if own.periodic else own.size - 1) // cells, 1)
        while axis.periodic and axis.size % step:
            step -= 1
        place = np.arange(0, axis.size, step)
        upper = axis.upper if axis.periodic else float(axis.points[place[-1]])
        axes.append(Axis(axis.name, axis.lower, upper, len(place), periodic=axis.periodic))
        places.append(place)
    return Grid(*axes), np.ravel_multi_index(np.ix_(*places), nodes.shape).ravel()
