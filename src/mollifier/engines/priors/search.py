"""The search for the priors of greatest evidence, and the average over all that count."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mollifier.engines.priors.evidence import EvidenceProfile, LinearisedProblem
from mollifier.engines.priors.shapes import Choice, Shape
from mollifier.engines.priors.tuning import PriorTuning

Choices = Mapping[str, Choice]

_WORST = 1e30
"""In place of minus the logarithm of an evidence of zero, of which differences can be taken."""

_MOST_PARABOLAS = 20
"""Most places that `minimise` looks at beside its grid."""

_NARROW = 3.5
"""Span of a parabola, in first steps from a start, below which its vertex is near the least."""


@dataclass(frozen=True, eq=False)
class PriorSearch:
    """Shapes and strengths of the priors of some fields, the others as they are."""

    #: Supplies the evidence.
    problem: LinearisedProblem
    #: Fields whose priors are sought.
    free: Sequence[str]
    #: Steers the search.
    tuning: PriorTuning

    def anew(self) -> dict[str, Choice]:
        """The priors of greatest evidence, from no start: it may have several maxima."""
        choices = {}
        for name, prior in self.problem.priors.items():
            shape = prior.shapes.first[0]
            weak = self.problem.balance(name, shape) + self.tuning.first_strengths[0]
            choices[name] = Choice(shape, float(np.exp(weak)))
        return self.improved(choices, anew=True)

    def improved(self, choices: Choices, shapes: bool = True, anew: bool = False) -> dict[str, Choice]:
        """Priors of greater evidence near those given, field by field.

        Parameters
        ----------
        choices
            The present priors of all fields.
        shapes
            Whether shapes are sought too, not strengths only.
        anew
            Whether the first round looks at strengths and shapes far from the present ones too.
        """
        choices = dict(choices)
        for i in range(self.tuning.rounds if len(self.free) > 1 else 1):
            for name in self.free:
                start = self._first(name, choices) if anew and not i else choices[name]
                choices[name] = self._climbed(name, {**choices, name: start}, shapes)
        return choices

    def mixture(self, choices: Choices) -> list[tuple[float, dict[str, Choice]]]:
        """Priors about the best, and their weights, which add up to one; heaviest first.

        Orders, the logarithms of lengths and those of strengths, but for the hyperprior, are all equally
        probable a priori. One field's prior is varied at a time.
        """
        sets, logs = [dict(choices)], [0.0]
        for name in self.free:
            for choice, log in self._about(name, choices):
                sets.append({**choices, name: choice})
                logs.append(log)
        weights = np.exp(np.array(logs) - max(logs))
        order = np.argsort(-weights, kind="stable")
        enough = int(np.searchsorted(np.cumsum(weights[order]), self.tuning.share * weights.sum())) + 1
        total = float(weights[order[:enough]].sum())
        return [(float(weights[i]) / total, sets[i]) for i in order[:enough]]

    def _profile(self, name: str, choices: Choices, choice: Choice) -> EvidenceProfile:
        return self.problem.profile(name, {**choices, name: choice})

    def _range(self, name: str, shape: Shape) -> tuple[float, float]:
        """Least and greatest strength of a shape, natural logarithm."""
        prior, middle = self.problem.priors[name], self.problem.balance(name, shape)
        low, high = self.tuning.farthest
        flattest = prior.log_variance(shape, 1.0)[0] - 2 * self.tuning.flattest
        high = min(middle + high, flattest, float(np.log(prior.strongest(shape))))
        return min(middle + low, high), high

    def _bounds(self, name: str, choice: Choice) -> tuple[float, float]:
        """As `_range`, or the strength of a choice far above it: of a field at a bound, without slopes."""
        (low, high), log = self._range(name, choice.shape), float(np.log(max(choice.strength, 1e-300)))
        return (log, log) if high < log - self.tuning.change else (low, high)

    def _first(self, name: str, choices: Choices) -> Choice:
        """The best of a coarse grid of all strengths and some shapes."""
        found = []
        for shape in self.problem.priors[name].shapes.first:
            profile = self._profile(name, choices, Choice(shape, 1.0))
            middle, (low, high) = self.problem.balance(name, shape), self._range(name, shape)
            logs = [float(np.clip(middle + x, low, high)) for x in self.tuning.first_strengths]
            found += [(profile(x), shape, x) for x in logs]
        _, shape, log = max(found, key=lambda look: look[0])
        return Choice(shape, float(np.exp(log)))

    def _climbed(self, name: str, choices: Choices, shapes: bool) -> Choice:
        """From a field's choice uphill, shape by shape."""
        prior, tuning = self.problem.priors[name], self.tuning
        best, value = self._strongest(name, choices, choices[name], tuning.precise)
        tried = {best.shape}
        while shapes:
            others = [s for s in prior.shapes.neighbours(best.shape) if s not in tried]
            tried |= set(others)
            starts = (self._alike(name, best, shape) for shape in others)
            looks = [self._strongest(name, choices, start, tuning.roughly) for start in starts]
            found = max(looks, key=lambda look: look[1], default=(best, -np.inf))
            if not found[1] > value + tuning.better:
                break
            best, value = found
        return best

    def _alike(self, name: str, choice: Choice, shape: Shape) -> Choice:
        """A shape at the strength at which the field varies as much as at a choice, by the priors."""
        prior = self.problem.priors[name]
        own, other = (prior.log_variance(s, choice.strength)[0] for s in (choice.shape, shape))
        return Choice(shape, choice.strength * float(np.exp(other - own)))

    def _strongest(
        self, name: str, choices: Choices, start: Choice, tolerance: float
    ) -> tuple[Choice, float]:
        """The best strength of a shape near a start, and its log-evidence."""
        tuning = self.tuning
        profile = self._profile(name, choices, start)
        low, high = self._bounds(name, start)
        at = float(np.clip(np.log(max(start.strength, 1e-300)), low, high))
        ends = max(at - tuning.change, low), min(at + tuning.change, high)
        near = at, tuning.beside
        best, value = minimise(lambda x: -profile(x), *ends, tolerance=tolerance, near=near)
        return Choice(start.shape, float(np.exp(best))), -value

    def _about(self, name: str, choices: Choices) -> Iterator[tuple[Choice, float]]:
        """Choices of one field on a lattice about the present one, as far as they count, without that one.

        And their log-evidence beyond that of the present one.
        """
        start, least = choices[name], -self.tuning.depth
        present = float(np.log(start.strength))
        most = self._profile(name, choices, start)(present)
        queue, tried = [start] if np.isfinite(most) else [], {start.shape}
        while queue:
            at = queue.pop()
            found = self._uphill(name, choices, at, present, most + least)
            yield from (
                (Choice(at.shape, float(np.exp(log))), value - most)
                for log, value in found.items()
                if value - most > least and (at is not start or log != present)
            )
            best = max(found, key=lambda log: found[log])
            if found[best] - most > least:
                here = Choice(at.shape, float(np.exp(best)))
                others = [s for s in self.problem.priors[name].shapes.neighbours(at.shape) if s not in tried]
                tried |= set(others)
                queue += [self._alike(name, here, shape) for shape in others]

    def _uphill(
        self, name: str, choices: Choices, start: Choice, origin: float, least: float
    ) -> dict[float, float]:
        """Log-strengths and log-evidence of a shape: from a start uphill, then both ways down to ``least``.

        They are on a lattice that contains ``origin``, one for all shapes, so that their sums compare.
        """
        tuning, (low, high) = self.tuning, self._bounds(name, start)
        profile, known = self._profile(name, choices, start), {}

        def value(i: int) -> float:
            if i not in known:
                log = origin + i * tuning.step
                known[i] = profile(log) if i == first or low <= log <= high else -np.inf
            return known[i]

        best = first = round((float(np.clip(np.log(start.strength), low, high)) - origin) / tuning.step)
        for sign in (-1, 1):
            while value(best + sign) > value(best):
                best += sign
        for sign in (-1, 1):
            i = 1
            while i < tuning.most_steps and value(best + i * sign) > least:
                i += 1
        return {origin + i * tuning.step: v for i, v in known.items()}


