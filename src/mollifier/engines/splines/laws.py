"""Laws of the state as sums of splines: their functions are evaluated at the state, not at the nodes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from itertools import product

import numpy as np

from mollifier.engines.splines.basis import Basis
from mollifier.mollify.arrays import Array
from mollifier.mollify.orders import Derivative


@dataclass(frozen=True, eq=False)
class LawBasis(Basis):
    """The basis functions of a law, products of splines over states and coordinates.

    A state outside the range of its splines is moved to the nearer end. ``env``, which the methods take,
    holds states and coordinates at the nodes by name; they broadcast to one shape.

    >>> from mollifier.engines.splines.basis import AxisSplines
    >>> from mollifier.mollify.grid import Axis, Grid
    >>> u = {"u": np.linspace(0, 2, 5)}
    >>> law = LawBasis("D", {"u": AxisSplines(Axis("u", 0.0, 2.0, 9), 6, 3)}, Grid(Axis("x", 0.0, 1.0, 5)))
    >>> law.of_state(np.full(6, 3.0), Derivative("D"), u)
    array([3., 3., 3., 3., 3.])
    >>> np.diff(law.of_state(np.full(6, 3.0), Derivative.of("D", {"u": -1}), u)).round(9)
    array([1.5, 1.5, 1.5, 1.5])
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """Functions along each of what the law varies over."""
        return tuple(s.size for s in self.splines.values())

    def of_state(self, coefficients: Array, derivative: Derivative, env: Mapping[str, Array]) -> Array:
        """A derivative of the law, or an antiderivative, at the nodes, from its coefficients (size,)."""
        (first, splines), *others = self.splines.items()
        values = splines.combined(coefficients.reshape(self.shape), derivative.along(first), env[first])
        for name, _ in others:
            values = np.einsum("...i,...i->...", values, self._along(name, derivative, env))
        return values

    def functions(self, derivative: Derivative, env: Mapping[str, Array]) -> Iterator[Array]:
        """The derivative of each function at the nodes, in the order of the coefficients."""
        columns = [np.moveaxis(self._along(n, derivative, env), -1, 0) for n in self.splines]
        for first, *others in product(*columns):
            yield reduce(np.multiply, others, first)

    def _along(self, name: str, derivative: Derivative, env: Mapping[str, Array]) -> Array:
        """Splines along one of what the law varies over, at the nodes, shape (*nodes, splines)."""
        x = env[name]
        return self.splines[name].matrix(derivative.along(name), x.ravel()).reshape(*x.shape, -1)
