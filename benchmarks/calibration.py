"""Calibration of intervals: whether truths fall where the posterior distributions say.

The probability integral transform (PIT: the distribution function at the truth) of a calibrated distribution
is uniform on [0, 1] (Dawid, J. R. Stat. Soc. A 147:278, 1984). With truths drawn from the
prior that is simulation-based calibration (Talts et al., arXiv:1804.06788); with one truth and new noise each
time it is coverage.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, stdtrit
from scipy.stats import binomtest, kstest

from mollifier.errors import ConfigurationError
from mollifier.problem.estimate import Estimate
from mollifier.problem.solution import Solution

Array = NDArray[np.float64]
Truth = Mapping[str, Any]
"""Unknown -> its true value, or an array of them over labelled coordinates."""

LEVELS = (50, 80, 95)
"""Intervals whose coverage is reported, in per cent."""

# Places of a field at which its intervals are scored.
_PLACES = 4096


@dataclass(frozen=True)
class Share:
    """A share of trials, with its confidence interval.

    >>> print(Share(0.94, 0.838, 0.979))
    94 (84 to 98) %
    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        value, low, high = (f"{100 * v:.0f}" for v in (self.value, self.low, self.high))
        return f"{value} ({low} to {high}) %"


def wilson(hits: float, trials: int, level: float = 0.95) -> Share:
    """The share of hits among independent trials, with Wilson's score interval.

    E. B. Wilson, J. Am. Stat. Assoc. 22:209, 1927: unlike the normal one it stays within [0, 1] and holds
    near its ends.

    Raises
    ------
    ConfigurationError
        If there was no trial, or more hits than trials.

    Examples
    --------
    >>> print(wilson(47, 50))
    94 (84 to 98) %
    """
    if trials < 1 or not 0 <= hits <= trials:
        raise ConfigurationError(
            f"{hits:g} hits in {trials} trials were given; 0 to 1 a trial were expected."
        )
    ends = binomtest(round(hits), trials).proportion_ci(level, "wilson")
    return Share(hits / trials, float(ends.low), float(ends.high))


@dataclass(frozen=True, eq=False)
class Calibration:
    """Where the truth fell in its posterior distribution, run by run.

    Attributes
    ----------
    pit
        Distribution functions at the truth, shape (runs, places): one place for a number.

    Examples
    --------
    >>> right = Calibration(np.random.default_rng(0).random((400, 1)))
    >>> print(right.coverage(95)), right.largest_difference < right.band()
    94 (91 to 96) %
    (None, True)
    """

    pit: Array

    def __post_init__(self) -> None:
        if self.pit.ndim != 2 or not self.pit.size or not ((self.pit >= 0) & (self.pit <= 1)).all():
            raise ConfigurationError(
                f"PITs of shape {self.pit.shape} were given; numbers from 0 to 1 of shape (runs, places) "
                "were expected."
            )

    @classmethod
    def of(cls, scores: ArrayLike) -> Calibration:
        """From (truth - estimate)/standard error, shape (runs, places) or (runs,): see `standardised`."""
        z = np.asarray(scores, dtype=float)
        return cls(pit(z.reshape(len(z), -1)))

    @property
    def runs(self) -> int:
        """Number of runs."""
        return len(self.pit)

    def shares(self, level: float) -> Array:
        """Share of places whose central interval of so many per cent holds the truth, run by run, (runs,)."""
        return np.mean(np.abs(self.pit - 0.5) <= level / 200 + 1e-12, axis=1)

    def coverage(self, level: float) -> Share:
        """Share of intervals of so many per cent that hold the truth.

        The runs are independent, a field's places are not: the share's 95 % interval is Wilson's over the
        runs for a number, and Student's over the runs' shares of places for a field.
        """
        shares = self.shares(level)
        if self.pit.shape[1] == 1:
            return wilson(float(shares.sum()), self.runs)
        mean = float(shares.mean())
        if self.runs == 1:
            return Share(mean, 0.0, 1.0)
        half = float(stdtrit(self.runs - 1, 0.975) * shares.std(ddof=1) / math.sqrt(self.runs))
        return Share(mean, max(mean - half, 0.0), min(mean + half, 1.0))

    def histogram(self, bins: int = 10) -> Array:
        """Share of the PITs in each of so many equal parts of [0, 1]: uniform where calibrated."""
        return np.histogram(self.pit, bins, (0.0, 1.0))[0] / self.pit.size

    def difference(self, at: ArrayLike) -> Array:
        """Empirical distribution function of the PITs less the uniform one, at values in [0, 1].

        Intervals are too narrow where it is above zero on the left and below on the right, else too wide.
        """
        x = np.asarray(at, dtype=float)
        return np.searchsorted(np.sort(self.pit, axis=None), x, side="right") / self.pit.size - x

    @property
    def largest_difference(self) -> float:
        """The largest absolute `difference`: the Kolmogorov-Smirnov statistic."""
        return float(kstest(self.pit.ravel(), "uniform", method="asymp").statistic)

    def band(self, level: float = 0.95) -> float:
        """Half-width within which `difference` stays with this probability, if the intervals are calibrated.

        By Dvoretzky, Kiefer and Wolfowitz with Massart's constant (Ann. Probab. 18:1269, 1990), for as many
        independent values as there are runs; conservative for fields, whose places are averaged.
        """
        return math.sqrt(math.log(2 / (1 - level)) / (2 * self.runs))

    @property
    def uniform(self) -> bool:
        """Whether the PITs pass the test of uniformity at the level of 5 %."""
        return self.largest_difference <= self.band()


