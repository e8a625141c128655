"""Strengths of the smoothness priors by the marginal likelihood of the linearised problem (evidence)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import get_lapack_funcs
from scipy.optimize import minimize_scalar

from mollifier.engines.collocated.levenberg_marquardt import Component
from mollifier.engines.joint.system import Bordered, Rough, solved
from mollifier.engines.priors.field_prior import Choice, Shape

Array = NDArray[np.float64]

_potrf, _trtrs = get_lapack_funcs(("potrf", "trtrs"), dtype=np.float64)

# Least and greatest strength, natural logarithm; most change of one in a single update.
_RANGE = (np.log(1e-12), np.log(1e6))
_CHANGE = np.log(1e3)
_ROUNDS = 3
# Strengths looked at about one, how near the best is to be found, in logarithm, of a shape that is kept and
# of one that is tried, and the deviance that this must gain.
_LOOKS, _PRECISE, _ROUGHLY, _BETTER = 5, 0.05, 0.5, 0.1
# The lattice of priors over which the unknowns are averaged: steps of the logarithm of the strength, how many
# at most, the deviance above the best at which it ends, and the share of all that is kept.
_STEP, _FARTHEST, _DEEPEST, _MOST = 1.0, 20, 12.0, 0.995
# Random probes of a trace, and rows up to which it is taken exactly instead.
_PROBES, _EXACT = 24, 150
# What stands for a marginal likelihood of zero.
_WORST = 1e30
# Most change of a state's strength in a single update, and least number of its modes taken as determined.
_FACTOR, _LEAST = 1e2, 1e-2
# A prior that holds fewer modes than these has no use, and would only bias the unknowns: it is divided by so
# much once its strength is within a factor of the best.
_HELD, _FADED, _NEAR = 0.5, 1e4, 3.0


def best_roughness(
    system: Bordered, faded: Collection[tuple[int, int]] = ()
) -> dict[tuple[int, int], tuple[float, float]]:
    """Strengths of the states' smoothness priors nearer to those of greatest evidence.

    The prior of the states is conditional on the equation, with curvature A = K + w R'R of smoothness K and
    equation slopes R; with the data and the unknowns free it is H. The evidence is stationary where, for each
    part K_j, the squares ``u' K_j u`` are ``tr(A^-1 K_j) - tr(H^-1 K_j)``: modes that the equation fixes
    count in neither. The update sets the strength by that ratio (Wood and Fasiolo, Biometrics 73:1071, 2017).
    Traces are by random probes, the same every time and for both. A prior that holds hardly anything at its
    best strength fades out, for good.

    Parameters
    ----------
    system
        The normal equations.
    faded
        (target, axis) of the priors that have faded out.

    Returns
    -------
    strengths
        (target, axis) -> new strength, and the number of modes that the data determine; none where it fades.
    """
    schur = system.with_priors()[0]
    schur[np.diag_indices_from(schur)] += 1e-12 * np.diag(schur).mean() if len(schur) else 0.0
    found = {}
    for rough in system.rough:
        place = rough.target, rough.axis
        if place in faded:
            continue
        core, border = _probes(rough, system)
        free = system.before_data.energies(core, border[system.layout.states])
        taken = system.eliminated.energies(core, border, schur)
        modes = max(rough.strength * float(np.sum(free - taken)), _LEAST)
        ratio = modes / max(rough.strength * system.objective.count * rough.squares, 1e-300)
        if ratio < _NEAR and rough.strength * float(np.sum(taken)) < _HELD:
            found[place] = rough.strength / _FADED, 0.0
            continue
        found[place] = rough.strength * float(np.clip(ratio, 1 / _FACTOR, _FACTOR)), modes
    return found


def _probes(rough: Rough, system: Bordered) -> tuple[Array, Array]:
    """Vectors v, parts (n, k) and (p, k), with the mean of vv' over probes the prior's square."""
    layout = system.layout
    m = rough.rows
    if m <= _EXACT:
        signs = np.eye(m)
    else:
        signs = np.random.default_rng(0).choice([-1.0, 1.0], (m, _PROBES)) / np.sqrt(_PROBES)
    return (
        np.zeros((layout.core_size, signs.shape[1])) if rough.core is None else rough.core.T @ signs,
        np.zeros((layout.border_size, signs.shape[1])) if rough.border is None else rough.border.T @ signs,
    )


class Search:
    """The priors of unknown fields that were not given, by the marginal likelihood.

    Parameters
    ----------
    system
        The normal equations.
    free
        Fields whose priors are sought, the others as they are.
    shapes
        Whether shapes are sought too, not strengths only.
    """

    def __init__(self, system: Bordered, free: Sequence[str], shapes: bool = True) -> None:
        self.system, self.free, self.shapes = system, free, shapes
        self.count = system.objective.count

    def best(self) -> dict[str, Choice]:
        """Priors nearer to those of greatest marginal likelihood, field by field."""
        choices = dict(self.system.choices)
        for _ in range(_ROUNDS if len(self.free) > 1 else 1):
            for name in self.free:
                choices[name] = self._climbed(name, choices)
        return choices

    def _climbed(self, name: str, choices: Mapping[str, Choice]) -> Choice:
        """From a field's choice uphill, shape by shape."""
        prior = self.system.priors[name].prior
        best, value = Along(self.system, name, choices).strongest(choices[name], _PRECISE)
        tried = {best.shape}
        while self.shapes:
            others = [s for s in prior.neighbours(best.shape) if s not in tried]
            tried |= set(others)
            looks = [self._moved(name, choices, best, s) for s in others]
            found = min(looks, key=lambda pair: pair[1], default=(best, np.inf))
            if not found[1] < value - _BETTER:
                break
            best, value = found
        return best

    def _moved(
        self, name: str, choices: Mapping[str, Choice], start: Choice, shape: Shape
    ) -> tuple[Choice, float]:
        """The best of another shape, and its deviance."""
        moved = Choice(shape, start.strength)
        return Along(self.system, name, {**choices, name: moved}).strongest(moved, _ROUGHLY)

    def mixture(self) -> list[Component]:
        """The unknowns' distribution, averaged over the priors that were not given.

        Orders, and the logarithms of lengths, are all as likely beforehand. Of one field at a time, the
        others as they are.
        """
        kept = self.system.choices
        sets, twice = [kept], [0.0]
        for name in self.free:
            for choice, value in self._about(name):
                sets.append({**kept, name: choice})
                twice.append(value)
        shares = np.exp(-(np.array(twice) - min(twice)) / 2)
        order = np.argsort(-shares)
        enough = int(np.searchsorted(np.cumsum(shares[order]), _MOST * shares.sum())) + 1
        total = float(shares[order[:enough]].sum())
        return [self._component(sets[i], float(shares[i]) / total) for i in order[:enough]]

    def _about(self, name: str) -> Iterator[tuple[Choice, float]]:
        """Choices of one field on a lattice about the present one, as far as they count; that one left out.

        And their deviances over that of the present one.
        """
        kept = self.system.choices
        start, prior = kept[name], self.system.priors[name].prior
        least = Along(self.system, name, kept)(np.log(start.strength))
        queue, tried = [start] if np.isfinite(least) else [], {start.shape}
        while queue:
            at = queue.pop()
            along = Along(self.system, name, {**kept, name: at})
            centre = np.log((at if at is start else along.strongest(at, _ROUGHLY)[0]).strength)
            # One lattice for all, or the sums over shapes would not compare.
            middle = np.log(start.strength)
            middle += _STEP * round((centre - middle) / _STEP)
            found = along(middle) - least
            if at is not start:
                yield Choice(at.shape, float(np.exp(middle))), found
            if not found < _DEEPEST:
                continue
            for step in (-_STEP, _STEP):
                for i in range(1, _FARTHEST):
                    value = along(middle + i * step) - least
                    if not value < _DEEPEST:
                        break
                    yield Choice(at.shape, float(np.exp(middle + i * step))), value
            others = [s for s in prior.neighbours(at.shape) if s not in tried]
            tried |= set(others)
            queue += [Choice(s, float(np.exp(centre))) for s in others]

    def _component(self, choices: Mapping[str, Choice], share: float) -> Component:
        schur, reduced = self.system.with_priors(choices)
        precision = schur * self.count
        for prior in self.system.priors.values():
            precision[prior.columns, prior.columns] += prior.held * np.eye(len(prior.x))
        shift = -solved(precision, reduced * self.count) if self.free else np.zeros(len(reduced))
        return Component(torch.from_numpy(precision), shift, share)


