"""How many cells and replicates a study needs: simulated power, and the smallest difference it can find.

Cells of a planned study are drawn many times, and each draw is compared as measured cells are. A difference
moves the treated cells and nothing else, so that one set of draws gives the power for every difference.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import brentq

from mollifier.chromatin.comparison import (
    QUANTITIES,
    Dishes,
    GroupMeans,
    replicate_means,
    unit_of,
    welch_means,
)
from mollifier.chromatin.ranges import named, require
from mollifier.errors import ConfigurationError, check_known
from mollifier.io.draws import Rng, generator
from mollifier.mollify.distributions import student_tail, student_upper

# Power that is usual to ask for, and the largest difference that is looked for, in units of the control mean.
USUAL, _LARGEST = 0.8, 10.0
_PILOT = 6  # Fewest cells of an earlier study that give standard deviations.
_FAR = 2.0  # Fewest standard errors from zero of a mean that standard deviations are parts of.


@dataclass(frozen=True)
class StudyPlan:
    """A planned comparison of one treated group with a control.

    Raises `ConfigurationError` if a number is not possible.

    >>> found = power(StudyPlan(cells=10, difference=0.3, sd_cells=0.2))
    >>> 0.82 < found.power < 0.94
    True
    """

    cells: int  #: In every replicate of a group.
    replicates: int = 1  #: Of each group; 1 if the cells are independent of one another.
    difference: float = 0.3  #: Of the group means, as a part of the control mean.
    #: Standard deviations between cells of a replicate and between replicates, as parts of the control mean.
    sd_cells: float = 0.15
    sd_replicates: float = 0.0
    #: Of the dishes of one replicate, as a part of the control mean, where replicates hold both groups.
    sd_dishes: float = 0.0
    paired: bool = False  #: Whether every replicate holds both groups.
    #: Quantities that are compared: the level of each test is divided by their number, as the first step of
    #: `mollifier.chromatin.comparison.holm`.
    comparisons: int = 1
    level: float = 0.05  #: Probability of calling a difference where there is none.

    def __post_init__(self) -> None:
        require(named("", self, "cells", "replicates", "comparisons"), low=1)
        require(named("", self, "sd_cells", "sd_replicates", "sd_dishes"))
        if not (self.sd_cells or self.sd_replicates or self.sd_dishes):
            raise ConfigurationError(
                "All standard deviations are 0: without any variation every difference is found. The one of "
                "cells of your kind was expected, as --sd-cells 0.15."
            )
        if self.replicates == 1 and (self.sd_replicates or self.sd_dishes or self.paired):
            raise ConfigurationError(
                "One replicate was given with a variation between replicates, which one does not show; two "
                "or more were expected, as --replicates 3."
            )
        if self.replicates == self.cells == 1:
            raise ConfigurationError("One cell of one replicate leaves nothing to compare; give more.")
        if not 0 < self.level < 1 or not math.isfinite(self.difference):
            raise ConfigurationError(
                f"A difference of {self.difference} at level {self.level} was given; a number, and a level "
                "between 0 and 1, were expected."
            )

    @classmethod
    def of(
        cls, pilot: pd.DataFrame, quantity: str = "rate", control: str | None = None, **given: Any
    ) -> StudyPlan:
        """A plan with the standard deviations of an earlier study, and other fields as given.

        ``pilot`` is its table of cells (``cells.csv``) with group, replicate and quantity, whose standard
        deviations are in units of its mean in the control, or of that of all cells without one. Raises
        `ConfigurationError` if it lacks the quantity or the control, or has too few cells.
        """
        if quantity not in pilot:
            there = [str(c) for c in pilot.columns if c in QUANTITIES]
            check_known(quantity, there, ConfigurationError, "The cells have no '{}'.")
        numbers: Any = pd.to_numeric(pilot[quantity], errors="coerce")
        known: Any = pilot.assign(**{quantity: numbers})[np.isfinite(numbers.to_numpy(dtype=float))]
        if len(known) < _PILOT:
            raise ConfigurationError(
                f"The cells have {len(known)} values of {quantity}; {_PILOT} or more were expected."
            )
        values, unit = known[quantity].to_numpy(dtype=float), unit_of(known)
        groups = [str(g) for g in known["group"]] if "group" in known else [""] * len(known)
        names = [str(u) for u in known[unit]] if unit != "cell" else [str(k) for k in range(len(known))]
        if control is not None:
            check_known(control, groups, ConfigurationError, "There is no group '{}' in the cells.")
        middle = values[[control in (None, g) for g in groups]]
        mean = abs(float(middle.mean()))
        if mean <= _FAR * float(middle.std()) / math.sqrt(middle.size):
            raise ConfigurationError(
                f"The mean of {quantity} in the cells, {mean:.3g}, is zero within its error: standard "
                "deviations are parts of it. A quantity with a mean above zero was expected."
            )
        cell, dish, replicate = (math.sqrt(v) / mean for v in Dishes.of(values, groups, names).components)
        if unit == "cell":
            cell, dish = math.hypot(cell, dish), 0.0
        if not replicate:
            dish, replicate = 0.0, dish
        found: dict[str, Any] = {"sd_cells": cell, "sd_replicates": replicate, "sd_dishes": dish}
        return cls(**found | given)

    def draw(self, rng: np.random.Generator) -> GroupMeans:
        """The means of one study without a difference, from the analysis that measured cells have."""
        shape = (2, self.replicates, self.cells)
        shared = rng.standard_normal((1 if self.paired else 2, self.replicates, 1))
        dish = rng.standard_normal((2, self.replicates, 1))
        y = 1 + self.sd_replicates * shared + self.sd_dishes * dish
        y = y + self.sd_cells * rng.standard_normal(shape)
        if self.replicates == 1:
            return welch_means(y[0].ravel(), y[1].ravel())
        group, replicate, _ = np.indices(shape)
        names = replicate if self.paired else replicate + self.replicates * group
        return replicate_means(y.ravel(), group.ravel() == 0, names.ravel().astype(str).tolist())


@dataclass(frozen=True)
class Power:
    """What a planned study can find."""

    #: Probability of finding the difference, and its standard error from the number of draws.
    power: float
    power_sd: float
    sign: float  #: Probability that the estimate has the right sign.
    half_width: float  #: Median half-width of the interval of the difference, at ``1 - level / comparisons``.
    #: Smallest difference that is found with a power of 0.8; infinite if none below ten times the control.
    smallest: float


def power(plan: StudyPlan, draws: int = 500, rng: Rng = 0) -> Power:
    """Simulate a planned study ``draws`` times, with a seed or generator."""
    random = generator(rng)
    means = [plan.draw(random) for _ in range(draws)]
    shift = np.array([m.mean[0] - m.mean[1] for m in means])
    error = np.array([max(m.error(), 1e-300) for m in means])
    freedom, level = np.array([float(m.freedom) for m in means]), plan.level / plan.comparisons

    def found(difference: float) -> float:
        return float(np.mean(2 * student_tail(np.abs(difference + shift) / error, freedom) < level))

    share = found(plan.difference)
    reached = found(_LARGEST) >= USUAL
    smallest: Any = brentq(lambda d: found(d) - USUAL, 0.0, _LARGEST, xtol=1e-4) if reached else math.inf
    right = float(np.mean(np.sign(plan.difference + shift) == np.sign(plan.difference)))
    half = float(np.median(student_upper(level / 2, freedom) * error))
    return Power(share, math.sqrt(max(share * (1 - share), 1 / draws) / draws), right, half, float(smallest))
