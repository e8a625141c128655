"""Priors of unknown fields in the joint engine: Matern fields on the lattice of a spline's coefficients.

Derivatives are differences of neighbouring coefficients (P-splines: Eilers and Marx, Stat. Sci. 11:89, 1996),
so that every order is there whatever the spline's degree, and past the edges of the domain too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, reduce

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from mollifier.engines.linearise import differences
from mollifier.engines.matern import SEMINORMS, mixed, shares
from mollifier.grid import Grid

Array = NDArray[np.float64]

# Orders and lengths, in half-lengths of the domain, of the Matern fields looked at.
ORDERS = (1, 2, 3, 4)
LENGTHS = tuple(10.0 ** (i / 4) for i in range(-6, 3))
# Eigenvalues below this share of the largest are none.
_ROUNDING = 1e-24


@dataclass(frozen=True)
class Shape:
    """What a prior is, but for its strength: the order of its highest derivatives, and its length.

    With an infinite length it is of one term, the mean squared derivatives of its order.
    """

    order: int
    length: float = np.inf


class Form:
    """The quadratic form of a prior at a strength of one, ``x'Px``; a constant is free.

    It is scaled so that the factor of the highest derivatives is one.

    Attributes
    ----------
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
        self._size = lattice.size
        self._level, *factors = shares(shape.order, shape.length).tolist()
        parts = [m * np.sqrt(f) for k, f in enumerate(factors, 1) if f for m in _derivatives(lattice, k)]
        self._rows = sp.csr_array(sp.vstack([sp.csr_array((0, lattice.size)), *parts]))

    @cached_property
    def variance(self) -> float:
        """Mean variance of what it does not leave free, at a strength of one."""
        kept = self.spectrum[self.spectrum > _ROUNDING * self.spectrum[-1]]
        return float(np.sum(1 / kept)) / self._size

    @cached_property
    def square(self) -> Array:
        whole = (self._rows.T @ self._rows).toarray()
        whole[np.diag_indices_from(whole)] += self._level / self._size
        return np.asarray(whole - self._level / self._size**2, dtype=np.float64)

    @cached_property
    def spectrum(self) -> Array:
        # Of the rows, not their squares: the lowest would drown in the rounding of the highest.
        centred = np.eye(self._size) - 1 / self._size
        rows = np.vstack([self._rows.toarray(), np.sqrt(self._level / self._size) * centred])
        values = np.linalg.svd(np.linalg.qr(rows, mode="r"), compute_uv=False)[::-1] ** 2
        values[0] = 0.0
        return np.asarray(values, dtype=np.float64)

    def rows(self, x: Array) -> Array:
        """Numbers whose sum of squares is x'Px."""
        return np.concatenate([self._rows @ x, np.sqrt(self._level / self._size) * (x - x.mean())])

    def gradient(self, x: Array) -> Array:
        """Px."""
        return self._rows.T @ (self._rows @ x) + self._level / self._size * (x - x.mean())


class FieldPrior:
    """The prior of one unknown field.

    Attributes
    ----------
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

    def neighbours(self, shape: Shape) -> Iterator[Shape]:
        """Shapes one order, or one length, away."""
        if len(self.shapes) == 1:
            return
        at, s = LENGTHS.index(shape.length), shape.order
        for order, i in ((s, at - 1), (s, at + 1), (s - 1, at), (s + 1, at)):
            if 0 <= i < len(LENGTHS) and Shape(order, LENGTHS[i]) in self.shapes:
                yield Shape(order, LENGTHS[i])


@dataclass(frozen=True, eq=False)
class Placed:
    """The prior of a field at some coefficients.

    Attributes
    ----------
    columns
        Of the border that are the coefficients'.
    prior
        Of the field.
    x
        The coefficients, in units of the field's size, shape (p,).
    unit
        How much ``x`` changes as a coefficient does by one.
    """

    columns: slice
    prior: FieldPrior
    x: Array
    unit: float

    @property
    def held(self) -> float:
        """What is added to a precision's diagonal: a coefficient is held to a unit in the mean square."""
        return 1 / len(self.x)

    def square(self, shape: Shape) -> Array:
        """Curvature of half the prior's loss at a strength of one, shape (p, p)."""
        return self.unit**2 * self.prior.form(shape).square

    def gradient(self, shape: Shape) -> Array:
        """Slope of half of it, shape (p,)."""
        return self.unit * self.prior.form(shape).gradient(self.x)

    def value(self, shape: Shape) -> float:
        """The prior's loss at a strength of one."""
        rows = self.prior.form(shape).rows(self.x)
        return float(rows @ rows)

    def surprise(self, shape: Shape, strength: float) -> float:
        """Minus twice the logarithm of the density that the logarithm of a strength has beforehand.

        The field's standard deviation, in units of its size, has a half-Cauchy distribution (Gelman, Bayesian
        Anal. 1:515, 2006): without one, strengths that allow no variation at all would count without end.
        """
        variance = self.prior.form(shape).variance / strength
        return 2 * float(np.log1p(variance)) - float(np.log(variance))

    def log_determinant(self, shape: Shape, strength: float) -> float:
        """Of the precision, with what is held."""
        return float(np.log(strength * self.unit**2 * self.prior.form(shape).spectrum + self.held).sum())


def _derivatives(lattice: Grid, order: int) -> Iterator[sp.csr_array]:
    """Rows whose squares add up to the mean squared derivatives of an order."""
    for counts, times in mixed(lattice.names, order):
        if all(counts[a.name] < a.size or not counts[a.name] for a in lattice):
            along = [differences(a, counts[a.name]) for a in lattice]
            matrix = sp.csr_array(reduce(lambda a, b: sp.kron(a, b, format="csr"), along))
            yield sp.csr_array(matrix * np.sqrt(times / matrix.indptr[1:].size))
