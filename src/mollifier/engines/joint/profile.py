"""The posterior of one number, by solves in each of which it has a given value."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Generic, TypeVar

import numpy as np
import xarray as xr
from scipy.interpolate import PchipInterpolator

from mollifier.engines.joint.settings import JointSettings
from mollifier.engines.joint.tuning import JointTuning
from mollifier.mollify.arrays import Array
from mollifier.problem.estimate import Estimate
from mollifier.problem.solution import Solution
from mollifier.problem.status import StatusName

#: Ends of a solve after which no other follows.
CUT_SHORT: tuple[StatusName, ...] = ("interrupted", "time limit")


Point = TypeVar("Point")  #: What is kept of a solve.


@dataclass
class Profile(Generic[Point]):
    """Solves over the values of a number, whose prior is uniform; the likelihood is monotone between them."""

    tuning: JointTuning
    ends: tuple[float, float] = (-np.inf, np.inf)  #: Where the prior ends.
    #: Value -> its solution, and minus twice its log-likelihood up to a constant; infinite where the solve
    #: did not settle.
    solved: dict[float, tuple[Point, float]] = field(default_factory=dict)

    @property
    def settled(self) -> bool:
        """Whether any solve did."""
        return bool(np.isfinite([rise for _, rise in self.solved.values()]).any())

    @property
    def best(self) -> tuple[Point, float]:
        """The one of greatest likelihood."""
        return min(self.solved.values(), key=lambda s: s[1])

    def posterior(self) -> tuple[Array, Array, Array]:
        """Values that were solved, and further ones with the posterior's share at each."""
        low, high = self.ends
        values = np.sort([p for p in self.solved if low <= p <= high])
        rise = np.array([self.solved[p][1] for p in values])
        rise = np.minimum(rise - rise.min(), self.tuning.edge_farthest)
        parts = pairwise(values)
        fine = np.unique(
            np.concatenate([np.linspace(*ends, self.tuning.edge_fine // len(values)) for ends in parts])
        )
        density = np.exp(-PchipInterpolator(values, rise)(fine) / 2) * np.gradient(fine)
        return values, fine, density / density.sum()

    def moments(self) -> tuple[float, float]:
        """Mean and standard deviation of the number."""
        _, fine, density = self.posterior()
        mean = float(density @ fine)
        return mean, float(np.sqrt(density @ (fine - mean) ** 2))

    def between(self, share: float, width: float = 0.0) -> float | None:
        """The middle of the interval of greatest share, of those with more than ``share``; None if none has.

        And of more than ``width`` standard deviations.
        """
        values, fine, density = self.posterior()
        shares = np.histogram(fine, values, weights=density)[0]
        shares = shares * ((shares > share) & (np.diff(values) > width * self.moments()[1]))
        widest = int(np.argmax(shares))
        return float(values[widest : widest + 2].mean()) if shares[widest] > 0 else None

    def mixture(self) -> tuple[list[Point], Array]:
        """Solutions, and their shares of the posterior."""
        values, fine, density = self.posterior()
        shares = np.array([density @ np.interp(fine, values, row) for row in np.eye(len(values))])
        return [self.solved[p][0] for p in values], shares

    def numbers(self: Profile[Solution]) -> dict[str, Estimate]:
        """The other numbers, averaged over this one."""
        parts, shares = self.mixture()
        found = {}
        for name, first in parts[0].estimates.items():
            values = np.array([p.estimates[name].value for p in parts])
            sds = np.array([p.estimates[name].sd for p in parts], dtype=np.float64)
            mean, sd = mixed(values, sds, shares, self.tuning.edge_settled)
            found[name] = replace(first, value=float(mean), sd=float(sd) if np.isfinite(sd) else None)
        return found

    def fields(self: Profile[Solution]) -> Iterator[tuple[str, xr.DataArray]]:
        """Fields with standard errors, and these, averaged over the number."""
        parts, shares = self.mixture()
        names = [str(n) for n in parts[0].dataset if all(f"{n}_sd" in p.dataset for p in parts)]
        for name in names:
            values, sds = (np.stack([p.dataset[v].values for p in parts]) for v in (name, f"{name}_sd"))
            mean, sd = mixed(values, sds, shares, self.tuning.edge_settled)
            yield name, parts[0].dataset[name].copy(data=mean)
            yield f"{name}_sd", parts[0].dataset[f"{name}_sd"].copy(data=sd)


def in_time(settings: JointSettings, begun: float) -> JointSettings:
    """Settings for one of several solves, whose time limit is that of all since ``begun``."""
    limit = settings.training.time_limit
    left = None if limit is None else max(limit - (time.monotonic() - begun), 1e-3)
    return settings.model_copy(update={"training": settings.training.model_copy(update={"time_limit": left})})


def mixed(values: Array, sds: Array, shares: Array, least: float) -> tuple[Array, Array]:
    """Mean and standard deviation, (...,), of a mixture of k normal distributions, values and sds (k, ...).

    By the law of total variance. Those of unknown standard deviation, NaN, whose solves did not settle, are
    left out; it is NaN where the others have less than the ``least`` share.

    >>> values, sds = np.array([0.0, 2.0, 9.0]), np.array([1.0, 1.0, np.nan])
    >>> mean, sd = mixed(values, sds, np.array([0.4, 0.4, 0.2]), 0.5)
    >>> float(mean), round(float(sd), 3)
    (1.0, 1.414)
    """
    whole = shares.reshape(-1, *[1] * (values.ndim - 1))
    weights = np.where(np.isfinite(sds), whole, 0.0)
    enough = weights.sum(axis=0) >= least
    weights = np.where(enough, weights, whole)
    weights = weights / weights.sum(axis=0)
    mean = np.sum(weights * np.where(weights > 0, values, 0.0), axis=0)
    square = np.sum(weights * np.where(weights > 0, sds**2 + (values - mean) ** 2, 0.0), axis=0)
    return mean, np.where(enough, np.sqrt(square), np.nan)
