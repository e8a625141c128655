"""Every expression of a weak form that is summed over the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement, product

import numpy as np
import sympy
from numpy.typing import NDArray

from mollifier.engines.weak.form import WeakForm
from mollifier.equations.algebra import differentiate
from mollifier.equations.lower import lower
from mollifier.errors import DataError

Array = NDArray[np.float64]
Env = Mapping[str, Array]


class Integrands:
    """Every expression of a weak form that is summed, compiled together.

    Attributes
    ----------
    slopes
        (channel, derivative of an unknown) pairs with a slope that is not zero.
    uneven
        Whether the covariance of the residuals depends on the fields, and so on what was measured.
    """

    def __init__(self, form: WeakForm) -> None:
        self.form = form
        numbers = range(len(form.channels))
        self._index: dict[tuple[object, ...], int] = {}
        self._found: list[sympy.Expr] = []
        parts = {(c, u): form.slope(form.channels[c], u) for c in numbers for u in form.unknowns}
        self.slopes = {key: e for key, e in parts.items() if e != 0}
        for c in numbers:
            self._add(("row", c), form.expectation(form.channels[c].integrand))
        for key, e in self.slopes.items():
            self._add(("slope", *key), form.expectation(e))
        for c, d in combinations_with_replacement(numbers, 2):
            self._add(
                ("noise", c, d), form.covariance(form.channels[c].integrand, form.channels[d].integrand)
            )
        for key, e in self.slopes.items():
            for d in numbers:
                self._add(("bias", *key, d), form.covariance(e, form.channels[d].integrand))
        for (one, e), (two, f) in combinations_with_replacement(self.slopes.items(), 2):
            self._add(("product", *one, *two), form.covariance(e, f))
        for c, f in product(numbers, form.fields):
            self._add(("gain", c, f), differentiate(form.channels[c].integrand, sympy.Symbol(f)))
        fields = [sympy.Symbol(f) for f in form.fields]
        noise = self.keys("noise")
        self.uneven = any(self._found[self._index["noise", *k]].has(*fields) for k in noise)
        for c, d in noise:
            one, two = (form.channels[i].integrand for i in (c, d))
            self._add(("known noise", c, d), form.covariance(one, two, known=True))
        self._program = lower(self._found)

    def _add(self, key: tuple[object, ...], expr: sympy.Expr) -> None:
        if expr != 0:
            self._index[key] = len(self._found)
            self._found.append(expr)

    def keys(self, kind: str) -> list[tuple]:
        """Keys of a kind: what follows the kind in each."""
        return [k[1:] for k in self._index if k[0] == kind]

    def evaluate(self, env: Env, shape: tuple[int, ...]) -> Evaluated:
        """All of them on arrays.

        Raises
        ------
        DataError
            If a value is not finite.
        """
        with np.errstate(all="ignore"):
            values = self._program.run(env)
        if not all(np.isfinite(v).all() for v in values):
            named = ", ".join(f"'{f}'" for f in self.form.fields)
            raise DataError(
                f"A term of the equation is not a finite number at some measured values of {named}: noise "
                "takes them to where it is not defined, or an unknown's value does. Bound the unknowns, give "
                "initial values, or use engine 'joint' or 'network'."
            )
        return Evaluated(self._index, values, shape)


@dataclass(frozen=True, eq=False)
class Evaluated:
    """Values of `Integrands` on a slab."""

    index: Mapping[tuple[object, ...], int]
    values: Sequence[Array | float]
    shape: tuple[int, ...]

    def __call__(self, *key: object) -> Array:
        return np.broadcast_to(np.asarray(self.values[self.index[key]], dtype=float), self.shape)
