"""From misfits to a verdict."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from mollifier.diagnostics.validation.misfit import Misfit

Verdict = Literal["holds", "doubtful", "refuted", "undetermined"]
_ORDER: tuple[Verdict, ...] = ("holds", "doubtful", "refuted", "undetermined")

# An excess that noise alone shows more often than this is no evidence.
_CHANCE = 1e-4
# Errors beyond the noise, as a share of its standard deviation, that make an answer doubtful and that refute
# it.
_DOUBT, _REFUTE = 0.3, 1.0
# Standard errors between an estimate and the value that fits best, that make it doubtful and that refute it.
_APART, _FAR = 3.0, 6.0
# The same of the coefficient of a term that the equation lacks, the largest of several.
_LACKING, _LACKED = 5.0, 10.0


@dataclass(frozen=True)
class Finding:
    """The result of one test; ``reason`` is empty where it does not speak against the answer."""

    test: str
    field: str
    misfit: Misfit | None
    verdict: Verdict
    reason: str = ""

    def row(self) -> dict[str, Any]:
        """As a row of the table."""
        names = ("count", "ratio", "low", "high", "coherent", "p", "p_white")
        numbers = {n: None if self.misfit is None else getattr(self.misfit, n) for n in names}
        return {"test": self.test, "field": self.field, **numbers, "verdict": self.verdict}


def _graded(size: float, doubt: float, refute: float) -> Verdict:
    return "refuted" if size > refute else "doubtful" if size > doubt else "holds"


def judged(test: str, name: str, found: Misfit) -> Finding:
    """A misfit as a finding.

    Two sizes count, in units of the noise, where chance does not explain them: the excess of the mean square
    over the noise, at the lower end of its interval, and the error that neighbours share.
    """
    beyond = float(np.sqrt(max(found.low - 1.0, 0.0))) if found.p < _CHANCE else 0.0
    white = found.p_white is None or found.p_white > _CHANCE
    shared = 0.0 if white else found.coherent
    verdict = _graded(max(beyond, shared), _DOUBT, _REFUTE)
    if verdict == "holds":
        return Finding(test, name, found, verdict)
    if shared >= beyond:
        text = f"neighbouring errors of '{name}' are correlated: they share {shared:.2g} times the noise"
    else:
        text = f"the errors of '{name}' are {np.sqrt(found.ratio):.3g} times what the noise explains"
    return Finding(test, name, found, verdict, f"{test}: {text}")


def shifted(name: str, by: float) -> Finding:
    """An unknown that lies some standard errors from where forward solutions fit best, as a finding."""
    verdict = _graded(abs(by), _APART, _FAR)
    if verdict == "holds":
        return Finding("best fit", name, None, verdict)
    text = f"the data fit best with '{name}' {abs(by):.2g} of its standard errors"
    reason = f"forward solution: {text} {'above' if by > 0 else 'below'} the estimate"
    return Finding("best fit", name, None, verdict, reason)


def lacking(scores: Mapping[str, float]) -> list[Finding]:
    """The term that the equation lacks most, in standard errors of its coefficient, as a finding, if any."""
    if not scores:
        return []
    name = max(scores, key=lambda n: abs(scores[n]))
    size = abs(scores[name])
    verdict = _graded(size, _LACKING, _LACKED)
    text = f"forward solution: the data fit better with a further term, {name}, by {size:.2g} standard errors"
    hint = "a term is missing, or a known coefficient is wrong"
    return [Finding("further term", name, None, verdict, "" if verdict == "holds" else f"{text}: {hint}")]


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The worst of some verdicts.

    >>> worst(["holds", "doubtful"]), worst([])
    ('doubtful', 'holds')
    """
    return _ORDER[max((_ORDER.index(v) for v in verdicts), default=0)]
