"""The search for the priors of greatest evidence, and the average over all that count."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mollifier.engines.priors.evidence import EvidenceProfile, LinearisedProblem
from mollifier.engines.priors.shapes import Choice, Shape
from mollifier.engines.priors.tuning import PriorTuning

Choices = Mapping[str, Choice]

_WORST = 1e30  #: In place of minus the logarithm of an evidence of zero, of which differences can be taken.

_MOST_PARABOLAS = 20  #: Most places at which `minimise` evaluates beside its grid.

_NARROW = 1.0  # Span of a parabola, of logarithms, below which its vertex is near the least.


@dataclass(frozen=True, eq=False)
class PriorSearch:
    """Shapes and strengths of the priors of some fields, the others as they are."""

    problem: LinearisedProblem  #: Supplies the evidence.
    free: Sequence[str]  #: Fields whose priors are sought.
    tuning: PriorTuning  #: Steers the search.

    def anew(self) -> dict[str, Choice]:
        """The priors of greatest evidence, from no start: it may have several maxima."""
        choices = {}
        for name, prior in self.problem.priors.items():
            shape = prior.shapes.first[0]
            weak = self.problem.balance(name, shape) + self.tuning.first_strengths[0]
            choices[name] = Choice(shape, float(np.exp(weak)))
        return self.improved(choices, anew=True)

    def improved(
        self, choices: Choices, shapes: bool = True, anew: bool = False, near: bool = False
    ) -> dict[str, Choice]:
        """Priors of greater evidence near those given, field by field.

        With ``shapes`` these are sought too, not strengths only; with ``anew`` the first round looks at
        strengths and shapes far from the present ones too. With ``near`` strengths are sought from beside the
        present ones, by half as many evaluations: not of greater evidence across a valley.
        """
        choices = dict(choices)
        for i in range(self.tuning.rounds if len(self.free) > 1 else 1):
            for name in self.free:
                start = self._first(name, choices) if anew and not i else choices[name]
                choices[name] = self._climbed(name, {**choices, name: start}, shapes, near)
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

    def _first(self, name: str, choices: Choices) -> Choice:
        """The best of a coarse grid of all strengths and some shapes."""
        found = []
        for shape in self.problem.priors[name].shapes.first:
            profile = self._profile(name, choices, Choice(shape, 1.0))
            middle, (low, high) = self.problem.balance(name, shape), self._range(name, shape)
            # Those beyond an end are one.
            logs = dict.fromkeys(float(np.clip(middle + x, low, high)) for x in self.tuning.first_strengths)
            found += [(profile(x), shape, x) for x in logs]
        _, shape, log = max(found, key=lambda choice: choice[0])
        return Choice(shape, float(np.exp(log)))

    def _climbed(self, name: str, choices: Choices, shapes: bool, near: bool) -> Choice:
        """From a field's choice uphill, shape by shape."""
        prior, tuning = self.problem.priors[name], self.tuning
        best, value = self._strongest(name, choices, choices[name], tuning.precise, near)
        tried = {best.shape}
        while shapes:
            others = [s for s in prior.shapes.neighbours(best.shape) if s not in tried]
            tried |= set(others)
            climbed = [
                self._strongest(name, choices, Choice(s, best.strength), tuning.roughly) for s in others
            ]
            found = max(climbed, key=lambda choice: choice[1], default=(best, -np.inf))
            if not found[1] > value + tuning.better:
                break
            best, value = found
        return best

    def _strongest(
        self, name: str, choices: Choices, start: Choice, tolerance: float, near: bool = False
    ) -> tuple[Choice, float]:
        """The best strength of a shape near a start, and its log-evidence."""
        tuning = self.tuning
        profile = self._profile(name, choices, start)
        low, high = self._range(name, start.shape)
        present = float(np.log(max(start.strength, 1e-300)))
        if high < present - tuning.change:  # of a field at a bound, whose slopes have vanished
            return start, profile(present)
        at = float(np.clip(present, low, high))
        ends = max(at - tuning.change, low), min(at + tuning.change, high)
        count = tuning.near_evaluations if near else tuning.evaluations
        best, value = minimise(lambda x: -profile(x), *ends, count, tolerance, at)
        return Choice(start.shape, float(np.exp(best))), -value

    def _about(self, name: str, choices: Choices) -> Iterator[tuple[Choice, float]]:
        """Choices of one field on a lattice about the present one, as far as they count, without that one.

        And their log-evidence beyond that of the present one.
        """
        start, tuning = choices[name], self.tuning
        present = float(np.log(start.strength))
        most = self._profile(name, choices, start)(present)
        queue, tried = [start] if np.isfinite(most) else [], {start.shape}
        while queue:
            at = queue.pop()
            profile = self._profile(name, choices, at)
            best = at if at is start else self._strongest(name, choices, at, tuning.roughly)[0]
            centre = float(np.log(best.strength))
            # One lattice for all shapes, so that their sums compare.
            middle = present + tuning.step * round((centre - present) / tuning.step)
            found = profile(middle) - most
            if at is not start:
                yield Choice(at.shape, float(np.exp(middle))), found
            if not found > -tuning.depth:
                continue
            low, high = self._range(name, at.shape)
            for sign in (-tuning.step, tuning.step):
                for i in range(1, tuning.most_steps):
                    value = profile(middle + i * sign) - most
                    if not (value > -tuning.depth and low <= middle + i * sign <= high):
                        break
                    yield Choice(at.shape, float(np.exp(middle + i * sign))), value
            others = [s for s in self.problem.priors[name].shapes.neighbours(at.shape) if s not in tried]
            tried |= set(others)
            queue += [Choice(s, float(np.exp(centre))) for s in others]


def minimise(
    function: Callable[[float], float],
    low: float,
    high: float,
    count: int = 9,
    tolerance: float = 0.05,
    start: float | None = None,
) -> tuple[float, float]:
    """The least of a smooth function of one number between bounds, and its value: a grid, then parabolas.

    With a start, places of the grid are looked at from there downhill, not all of them.

    >>> round(minimise(lambda x: (x - 0.3) ** 2, -5.0, 5.0)[0], 3)
    0.3
    >>> round(minimise(lambda x: (x - 0.3) ** 4, -5.0, 5.0, start=4.0)[0], 1)
    0.3
    """
    known: dict[float, float] = {}

    def at(x: float) -> float:
        if x not in known:
            known[x] = min(function(x), _WORST)
        return known[x]

    grid = [float(x) for x in np.linspace(low, high, count)]
    if start is None:
        best = min(grid, key=at)
    else:
        best, before = min(grid, key=lambda x: abs(x - start)), None
        while best != before:
            best, before = min(_beside(grid, best), key=at), best
    moved = np.inf
    for _ in range(_MOST_PARABOLAS):
        around = _beside(sorted(known), best)
        x = _vertex([(p, known[p]) for p in around])
        at(x)
        before, moved = moved, abs(x - best)
        best = min(known, key=at)
        # A parabola over a wide span may be off by more than it moves.
        if moved < tolerance and (before < tolerance or around[-1] - around[0] < _NARROW):
            break
    return best, known[best]


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
