"""Standard errors from the curvature of the loss at the end of a run (Laplace's approximation)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property, partial

import numpy as np
import scipy.sparse as sp
import torch
from scipy.linalg import solve_triangular

from mollifier.engines.collocated.bijection import Bijection, Scalar
from mollifier.engines.collocated.levenberg_marquardt import Component, LevenbergMarquardt
from mollifier.engines.collocated.spacing import residuals_between
from mollifier.engines.linalg.dense import lower_factor
from mollifier.engines.sensitivity import rounded, unseen
from mollifier.mollify.arrays import Array
from mollifier.mollify.orders import Derivative

# Least slope of a bijection: at a bound it rounds to zero, and columns of the curvature are divided by it.
_LEAST_SLOPE = 1e-30


class Laplace:
    """Standard errors of the unknowns, with the equation at its full weight.

    The posterior is a mixture of normal distributions, each with the inverse of n J'J as its covariance, n
    the number of samples (MacKay, Neural Computation 4:415, 1992). A number that neither data, equation nor
    prior determine has a standard deviation of its own size (`wide_sd`). Bounds of numbers are ignored: a
    number at a bound has the standard error that it would have without. Values of fields are averaged over
    their bijection, which is curved near a bound. Where the smoothness of fields was not given, it is
    averaged over, and standard errors include the bias caused by the prior. Errors by the spacing of the
    collocation grid are added (`mollifier.engines.collocated.spacing`).
    """

    def __init__(self, stage: LevenbergMarquardt) -> None:
        self.model, self.stage = stage.model, stage
        components, self._places = stage.marginal()
        units = np.ones(len(components[0].shift))
        held = np.zeros(len(units))
        for name, scalar in self.model.scalars.items():
            here = self._places[name].start
            units[here], held[here] = wide_sd(scalar) / slope_of(scalar), 1.0
        self._units = units
        self._noise = _spread_factor(components, units, held)
        self._spacing: dict[str, Array] = {}
        sizes = stage.objective.sizes[: len(stage.objective.equations)].cpu().numpy()
        left = residuals_between(self.model, sizes) if self._noise is not None else {}
        if left:
            sources = partial(stage.linearisation.sourced, np.stack([*left.values()], axis=-1))
            moved = stage.moved_by(sources).T / units
            self._spacing = dict(zip(left, moved[:, None], strict=True))

    @property
    def _factor(self) -> Array | None:
        """F with F'F the covariance of the unknowns, errors by the spacing included."""
        return None if self._noise is None else np.concatenate([self._noise, *self._spacing.values()])

    def spacing(self) -> Iterator[tuple[str, str, float, float]]:
        """Unknown and coordinate, and the rms error by the spacing along it: in other standard errors, and in
        the rms of the unknown."""
        with torch.no_grad():
            env, _, _ = self.model()
        for name in self._places:
            if self._noise is None:
                return
            noise, size = self._rms(name, self._noise), float(env[name].square().mean().sqrt())
            for c, row in self._spacing.items():
                error = self._rms(name, row)
                yield name, c, error / max(noise, 1e-300), error / max(size, 1e-300)

    def _rms(self, name: str, factor: Array) -> float:
        """Rms standard error of an unknown in the measured region by a factor of the covariance."""
        if name in self.model.scalars:
            unit = wide_sd(self.model.scalars[name])
            return abs(unit) * float(np.linalg.norm(factor[:, self._places[name]]))
        squares = np.square(self._spread(name, factor)).sum(-1)
        if name not in self.model.problem.laws:
            squares = squares[self.model.collocation.within(self.model.unknown_blocks[name].grid.names)]
        return float(np.sqrt(np.mean(squares)))

    def sensitivity(self) -> dict[str, dict[str, float]]:
        """Unknown -> label of `mollifier.engines.sensitivity.unseen` -> by how much it would move it."""
        targets = self.stage.objective.targets if self._noise is not None else []
        places = {t.name: self.model.places[t.block].columns for t in targets}
        errors = [
            (f, label, effect.at(at))
            for f, at in places.items()
            for label, effect in unseen(f, self.model.problem.data.rms(f), at).items()
        ]
        if not errors:
            return {}
        changes = {f: sp.hstack([(g == f) * e for g, _, e in errors], format="csr") for f in places}
        moved = self.stage.moved_by(partial(self.stage.linearisation.remeasured, changes)).T / self._units
        found: dict[str, dict[str, float]] = {n: {} for n in self._places}
        for (_, label, _), row in zip(errors, moved, strict=True):
            for name, here in self._places.items():
                number = self.model.scalars.get(name)
                by = self._rms(name, row[None]) if number is None else wide_sd(number) * row[here][0]
                found[name][label] = rounded(float(by))
        return found

    def scalars(self) -> dict[str, float | None]:
        """Scalar unknown -> standard error; None where the curvature is not finite."""
        if self._factor is None:
            return dict.fromkeys(self.model.scalars)
        sd = {n: self._rms(n, self._factor) for n in self.model.scalars}
        return {n: s if np.isfinite(s) else None for n, s in sd.items()}

    def posterior_ratio(self) -> dict[str, float]:
        """Scalar unknown -> ratio of its posterior standard deviation to that of a wide prior."""
        if self._noise is None:
            return {}
        return {n: float(np.linalg.norm(self._noise[:, self._places[n]])) for n in self.model.scalars}

    @cached_property
    def fields(self) -> dict[str, Array]:
        """Unknown field -> standard errors on its grid; empty where the curvature is not finite."""
        names = () if self._factor is None else self.model.unknown_blocks
        return {n: np.sqrt(np.square(self._errors(n)).sum(-1)) for n in names}

    def laws(self) -> dict[str, Array]:
        """Law of one state -> covariance of its error at the values where it is read out."""
        laws = () if self._factor is None else self.model.problem.laws
        spreads = {n: self._errors(n) for n in laws if len(self.model.grid_of(n).axes) == 1}
        return {n: s @ s.T for n, s in spreads.items()}

    def _errors(self, name: str) -> Array:
        """Independent errors of an unknown field on its grid, shape (*grid.shape, k)."""
        assert self._factor is not None
        unresolved = self.stage.unresolved(name, self.stage.raw(self.model.unknown_blocks[name])[0])
        return self._spread(name, self._factor, unresolved)

    def _spread(self, name: str, factor: Array, *more: Array) -> Array:
        """Errors on a field's grid, (*grid.shape, k), by a factor and more errors before the bijection.

        The bijection is averaged over noise only: an error by the spacing has a sign, and by the exponential
        of many standard errors it would be without limit.
        """
        block, points = self.model.unknown_blocks[name], self.stage.objective.tuning.quadrature_points
        assert block.bijection is not None
        assert self._noise is not None
        raw, jacobian = self.stage.raw(block)
        spread, noise = (
            np.column_stack([jacobian @ f[:, self._places[name]].T, *more]) for f in (factor, self._noise)
        )
        slope = block.bijection.mean_slopes(raw, np.sqrt(np.square(noise).sum(-1)), points)
        spread = block.mollified.matrix(Derivative("u")) @ (slope[:, None] * spread)
        return self.model.gauge_fixed(name, spread.reshape(*block.grid.shape, -1))

    def hidden(self) -> dict[str, Array]:
        """Hidden state -> standard errors on its grid, of those that have some."""
        problem, grid = self.model.problem, self.model.collocation.grid
        shapes = {n: grid.subgrid(problem.coordinates_of(n)).shape for n in problem.hidden}
        return {n: sd.reshape(shapes[n]) for n, sd in self.stage.hidden().items()}


