"""Normal equations over values at nodes: a banded core of the states, bordered by the unknowns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp
from torch import Tensor

from mollifier.engines.collocated.correlated import separations, widening
from mollifier.engines.collocated.levenberg_marquardt import Changed
from mollifier.engines.collocated.linearise import Linearisation
from mollifier.engines.collocated.missing import Score
from mollifier.engines.collocated.objective import Target
from mollifier.engines.collocated.residuals import Residuals
from mollifier.engines.joint.eliminated import Eliminated
from mollifier.engines.joint.layout import Layout, Normal, Slopes
from mollifier.engines.joint.spline import FieldPriors
from mollifier.engines.joint.tuning import JointTuning
from mollifier.engines.linalg.banded import BandedCholesky, factored
from mollifier.engines.linalg.dense import solved
from mollifier.engines.linalg.memory import rows_at_once
from mollifier.engines.priors.evidence import LinearisedProblem
from mollifier.engines.priors.shapes import Choice
from mollifier.mollify.arrays import Array, Mask
from mollifier.mollify.orders import Derivative


@dataclass(frozen=True)
class Rough:
    """Rows of the smoothness prior of one state along one coordinate, at a strength of one."""

    #: Index of the state and of the coordinate, as in `Objective.roughness`.
    target: int
    axis: int
    strength: float  #: Strength of the prior in the normal equations.
    rows: sp.csr_array  #: Their slopes with respect to core and border, shape (m, n + p).
    values: Array  #: Shape (m,).


class Bordered:
    """The normal equations of one step, the states eliminated.

    They are formed at values (channels, nodes) of every block, with a weight of the equation. Raises
    `NotPositiveError` if the core is not positive definite. ``mean`` are slopes as in `Slopes`, with which
    ``like`` has the same core.
    """

    def __init__(
        self,
        linearisation: FieldPriors,
        layout: Layout,
        nodes: list[Array],
        weight: float,
        tuning: JointTuning,
        mean: Mapping[str, Array] | None = None,
        like: Bordered | None = None,
    ) -> None:
        self.layout, self.objective, self.tuning = layout, linearisation.objective, tuning
        self._linearisation, self._nodes, self._weight = linearisation, nodes, weight
        model = self.objective.model
        slopes = Slopes(model, mean)
        self.conditioned, data = Normal.zero(layout), Normal.zero(layout)
        self._conditions: dict[str, tuple[Array, Array]] = {}
        first = len(self.objective.imposed)
        measurements = dict(enumerate(self.objective.measurements, first + len(self.objective.targets)))
        known = range(first, first + len(self.objective.fitted) + len(model.noise))
        with np.errstate(all="ignore"):
            for i, part in enumerate(linearisation.residuals(nodes, weight, slopes=True, curvatures=False)):
                # The data are linear in the values at the nodes: their part of the core is formed once.
                if i in known:
                    data.add(part, layout, slopes, layout.constant, i)
                    if i in measurements:
                        self._condition(part, slopes, measurements[i].name)
                elif i < first:
                    self.conditioned.add(part, layout, slopes)
            #: The smoothness priors of the states.
            self.rough = _rough(linearisation, layout, slopes, nodes, self.conditioned)
        self.normal = self.conditioned.plus(data)
        for name, (slope, _) in linearisation.volume_slopes.items():
            self.normal.border_gradient[layout.unknowns[name]] -= slope / self.objective.count
        self.priors = {
            n: linearisation.prior_on_coefficients(n, layout.unknowns[n]) for n in model.unknown_blocks
        }
        #: The present prior of each unknown field.
        self.choices = {n: Choice(p.prior.shape, self.objective.strength(n)) for n, p in self.priors.items()}
        self._present: tuple[Mapping[str, Choice], tuple[Array, Array]] | None = None
        # Mean information of the data on a value at a node: damping is relative to it.
        self.unit = sum(float(np.square(d.matrix.data).sum()) for d in linearisation.data) / layout.core_size
        n = self.normal
        parts = (n.core.data, n.between.data, n.border, n.core_gradient, n.border_gradient)
        #: Whether every number is finite, those of the eliminated states too.
        self.finite = all(bool(np.isfinite(p).all()) for p in parts)
        if self.finite:
            self._factor = factored(n.core) if like is None else like._factor
            self._slope = self._factor.forward(n.core_gradient)
            self.finite = bool(np.isfinite(self._slope).all() and np.isfinite(self.eliminated.schur).all())

    def with_slopes(self, mean: Mapping[str, Array]) -> LinearisedProblem:
        """The likelihood as in `linear` with other slopes, as in `Slopes`; its curvature alone is of use."""
        given = self._linearisation, self.layout, self._nodes, self._weight, self.tuning
        return Bordered(*given, mean, self).linear

    def _condition(self, part: Residuals, slopes: Slopes, name: str) -> None:
        """Store normal equations (p, p) and (p,) of the measurements of a field."""
        rows, count = self.layout.border_rows(part, slopes), self.objective.count
        if rows is not None:
            rows = rows[:, self.layout.unknowns[name]]
            self._conditions[name] = (
                count * (rows.T @ rows).toarray(),
                count * np.asarray(rows.T @ part.values),
            )

    @cached_property
    def eliminated(self) -> Eliminated:
        """The matrix, formed where a step moves the border."""
        n, refined = self.normal, self._factor.ridge > self.tuning.ridge_limit * self.unit
        return Eliminated(self._factor, n.between, n.border, n.stacked() if refined else None)

    @cached_property
    def linear(self) -> LinearisedProblem:
        """Minus twice the log-likelihood as a quadratic of the border, the core eliminated, and the priors of
        unknown fields: the loss times the number of samples."""
        count, schur = self.objective.count, self.eliminated.schur
        reduced = self.normal.border_gradient - self.eliminated.half.T @ self._slope
        return LinearisedProblem(count * schur, count * reduced, self.priors, self._conditions)

    @cached_property
    def before_data(self) -> Eliminated:
        """Curvature of the states by the equation and their priors, without the data, at fixed unknowns."""
        n, kept = self.conditioned, self.layout.states
        size = float(self.normal.core.diagonal().max())
        return Eliminated(
            factored(n.core, size), sp.csr_array(n.between[:, kept]), n.border[np.ix_(kept, kept)]
        )

    def with_priors(self) -> tuple[Array, Array]:
        """Schur complement (p, p) and reduced slope (p,) of half the loss, with the present priors."""
        if self._present is None or self._present[0] is not self.choices:
            curvature, slope = self.linear.with_priors(self.choices, held=False)
            curvature /= self.objective.count
            self._present = self.choices, (curvature, slope / self.objective.count)
        return self._present[1]

    @property
    def gradient(self) -> Tensor:
        """Half the slope of the loss, shape (parameters,)."""
        return self.layout.flat(*self._slopes)

    def decrease(self, core: Array, border: Array) -> float:
        """Of the loss, predicted for an undamped step."""
        return -float(self._slopes[0] @ core + self._slopes[1] @ border)

    @property
    def _slopes(self) -> tuple[Array, Array]:
        border = self.normal.border_gradient.copy()
        for name, prior in self.priors.items():
            chosen = self.choices[name]
            slope = prior.form(chosen.shape).gradient / self.objective.count
            border[prior.columns] += chosen.strength * slope
        return self.normal.core_gradient, border

    @cached_property
    def at_bounds(self) -> Mask:
        """Numbers, as a mask of the border, that the undamped step would take across a bound they are at."""
        scalars, places = self.objective.model.scalars, self.layout.unknowns
        found = np.zeros(self.layout.border_size, dtype=bool)
        step = -solved(*self.with_priors()) if scalars else found
        for name, scalar in scalars.items():
            change = scalar.slope() * float(step[places[name].start])
            found[places[name]] = scalar.distance_to_bound(change) <= self.tuning.at_bound * abs(change)
        return found

    def holding(self, *names: str) -> Tensor:
        """The undamped step, shape (parameters,), that keeps some unknowns fixed."""
        held = np.zeros(self.layout.border_size, dtype=bool)
        for name in names:
            held[self.layout.unknowns[name]] = True
        return self.layout.flat(*self.undamped(held))

    def undamped(self, held: Mask | None = None) -> tuple[Array, Array]:
        """The undamped step of core and border, with some of the border, and numbers at bounds, held."""
        if held is None:
            held = self.at_bounds
        elif not all(held[self.layout.unknowns[n].start] for n in self.objective.model.scalars):
            held = held | self.at_bounds
        return self.stepped(np.zeros(len(held)) if held.all() else _descent(*self.with_priors(), held))

    def stepped(self, border: Array) -> tuple[Array, Array]:
        """An undamped step of the core that follows one of the border, and the latter."""
        return self._with_states(self._factor, self.eliminated.half, border)

    def _with_states(self, factor: BandedCholesky, half: Array, border: Array) -> tuple[Array, Array]:
        """The step of the border and that of the states, which follow it, by the factor of the core."""
        return -factor.backward(factor.forward(self.normal.core_gradient) + half @ border), border

    def followed(self, border: Array) -> Tensor:
        """A change of all parameters, shape (parameters,), by one of the border, (p,), that states follow."""
        return self.layout.flat(-self._factor.backward(self.eliminated.half @ border), border)

    def state_sd(self, state: Target) -> Array | None:
        """Standard errors of a state on its grid, shape (nodes of the grid,); None where it is too large."""
        block = self.objective.model.blocks[state.block]
        if not self.finite or block.grid.size * self.layout.core_size > self.tuning.most_numbers:
            return None
        part = Residuals(np.zeros(block.grid.size))
        part.fields[state.block, state.channel] = block.mollified.matrix(Derivative("u"))
        u, v = self.layout.core_rows(part), self.layout.border_rows(part, Slopes(self.objective.model))
        size = part.values.size
        core = np.zeros((self.layout.core_size, size)) if u is None else u.T.toarray()
        border = np.zeros((self.layout.border_size, size)) if v is None else v.T.toarray()
        variance = self.eliminated.energies(core, border, self.with_priors()[0]) / self.objective.count
        return np.sqrt(np.maximum(variance, 0.0)) * float(block.scale[state.channel])

    def scored(self, part: Residuals, sources: Array) -> Score:
        """Score of sources (m, k) added to some rows, states and unknowns free.

        The present parameters are those of the fit.
        """
        own, inner = self._reduced(part, sources)
        along = self._following(inner)
        fixed = sources.T @ sources - own.T @ own
        # The fit may still be short of the minimum: the score after one more step.
        left = _descent(*self.with_priors(), self.at_bounds)
        score = sources.T @ part.values - own.T @ self._slope + inner.T @ left
        samples = self._linearisation.samples(self._nodes)
        moved = self._moved(samples, -self._factor.backward(own + self.eliminated.half @ along), along)
        residuals, changes = (np.concatenate(v) for v in zip(*moved, strict=True))
        return Score(score, fixed + inner.T @ along, fixed, residuals, changes)

    def _moved(self, rows: Iterable[Residuals], core: Array, border: Array) -> Iterator[tuple[Array, Array]]:
        """Values (m,) of rows, some at a time, and their changes (m, k) by those of the parameters.

        ``core`` and ``border`` are k changes, of shapes (n, k) and (p, k).
        """
        slopes = Slopes(self.objective.model)
        for part in rows:
            u, v = self.layout.core_rows(part), self.layout.border_rows(part, slopes)
            entries = sum(m.nnz for m in (u, v) if m is not None) / max(len(part.values), 1)
            step = rows_at_once(entries + border.shape[1])
            for some in (slice(low, low + step) for low in range(0, len(part.values), step)):
                change = np.zeros((len(part.values[some]), border.shape[1]))
                if u is not None:
                    change += u[some] @ core
                if v is not None:
                    change += v[some] @ border
                yield part.values[some], change

    def dispersion(self) -> Array:
        """Variance of the border, (p,), that the residuals of the data show, over the one that was assumed.

        Each sample counts by the square of its residual, over the share of degrees of freedom left (White,
        Econometrica 48:817, 1980): noise may be larger where a parameter's information is. It may be
        correlated, too (`mollifier.engines.collocated.correlated`). One ratio for all parameters of a field.
        """
        layout = self.layout
        covariance = solved(self.with_priors()[0], np.eye(layout.border_size))
        follow = self._factor.backward(self.eliminated.half @ covariance)
        assumed, shown = np.zeros(layout.border_size), np.zeros(layout.border_size)
        for i, part in enumerate(self._linearisation.fit(self._nodes)):
            wider = self._widening(i, part, -follow, covariance)
            for values, moved in self._moved([part], -follow, covariance):
                squares = np.square(moved)
                assumed += squares.sum(axis=0)
                shown += wider * (np.square(values) @ squares) * self.objective.count
        found = np.ones(layout.border_size)
        for place in layout.places.values():
            found[place] = shown[place].sum() / max(assumed[place].sum() * self.freedom, 1e-300)
        return found

    def _widening(self, i: int, part: Residuals, core: Array, border: Array) -> Array | float:
        """Variance of the border, (p,), if a target's noise may be correlated, over that if it is not."""
        targets = self.objective.targets
        at = separations(self.objective, targets[i], self._linearisation.data[i]) if targets[i:] else None
        if at is None:
            return 1.0
        values, moved = (np.concatenate(v) for v in zip(*self._moved([part], core, border), strict=True))
        return widening(values, moved, self._fitted(part, np.eye(len(values))), at)

    @cached_property
    def freedom(self) -> float:
        """Share of the data's degrees of freedom that the fit leaves."""
        parts = list(self._linearisation.fit(self._nodes))
        fitted = sum(np.trace(self._fitted(p, probes(len(p.values), self.tuning))) for p in parts)
        rows = sum(len(p.values) for p in parts)
        return max(1 - float(fitted) / rows, 1 / rows)

    def _fitted(self, part: Residuals, sources: Array) -> Array:
        """Products (k, k) of sources (m, k) with the fit of some rows to them."""
        own, inner = self._reduced(part, sources)
        return own.T @ own + inner.T @ solved(self.with_priors()[0], inner)

    def moved_by(self, changed: Changed) -> Array:
        """Change (p, k) of the border, as `LevenbergMarquardt.moved_by`."""
        rows = changed(self._nodes, self._weight)
        return self._following(np.sum([self._reduced(part, part.values)[1] for part in rows], axis=0))

    def pulls(self) -> Array:
        """Change (p, k) of the border by the slope of each prior of `rough`, to first order."""
        slopes = np.column_stack([r.rows.T @ (r.strength * r.values) for r in self.rough])
        own, inner = np.split(slopes, [self.layout.core_size])
        return self._following(inner - self.eliminated.half.T @ self._factor.forward(own))

    def _following(self, inner: Array) -> Array:
        """Change (p, k) of the border by a slope of that shape, numbers at bounds held."""
        return _descent(self.with_priors()[0], inner, self.at_bounds)

    def _reduced(self, part: Residuals, sources: Array) -> tuple[Array, Array]:
        """Products (n, k) and (p, k) of rows with sources (m, k), the core eliminated."""
        u, v = self.layout.core_rows(part), self.layout.border_rows(part, Slopes(self.objective.model))
        core = np.zeros((self.layout.core_size, sources.shape[1])) if u is None else u.T @ sources
        border = np.zeros((self.layout.border_size, sources.shape[1])) if v is None else v.T @ sources
        own = self._factor.forward(core)
        return own, border - self.eliminated.half.T @ own

    def solve(self, damping: float) -> Tensor:
        """The damped step, shape (parameters,); up to ``light_damping`` only the unknowns are damped.

        Numbers at bounds are held there: states must not follow a step that a bound does not allow.
        """
        n, undamped = self.normal, self.eliminated
        schur, reduced = self.with_priors()
        factor, half, diagonal = undamped.factor, undamped.half, np.diag(schur)
        if damping > self.tuning.light_damping:
            scale = damping * self.unit
            factor = factored(sp.csr_array(n.core + scale * sp.eye_array(self.layout.core_size)))
            half = factor.forward(n.between.toarray())
            schur = schur + undamped.half.T @ undamped.half - half.T @ half
            reduced = reduced + undamped.half.T @ self._slope - half.T @ factor.forward(n.core_gradient)
        schur = schur + np.diag(damping * (diagonal + 1e-3 * diagonal.mean()))
        return self.layout.flat(*self._with_states(factor, half, _descent(schur, reduced, self.at_bounds)))


