"""What a peer gives back, and the cases in the form that both peers can use."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from benchmarks.cases.base import Case

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Row:
    """What a peer found.

    Attributes
    ----------
    peer, case
        Names.
    errors
        Unknown -> relative error of a number, relative L2 of a field; empty where there is no result.
    seconds
        Wall-clock, the search for settings included, imports not.
    setting
        What was chosen, and how.
    oracle
        The errors of the best setting tried, chosen by the truth.
    note
        Why there is no result.
    """

    peer: str
    case: str
    errors: dict[str, float] = field(default_factory=dict)
    seconds: float = math.nan
    setting: str = ""
    oracle: dict[str, float] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True)
class Term:
    """``unknown * factor * d^order(u^power)/dx^order`` on the right of u_t."""

    power: int
    order: int
    factor: float


# Every quadratic term as a derivative of u^2, so that both peers can use the conservative form.
TERMS = {
    "burgers": {"a": Term(2, 1, -0.5), "nu": Term(1, 2, 1.0)},
    "kdv": {"a": Term(2, 1, -0.5), "b": Term(1, 3, -1.0)},
    "kuramoto_sivashinsky": {"a": Term(2, 1, -0.5), "b": Term(1, 2, -1.0), "c": Term(1, 4, -1.0)},
}


def scalar_errors(case: Case, values: dict[str, float]) -> dict[str, float]:
    return {n: abs(v - case.scalars[n]) / abs(case.scalars[n]) for n, v in values.items()}
