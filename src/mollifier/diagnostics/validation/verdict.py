"""Misfits in units of the noise, the correlation of neighbouring errors, and the verdict that follows."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import numpy as np

from mollifier.data.neighbours import neighbour_correlation
from mollifier.engines.growing_noise import noise_of
from mollifier.mollify.arrays import Array
from mollifier.mollify.distributions import chi2_tail, chi2_upper
from mollifier.problem.solution import Solution

# Measurements of one degree of freedom: their noise may be estimated from themselves, by differences.
_SHARED = 5.0
_FLOOR = 1e-3  # The noise is taken to be no less than this share of a field's rms: no grid is exact.


@dataclass(frozen=True)
class Misfit:
    """Errors of a prediction, in units of the noise."""

    count: int  #: Measurements.
    #: Mean square error over the noise's variance, 1 for a perfect prediction, and its 95 % interval.
    ratio: float
    low: float
    high: float
    p: float  #: Chance of so large a ratio from noise alone, whose size is uncertain.
    #: Rms of the part of the errors that neighbours share, in units of the noise's standard deviation.
    coherent: float
    #: Chance of so large a correlation of neighbours from white errors; None where there are too few.
    p_white: float | None


def floored(sd: Array, values: Array) -> Array:
    """Standard errors of measurements, no less than a thousandth of the measurements' rms."""
    return np.maximum(sd, _FLOOR * float(np.sqrt(np.nanmean(np.square(values)))))


def noise(solution: Solution, name: str) -> Array:
    """Standard errors of the measurements of a state, shape (n,), as the residuals show those estimated."""
    return floored(noise_of(solution, name), solution.fit[name].values)


def places(solution: Solution, over: Iterable[Hashable]) -> Array:
    """Where the measurements are, along some coordinates, shape (n, d)."""
    fit = solution.fit
    return np.stack([fit[c].values.astype(float) for c in over] or [np.zeros(0)], axis=-1)


def misfit(errors: Array, points: Array) -> Misfit | None:
    """The misfit of errors in units of the noise, shape (n,), at points (n, d); None where there are none.

    >>> x = np.linspace(0, 1, 400)[:, None]
    >>> noise = np.random.default_rng(0).standard_normal(400)
    >>> white, wavy = misfit(noise, x), misfit(noise + np.sin(20 * x[:, 0]), x)
    >>> white.low < 1 < white.high, white.p_white > 0.01, wavy.p_white < 1e-6, round(wavy.coherent, 1)
    (True, True, True, 0.7)
    """
    n = errors.size
    if not n:
        return None
    total = float(np.sum(errors**2))
    low, high = total / chi2_upper(0.025, n), total / chi2_upper(0.975, n)
    coherent, p = neighbour_correlation(errors, points)
    return Misfit(
        n, total / n, float(low), float(high), float(chi2_tail(total / _SHARED, n / _SHARED)), coherent, p
    )


Verdict = Literal["holds", "doubtful", "refuted", "undetermined"]
_ORDER: tuple[Verdict, ...] = ("holds", "doubtful", "refuted", "undetermined")

_CHANCE = 1e-4  # An excess that noise alone shows more often than this is no evidence.
# Errors beyond the noise, as a share of its standard deviation, that make an answer doubtful and that refute
# it.
_BEYOND = 0.3, 1.0
# Standard errors between an estimate and the value that fits best, that make it doubtful and that refute it.
_APART = 3.0, 6.0
_LACKING = 5.0, 10.0  # The same of the coefficient of a term that the equation lacks, the largest of several.


@dataclass(frozen=True)
class Judgement:
    """The result of one test; ``reason`` is empty where it does not speak against the answer."""

    test: str
    verdict: Verdict = "holds"
    reason: str = ""
    field: str = ""
    misfit: Misfit | None = None

    def row(self) -> dict[str, Any]:
        """As a row of the table."""
        numbers = {f.name: getattr(self.misfit, f.name, None) for f in fields(Misfit)}
        return {"test": self.test, "field": self.field, **numbers, "verdict": self.verdict}


def _graded(
    test: str, name: str, size: float, limits: tuple[float, float], reason: str, found: Misfit | None = None
) -> Judgement:
    """A test by its size and the limits beyond which an answer is doubtful, and refuted, for a reason."""
    verdict: Verdict = "refuted" if size > limits[1] else "doubtful" if size > limits[0] else "holds"
    return Judgement(test, verdict, "" if verdict == "holds" else reason, name, found)


def judged(test: str, name: str, found: Misfit) -> Judgement:
    """A misfit, judged.

    Two sizes count, in units of the noise, where chance does not explain them: the excess of the mean square
    over the noise, at the lower end of its interval, and the error that neighbours share.
    """
    beyond = float(np.sqrt(max(found.low - 1.0, 0.0))) if found.p < _CHANCE else 0.0
    white = found.p_white is None or found.p_white > _CHANCE
    shared = 0.0 if white else found.coherent
    if shared >= beyond:
        text = f"neighbouring errors of '{name}' are correlated: they share {shared:.2g} times the noise"
    else:
        text = f"the errors of '{name}' are {np.sqrt(found.ratio):.3g} times what the noise explains"
    return _graded(test, name, max(beyond, shared), _BEYOND, f"{test}: {text}", found)


def shifted(name: str, by: float) -> Judgement:
    """An unknown that lies some standard errors from where forward solutions fit best, judged."""
    text = f"the data fit best with '{name}' {abs(by):.2g} of its standard errors"
    reason = f"forward solution: {text} {'above' if by > 0 else 'below'} the estimate"
    return _graded("best fit", name, abs(by), _APART, reason)


def lacking(scores: Mapping[str, float]) -> list[Judgement]:
    """The term that the equation lacks most, in standard errors of its coefficient, judged, if any."""
    if not scores:
        return []
    name = max(scores, key=lambda n: abs(scores[n]))
    size = abs(scores[name])
    text = f"forward solution: the data fit better with a further term, {name}, by {size:.2g} standard errors"
    hint = "a term is missing, or a known coefficient is wrong"
    return [_graded("further term", name, size, _LACKING, f"{text}: {hint}")]


def unresolved(found: Judgement) -> Judgement:
    """A finding of a forward solution that its grid hardly resolves: the grid may be its cause.

    >>> unresolved(shifted("k", 80.0)).verdict
    'doubtful'
    """
    if found.verdict != "refuted":
        return found
    reason = f"{found.reason} (or the grid of the forward solution is too coarse)"
    return replace(found, verdict="doubtful", reason=reason)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The worst of some verdicts.

    >>> worst(["holds", "doubtful"]), worst([])
    ('doubtful', 'holds')
    """
    return _ORDER[max((_ORDER.index(v) for v in verdicts), default=0)]