def unit_of(bijection: Bijection) -> float:
    """Derivative of a value by its raw value at the level."""
    return float(bijection.slopes(np.zeros(1))[0])


def wide_sd(scalar: Scalar) -> float:
    """Standard deviation of a number by a wide prior, with the sign of its bijection's slope.

    That is its size at first, or now where that is larger: a first guess may be off by orders of magnitude.
    Between two bounds it is that of a uniform distribution, wherever the level is.
    """
    first, bijection = unit_of(scalar.bijection), scalar.bijection
    if bijection.lower is not None and bijection.upper is not None:
        return float(np.copysign((bijection.upper - bijection.lower) / np.sqrt(12.0), first))
    bound = next((b for b in (bijection.lower, bijection.upper) if b is not None), 0.0)
    return float(np.copysign(max(abs(first), abs(float(scalar().detach()) - bound)), first))


def slope_of(scalar: Scalar) -> float:
    """Derivative of a number by its raw parameter, bounded away from zero."""
    slope = scalar.slope()
    return float(np.copysign(max(abs(slope), _LEAST_SLOPE), slope))


def _spread_factor(components: Sequence[Component], units: Array, held: Array) -> Array | None:
    """F with F'F the covariance of the mixture, in ``units``; None if a precision is not finite."""
    rows: list[Array] = []
    scale = np.outer(units, units)
    for c in components:
        if not np.isfinite(c.precision).all():
            return None
        factor = _inverse_factor(c.precision * scale + np.diag(held))
        if c.assumed is not None:
            # S^-1 (S - A) S^-1 = F'(1 - F A F')F with F'F = S^-1.
            left = np.eye(len(factor)) - factor @ (c.assumed * scale) @ factor.T
            values, vectors = np.linalg.eigh(left)
            factor = (vectors * np.sqrt(np.maximum(values, 0.0))).T @ factor
        rows += [factor * c.share**0.5, (c.shift / units)[None] * c.share**0.5]
    whole = np.concatenate(rows)
    if len(components) == 1:
        return whole
    # As many rows as unknowns, in place of those of every component.
    factor = lower_factor(whole.T @ whole)
    return whole if factor is None else factor.T


def _inverse_factor(precision: Array) -> Array:
    """F with F'F the inverse."""
    factor = lower_factor(precision)
    if factor is not None:
        return solve_triangular(factor, np.eye(len(precision)), lower=True)
    # Rounding has made it indefinite: eigenvalues at the level of rounding are replaced.
    values, vectors = np.linalg.eigh(precision)
    return (vectors / np.sqrt(np.maximum(values, max(values[-1], 1.0) * 1e-15))).T