class Along:
    """Minus twice the log of the marginal likelihood of one field's prior, of a shape, along its strength.

    The problem is taken as linear about where the system was formed, and the loss, times the number of
    samples, as minus twice a log-likelihood: least value + log det(curvature) - log det(precision of the
    prior), and what the strength had beforehand; up to a constant, which is the same for all shapes.

    Parameters
    ----------
    system
        The normal equations.
    name
        The field.
    choices
        The priors of all.
    """

    def __init__(self, system: Bordered, name: str, choices: Mapping[str, Choice]) -> None:
        self.count = system.objective.count
        self.shape, self.prior = choices[name].shape, system.priors[name]
        self._schur, self._reduced = (a * self.count for a in system.with_priors(choices, without=name))
        for prior in system.priors.values():
            self._schur[prior.columns, prior.columns] += prior.held * np.eye(len(prior.x))
        self._square, self._slope = self.prior.square(self.shape), self.prior.gradient(self.shape)
        self._value = self.prior.value(self.shape)
        self._conditions = system.conditions.get(name)

    def __call__(self, log: float) -> float:
        """At the logarithm of a strength."""
        a = float(np.exp(log)) * self.count
        schur, reduced, here = self._schur.copy(), self._reduced.copy(), self.prior.columns
        schur[here, here] += a * self._square
        reduced[here] += a * self._slope
        factor, wrong = _potrf(schur, lower=1, overwrite_a=1)
        if wrong:
            return np.inf
        descent = _trtrs(factor, reduced, lower=1)[0]
        determinants = 2 * float(np.log(np.diag(factor)).sum()) - self.prior.log_determinant(self.shape, a)
        whole = a * self._value - float(descent @ descent) + determinants + self.prior.surprise(self.shape, a)
        if self._conditions is None:
            return whole
        return whole - self._conditions.deviance(self.prior, self.shape, a, self.count)

    def strongest(self, start: Choice, tolerance: float) -> tuple[Choice, float]:
        """The best strength near that of a choice, and the deviance there."""
        at = np.log(max(start.strength, 1e-12))
        seen: dict[float, float] = {}

        def along(x: float) -> float:
            seen[x] = self(x)
            return seen[x]

        low, high = max(at - _CHANGE, _RANGE[0]), min(at + _CHANGE, _RANGE[1])
        best = minimise(along, low, high, _LOOKS, tolerance)
        return Choice(self.shape, float(np.exp(best))), seen[best]


def minimise(
    function: Callable[[float], float], low: float, high: float, looks: int = 9, tolerance: float = 0.05
) -> float:
    """The least of a function of one number between bounds: looked for on a grid, then by Brent's method.

    Examples
    --------
    >>> round(minimise(lambda x: (x - 0.3) ** 2, -5.0, 5.0), 1)
    0.3
    """

    def bounded(x: float) -> float:
        # Brent's method takes differences, which infinity has none of.
        return min(function(x), _WORST)

    grid = np.linspace(low, high, looks)
    values = [bounded(float(x)) for x in grid]
    best = int(np.argmin(values))
    bracket = float(grid[max(best - 1, 0)]), float(grid[min(best + 1, looks - 1)])
    found = minimize_scalar(bounded, bounds=bracket, method="bounded", options={"xatol": tolerance})
    return float(found.x) if found.fun <= values[best] else float(grid[best])
