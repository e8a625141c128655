"""Sums over the data: weak residuals, their slopes, covariance, and the bias of products by noise."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np

from mollifier.data.lazy import is_lazy
from mollifier.engines.linalg.blocks import BlockInverse, BlockLayout, Blocks
from mollifier.engines.linalg.dense import contract, flat_axes
from mollifier.engines.splines.basis import Basis, on_grid
from mollifier.engines.splines.laws import LawBasis
from mollifier.engines.weak.axes import overlaps
from mollifier.engines.weak.data import GridData, GridEffect
from mollifier.engines.weak.form import Channel
from mollifier.engines.weak.integrands import AT_SMOOTHED, Integrands
from mollifier.engines.weak.passes import additive
from mollifier.engines.weak.shared_noise import effect_modes
from mollifier.engines.weak.testspace import Part, TestSpace, index_pairs
from mollifier.mollify.arrays import Array, slices
from mollifier.mollify.orders import Derivative

Values = dict[tuple, Array]  #: Integrands by key.


class WeakRows(NamedTuple):
    """Weak residuals (rows,), one for each equation and test function, and slopes (rows, coefficients)."""

    residuals: Array
    slopes: Array


class WeakSums:
    """Sums of a problem's integrands over its data, at given coefficients of the unknowns.

    ``bases`` has one for each unknown; their coefficients are laid out one after another.
    """

    def __init__(self, integrands: Integrands, data: GridData, bases: Sequence[Basis]) -> None:
        self.integrands, self.data, self.bases = integrands, data, tuple(bases)
        self.form = integrands.form
        self.tuning = self.form.tuning
        self.equations = 1 + max(c.equation for c in self.form.channels)
        #: Unknown -> the slice of its coefficients.
        self.place = dict(zip((b.name for b in bases), slices(b.size for b in bases), strict=True))
        #: Unknown number -> the index of its coefficient.
        self.numbers = {b.name: self.place[b.name].start for b in bases if not b.splines}
        self.size = sum(b.size for b in bases)  #: Number m of coefficients.
        self._of = {b.name: b for b in bases}
        #: Unknown -> its basis, of laws of the state.
        self.laws = {b.name: b for b in bases if isinstance(b, LawBasis)}
        self._last: dict[Hashable, tuple[TestSpace | None, Array, Any]] = {}

    def _once(
        self, key: Hashable, space: TestSpace | None, coefficients: Array, make: Callable[[], Any]
    ) -> Any:
        """What is made for a test space at coefficients, kept for the next call with these and the key."""
        last = self._last.get(key)
        if last is None or last[0] is not space or not np.array_equal(last[1], coefficients):
            self._last[key] = last = space, coefficients.copy(), make()
        return last[2]

    def _evaluated(self, coefficients: Array, *kinds: str) -> Iterator[tuple[slice, Values]]:
        """Integrands of some kinds slab by slab; those of a single slab are kept for the next call."""
        found = self._by_slab(coefficients, *kinds)
        if len(self.data.slabs) == 1:
            found = iter([self._once(kinds, None, coefficients, partial(next, found))])
        return zip(self.data.slabs, found, strict=True)

    def _by_slab(self, coefficients: Array, *kinds: str) -> Iterator[Values]:
        needed, smoothed = self.integrands.program(*kinds).inputs, self._smoothed(kinds)
        data = self.data.loaded(None if smoothed else needed, smoothed)
        for slab in self.data.slabs:
            env = data.env(slab, smoothed)
            for u in (u for u in self.integrands.unknowns if u.name in needed):
                law, here = self.laws.get(u.field), coefficients[self.place[u.field]]
                env[u.name] = law.of_state(here, u, env) if law else self._of[u.field].evaluate(here, u, slab)
            yield self.integrands.evaluate(env, *kinds)

    def _smoothed(self, kinds: Sequence[str]) -> bool:
        """Whether integrands of some kinds are evaluated at smoothed fields."""
        return self.integrands.heteroscedastic and kinds[0] in AT_SMOOTHED

    def read(self, *kinds: str) -> bool:
        """Whether integrands of some kinds depend on data that are read in blocks."""
        names = self.integrands.program(*kinds).inputs
        return self._smoothed(kinds) or any(
            is_lazy(self.data.values[n]) for n in names if n in self.data.values
        )

    def _integrals(self, coefficients: Array, *kinds: str) -> Iterator[tuple[slice, Values]]:
        """Integrands of some kinds, broadcast: slab by slab, but numbers once for the whole grid.

        The sums of a number are products of small matrices, one for each axis.
        """
        numbers: list[tuple] | None = None  # a set's order, and so that of sums, would change from run to run
        for slab, found in self._evaluated(coefficients, *kinds):
            if numbers is None:
                numbers = [k for k, v in found.items() if v.size == 1]
                inner = self.data.inner
                yield inner, {k: np.broadcast_to(found[k], self.data.shape(inner)) for k in numbers}
            if len(numbers) == len(found):
                return
            shape = self.data.shape(slab)
            yield slab, {k: np.broadcast_to(v, shape) for k, v in found.items() if k not in numbers}

    def over(self, data: GridData) -> WeakSums:
        """The same sums over other data."""
        grid = data.grid
        return WeakSums(
            self.integrands, data, self.bases if grid is self.data.grid else on_grid(self.bases, grid)
        )

    def rounded(self) -> WeakSums:
        """The sums over data with no noise but that of rounding."""
        m, error = self.data, self.tuning.rounding
        found = {n: np.asarray((error * np.sqrt(np.mean(m.part.values[n] ** 2))) ** 2) for n in m.variances}
        return self.over(replace(m, variances=found, effects=()))

    def part(self, equation: int, space: TestSpace) -> slice:
        """Where the rows of an equation are among those of all."""
        return slice(equation * space.size, (equation + 1) * space.size)

    def rows(self, space: TestSpace, coefficients: Array) -> WeakRows:
        """Residuals and slopes at the coefficients (m,)."""
        needed = coefficients[:0] if self.integrands.linear else coefficients
        rest, slopes = self._once("rows", space, needed, partial(self._projected, space, coefficients))
        return WeakRows(rest + slopes @ coefficients, slopes)

    @additive("rest", "slope")
    def _projected(self, space: TestSpace, coefficients: Array) -> tuple[Array, Array]:
        """The residuals less slopes times coefficients, and the slopes."""
        rest = np.zeros(self.equations * space.size)
        slopes = np.zeros((len(rest), self.size))
        for n in self.laws:
            slopes[:, self.place[n]] = self._law_slopes(n, space, coefficients)
        # Of fields, along each axis and as indices, the pairs of a test and a basis function that overlap.
        fields = {n: b for n, b in self._of.items() if b.splines and n not in self.laws}
        pairs = {
            n: [
                overlaps(a.weights[0], f.T)
                for a, f in zip(space.axes, b.matrices(Derivative(n)), strict=True)
            ]
            for n, b in fields.items()
        }
        met = {n: space.rows_of(*index_pairs(pairs[n], space.shape, b.shape)) for n, b in fields.items()}
        for slab, found in self._integrals(coefficients, "rest", "slope"):
            for (_, c, *slope), values in found.items():
                channel = self.form.channels[c]
                here, orders = self.part(channel.equation, space), channel.orders
                if not slope:
                    rest[here] += space.project(values, orders, slab)
                    continue
                (u,) = slope
                if u.field in fields:
                    matrices = space.crossed(fields[u.field].matrices(u, slab), pairs[u.field], orders, slab)
                    kept, row, column = met[u.field]
                    slopes[here, self.place[u.field]][row, column] += contract(values, matrices).ravel()[kept]
                elif u.field not in self.laws:
                    slopes[here, self.place[u.field].start] += space.project(values, orders, slab)
        return rest, slopes

    def _law_slopes(self, name: str, space: TestSpace, coefficients: Array) -> Array:
        """Derivatives of the residuals by the coefficients of a law, whose functions are of the noisy state.

        Channels whose integrands have the same slopes, as those along x and y, share their sums.
        """
        shared: dict[tuple, list[tuple[int, Channel]]] = {}
        for c, channel in enumerate(self.form.channels):
            own = [(u, e) for (d, u), e in self.integrands.slopes.items() if d == c and u.field == name]
            shared.setdefault(tuple(own), []).append((c, channel))
        total = np.zeros((self.equations * space.size, self._of[name].size))
        for slab, found in self._evaluated(coefficients, "rest", "slope"):
            for own, channels in shared.items():
                first = ((u, found["slope", channels[0][0], u]) for u, _ in own)
                factors = {u: f for u, f in first if f.any()}
                for i, functions in enumerate(zip(*(self._functions(u, slab) for u in factors), strict=True)):
                    values = sum(f * g for f, g in zip(factors.values(), functions, strict=True))
                    whole = np.broadcast_to(values, self.data.shape(slab))
                    for _, channel in channels:
                        here = self.part(channel.equation, space)
                        total[here, i] += space.project(whole, channel.orders, slab)
        return total

    def _functions(self, derivative: Derivative, slab: slice) -> Sequence[Array]:
        """Functions of a law at the noisy state; those of a single slab are kept."""
        law, env = self.laws[derivative.field], self.data.env(slab)
        if len(self.data.slabs) > 1:
            return list(law.functions(derivative, env))
        return self._once(derivative, None, np.zeros(0), lambda: list(law.functions(derivative, env)))

    @property
    def noisy(self) -> bool:
        """Whether the data have noise."""
        return any(np.max(v) > 0 for v in self.data.all_variances.values())

    def variances(self, space: TestSpace, coefficients: Array) -> Array:
        """Variances of the residuals at the smoothed fields, shape (rows,)."""
        return self._variances(space, coefficients) + (self.modes(space, coefficients) ** 2).sum(1)

    @additive("known noise")
    def _variances(self, space: TestSpace, coefficients: Array) -> Array:
        variances = np.zeros(self.equations * space.size)
        for slab, found in self._integrals(coefficients, "known noise"):
            for (e, f), parts in self._by_equations(found).items():
                if e == f:
                    variances[self.part(e, space)] += 2 * space.squared(parts, slab)
        return variances

    def _by_equations(self, found: Values) -> dict[tuple[int, int], list[Part]]:
        """Covariances of channels by pairs of equations; with their transposes they count twice."""
        parts: dict[tuple[int, int], list[Part]] = {}
        for (_, c, d), values in found.items():
            one, two = self.form.channels[c], self.form.channels[d]
            parts.setdefault((one.equation, two.equation), []).append((values, one.orders, two.orders))
        return parts

    def covariance(self, space: TestSpace, coefficients: Array, smoothed: bool = False) -> Blocks:
        """Covariance of the residuals at the noisy or the ``smoothed`` fields."""
        # What values share correlates all residuals.
        blocks = space.blocks(self.equations)
        layout = BlockLayout(np.zeros_like(blocks) if self.data.effects else blocks)
        kind = "known noise" if smoothed else "noise"
        found = Blocks.symmetric(layout, self._covariance(space, coefficients, kind, layout))
        if self.data.effects:
            modes = self.modes(space, coefficients)
            found.own[0][...] += modes @ modes.T
        return found

    @additive()
    def _covariance(self, space: TestSpace, coefficients: Array, kind: str, layout: BlockLayout) -> Array:
        """Entries of a matrix whose sum with its transpose is the covariance."""
        on_pairs: dict[tuple[int, int], Array] = {}
        for slab, found in self._integrals(coefficients, kind):
            for (e, f), parts in self._by_equations(found).items():
                here = space.products(parts, slab, turned=e == f)
                on_pairs[e, f] = on_pairs[e, f] + here if (e, f) in on_pairs else here
        total, (i, j) = np.zeros(layout.size), space.pairs
        for (e, f), values in on_pairs.items():
            total += np.bincount(layout.index(i + e * space.size, j + f * space.size), values, layout.size)
        return total

    def modes(self, space: TestSpace, coefficients: Array) -> Array:
        """Residuals that the random effects of the noise leave, one column each, shape (rows, effects)."""

        def made() -> Array:
            found = [self.modes_of(space, e, coefficients) for e in self.data.effects]
            return np.hstack([np.zeros((self.equations * space.size, 0)), *found])

        return self._once("modes", space, coefficients, made)

    @additive("gain")
    def modes_of(self, space: TestSpace, effect: GridEffect, coefficients: Array) -> Array:
        """Residuals that one random effect leaves, shape (rows, effects)."""
        gains = self._integrals(coefficients, "gain")
        return effect_modes(effect, self.data, space, self.equations, self.form.channels, gains)

    def field_gradients(self, space: TestSpace, coefficients: Array, rows: Array) -> dict[str, Array]:
        """``J' rows`` with J the residuals' derivatives by a field's values, at smoothed fields.

        Takes shape (rows,) and gives an array on the grid for each field.
        """
        channels = self.form.channels
        total = {f: np.zeros(self.data.grid.shape) for f in self.form.fields}
        for slab, found in self._integrals(coefficients, "gain"):
            for (_, c, f), values in found.items():
                part = rows[self.part(channels[c].equation, space)]
                total[f][slab] += space.adjoint(part, channels[c].orders, slab) * values
        return total

    @additive("bias", "product")
    def bias(
        self, space: TestSpace, coefficients: Array, weights: Array | BlockInverse
    ) -> tuple[Array, Array]:
        """The mean that noise adds to ``G' W r``, shape (m,), and to ``G' W G``, shape (m, m), for numbers.

        ``weights`` is W: its diagonal (rows,), or an inverse (rows, rows). Fields have instrumental slopes.
        """
        vector, matrix = np.zeros(self.size), np.zeros((self.size, self.size))
        for slab, found in self._integrals(coefficients, "bias", "product"):
            # By equations, numbers, and whether a product counts for these in either order.
            parts: dict[tuple[int, int, tuple[int, ...], bool], list[Part]] = {}
            for (_, c, u, d, *other), values in found.items():
                one, two = self.form.channels[c], self.form.channels[d]
                at = tuple(self.numbers[v.field] for v in (u, *other))
                key = one.equation, two.equation, at, (c, u) != (d, *other)
                parts.setdefault(key, []).append((values, one.orders, two.orders))
            for (e, f, at, both), some in parts.items():
                if isinstance(weights, BlockInverse):
                    i, j = space.pairs
                    near = weights.layout.index(i + e * space.size, j + f * space.size)
                    total = float(weights.near.entries[near] @ space.products(some, slab))
                elif e == f:
                    total = float(weights[self.part(e, space)] @ space.squared(some, slab))
                else:
                    continue
                if len(at) == 1:
                    vector[at] += total
                else:
                    matrix[at] += total
                    matrix[at[::-1]] += total * both
        return vector + matrix @ coefficients, matrix

    @additive("noise")
    def score_covariance(self, space: TestSpace, coefficients: Array, weighted: Array) -> Array:
        """Covariance (k, k) of ``weighted' r`` for a few columns (rows, k), by sums over the data."""
        k, channels = weighted.shape[1], self.form.channels
        result = np.zeros((k, k))
        parts = [weighted[self.part(e, space)].T for e in range(self.equations)]
        lattices = [np.stack([space.lattice(column) for column in part]) for part in parts]
        for slab, found in self._integrals(coefficients, "noise"):
            weights = [space.weights(c.orders, slab) for c in channels]

            @cache
            def spread(c: int, flat: tuple[bool, ...]) -> Array:
                """The columns on the nodes, but on the lattice along axes where the noise does not vary."""
                maps = [None if here else w.T for here, w in zip(flat, weights[c], strict=True)]  # noqa: B023
                return contract(lattices[channels[c].equation], [None, *maps])

            for (_, c, d), values in found.items():
                flat = flat_axes(values)
                pairs = zip(flat, weights[c], weights[d], strict=True)
                grams = [a @ b.T if here else None for here, a, b in pairs]
                first = values[tuple(slice(0, 1) if here else slice(None) for here in flat)]
                right = contract(spread(d, tuple(flat)), [None, *grams]) * first
                part = spread(c, tuple(flat)).reshape(k, -1) @ right.reshape(k, -1).T
                result += part + part.T
        return result


@additive("rest", "slope")
def residuals_of(sums: WeakSums, spaces: tuple[TestSpace, ...], coefficients: Array) -> tuple[Array, ...]:
    """The residuals (rows,) against each of several test spaces, over data that are read once."""
    once = sums.over(sums.data.loaded())
    return tuple(once.rows(space, coefficients).residuals for space in spaces)