def pit(scores: ArrayLike) -> Array:
    """Normal distribution function at (truth - estimate)/standard error, in the shape of the scores."""
    return np.asarray(ndtr(np.asarray(scores, dtype=float)))


def rank(truth: float, draws: ArrayLike, rng: np.random.Generator) -> float:
    """The rank of a truth among draws from its posterior, as a PIT; random within a rank and among ties.

    Examples
    --------
    >>> 0.75 < rank(2.5, [0.0, 1.0, 2.0], np.random.default_rng(0)) < 1.0
    True
    """
    values = np.asarray(draws, dtype=float).ravel()
    below, ties = int(np.sum(values < truth)), int(np.sum(values == truth))
    return float((below + rng.uniform(0, ties + 1)) / (values.size + 1))


def standardised(solution: Solution, truth: Truth, most: int = _PLACES) -> dict[str, Array]:
    """(truth - estimate)/standard error of every unknown that has a standard error, shape (places,).

    Parameters
    ----------
    solution
        Of any engine.
    truth
        Unknown -> its true value.
    most
        A field is scored on the nodes of its truth that are not NaN, thinned to about so many. Its estimate
        is interpolated linearly, which must be finer than its standard errors.

    Examples
    --------
    >>> from mollifier.problem.status import Status
    >>> fields = xr.Dataset({"k": ("x", [1.0, 2.0]), "k_sd": ("x", [0.1, 0.2])}, {"x": [0.0, 1.0]})
    >>> parts = xr.Dataset({"u": ("observation", [])}), xr.Dataset({"loss": ("step", [])}), {}
    >>> found = Solution(Status("converged"), {"r": Estimate("r", 3.0, 0.5)}, fields, *parts)
    >>> exact = xr.DataArray([1.1, 2.2], {"x": [0.0, 1.0]}, ("x",))
    >>> {n: z.round(6).tolist() for n, z in standardised(found, {"r": 2.0, "k": exact}).items()}
    {'r': [-2.0], 'k': [1.0, 1.0]}
    """
    found: dict[str, Array] = {}
    for name, exact in truth.items():
        if not isinstance(exact, xr.DataArray):
            estimate = solution.estimates.get(name)
            if estimate is not None and estimate.sd is not None:
                found[name] = _scores(float(exact) - np.array([estimate.value]), np.array([estimate.sd]))
            continue
        if f"{name}_sd" not in solution.dataset:
            continue
        step = max(math.ceil((exact.size / most) ** (1 / max(exact.ndim, 1)) - 1e-9), 1)
        exact = exact[{d: slice(None, None, step) for d in exact.dims}]
        # The data may end just inside the truth by rounding: the field is held constant beyond its ends.
        fields = solution.dataset[[name, f"{name}_sd"]]
        places = {d: exact[d].clip(fields[d].min(), fields[d].max()) for d in exact.dims}
        value, sd = (fields[v].interp(places).transpose(*exact.dims).values for v in (name, f"{name}_sd"))
        found[name] = _scores(exact.values - value, sd)[exact.notnull().values]
    return found


def _scores(error: Array, sd: Array) -> Array:
    """Errors in standard errors; an exact value without error is at the middle."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(error == 0, 0.0, error / sd)


def calibrate(
    draw: Callable[[np.random.Generator], tuple[Truth, Any]],
    infer: Callable[[Any], Any],
    runs: int = 100,
    seed: int = 0,
) -> dict[str, Calibration]:
    """Simulation-based calibration: draw truths from a prior, simulate, infer, and take the truths' PITs.

    Parameters
    ----------
    draw
        Gives a truth and data simulated from it, such as an `InverseProblem`.
    infer
        Data -> a `Solution`, or a mapping of each unknown to its `Estimate` or to draws from its posterior,
        shape (n,).
    runs
        How many truths.
    seed
        Of the generator that ``draw`` is given, and that breaks ties of ranks.

    Returns
    -------
    dict
        Unknown -> its calibration over the runs, of those that had a standard error in every one.

    Raises
    ------
    ConfigurationError
        If an unknown's number of places changes between runs.

    Examples
    --------
    A normal prior and one noisy measurement, whose posterior is known:

    >>> def draw(rng):
    ...     truth = rng.normal()
    ...     return {"r": truth}, truth + rng.normal()
    >>> found = calibrate(draw, lambda y: {"r": Estimate("r", y / 2, 0.5**0.5)}, runs=300)["r"]
    >>> found.uniform
    True
    """
    rng = np.random.default_rng(seed)
    found: dict[str, list[Array]] = {}
    for _ in range(runs):
        truth, data = draw(rng)
        for name, values in _transforms(infer(data), truth, rng).items():
            found.setdefault(name, []).append(values)
    for name, rows in found.items():
        if len({len(r) for r in rows}) > 1:
            raise ConfigurationError(f"The truth of '{name}' has more places in some runs than in others.")
    return {n: Calibration(np.stack(rows)) for n, rows in found.items() if len(rows) == runs}


def _transforms(answer: Any, truth: Truth, rng: np.random.Generator) -> dict[str, Array]:
    if isinstance(answer, Solution):
        return {n: pit(z) for n, z in standardised(answer, truth).items()}
    found: dict[str, Array] = {}
    for name, posterior in answer.items():
        if not isinstance(posterior, Estimate):
            found[name] = np.array([rank(truth[name], posterior, rng)])
        elif posterior.sd is not None:
            error = truth[name] - np.array([posterior.value])
            found[name] = pit(_scores(error, np.array([posterior.sd])))
    return found