def minimise(
    function: Callable[[float], float],
    low: float,
    high: float,
    looks: int = 9,
    tolerance: float = 0.05,
    near: tuple[float, float] | None = None,
) -> tuple[float, float]:
    """The least of a smooth function of one number between bounds, and its value: a grid, then parabolas.

    With ``near``, a start and a step, places beside the start are looked at in place of the grid, then
    downhill by steps that double.

    Examples
    --------
    >>> round(minimise(lambda x: (x - 0.3) ** 2, -5.0, 5.0)[0], 3)
    0.3
    >>> round(minimise(lambda x: (x - 0.3) ** 2, -5.0, 5.0, near=(4.0, 0.5))[0], 3)
    0.3
    """
    known: dict[float, float] = {}

    def at(x: float) -> float:
        if x not in known:
            known[x] = min(function(x), _WORST)
        return known[x]

    if near is None:
        best, narrow = min((float(x) for x in np.linspace(low, high, looks)), key=at), 0.0
    else:
        best, narrow = _downhill(at, low, high, *near), _NARROW * near[1]
    moved = np.inf
    for _ in range(_MOST_PARABOLAS):
        around = _beside(sorted(known), best)
        x = _vertex([(p, known[p]) for p in around])
        at(x)
        before, moved = moved, abs(x - best)
        best = min(known, key=at)
        # A parabola over a wide span may be off by more than it moves.
        if moved < tolerance and (before < tolerance or around[-1] - around[0] < narrow):
            break
    return best, known[best]


def _downhill(at: Callable[[float], float], low: float, high: float, start: float, step: float) -> float:
    """The lowest place beside a start or downhill from it, by steps that double until the function rises."""
    best = min((start, max(start - step, low), min(start + step, high)), key=at)
    step = best - start
    while step:
        step *= 2
        x = float(np.clip(best + step, low, high))
        if not at(x) < at(best):
            break
        best = x
    return best


def _beside(places: Sequence[float], x: float) -> Sequence[float]:
    """A place and its neighbours, of places in order."""
    i = places.index(x)
    return places[max(i - 1, 0) : i + 2]


def _vertex(points: Sequence[tuple[float, float]]) -> float:
    """Where the parabola through three points is least, the middle one the lowest; the middle of two."""
    if len(points) < 3:
        return (points[0][0] + points[-1][0]) / 2
    (a, fa), (b, fb), (c, fc) = points
    left, right = (b - a) * (fb - fc), (b - c) * (fb - fa)
    return b - ((b - a) * left - (b - c) * right) / (2 * (left - right)) if left != right else b