def probes(m: int, tuning: JointTuning) -> Array:
    """Vectors, shape (m, k), of which the sum of ``vv'`` is the unit matrix, or is so on average."""
    if m <= tuning.exact_trace_rows:
        return np.eye(m)
    k = tuning.trace_probes
    return np.random.default_rng(0).choice([-1.0, 1.0], (m, k)) / np.sqrt(k)


def _descent(curvature: Array, slope: Array, held: Mask) -> Array:
    """The step, of the slope's shape, to the minimum of a quadratic of p parameters, some of them held."""
    if not held.any():
        return -solved(curvature, slope)
    step, free = np.zeros_like(slope), ~held
    if free.any():
        step[free] = -solved(curvature[np.ix_(free, free)], slope[free])
    return step


def _rough(
    linearisation: Linearisation, layout: Layout, slopes: Slopes, nodes: list[Array], total: Normal
) -> list[Rough]:
    """The smoothness priors of the states, which are added to the normal equations ``total`` as well."""
    objective = linearisation.objective
    found = []
    for i, state in enumerate(objective.states):
        for axis, part in linearisation.roughness.rows(state, nodes, slopes=True).items():
            strength = float(objective.roughness[i, axis])
            if not strength:
                continue
            if state.block != layout.core:
                rows = layout.rows(part, slopes)
                total.add(part.scaled(np.sqrt(strength)), layout, slopes)
            else:
                if (i, axis) not in layout.rough:
                    own = layout.core_rows(part)
                    assert own is not None
                    layout.rough[i, axis] = layout.rows(part, slopes), own, sp.csr_array(own.T @ own)
                rows, own, square = layout.rough[i, axis]
                total.add_rough(own, square, part.values, strength)
            found.append(Rough(i, axis, strength, rows, part.values))
    return found
