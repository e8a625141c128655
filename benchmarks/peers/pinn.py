"""What physics-informed networks of other programs share: the problem in their terms, and the clock.

A program gets scaled coordinates, scaled outputs, residuals in units of the terms that balance, weights from
the noise that the observations estimate, and a tenth of the observations to choose by, never the truth.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.cases.base import Case
from mollifier.data.observations import Observations
from mollifier.errors import ConfigurationError

Array = NDArray[np.float64]
Network = Callable[[Tensor], Tensor]
Watch = Callable[[float, xr.Dataset], None]
# Derivatives of a column along some coordinates, each a column.
Gradient = Callable[[Tensor, Sequence[str]], list[Tensor]]
# Columns of fields and coordinates, by name -> residuals.
Residuals = Callable[[Mapping[str, Tensor], Gradient], list[Tensor]]

WIDTH, DEPTH = 40, 3
LEARNING_RATE = 3e-3
# Of the time; the rest goes to L-BFGS, which wants the same observations at every step.
ADAM = 0.2
# More observations than this are taken in batches, by Adam alone.
MANY, BATCH = 4000, 500
# Waves of a periodic coordinate that the networks are given.
HARMONICS = 3
COLLOCATION = {
    "langevin": 500,
    "heat": 1500,
    "heat_laplacian": 1500,
    "chromatin": 5000,
    "chromatin_line": 2000,
}
# Residual, in units of the terms that balance, that weighs as much as a misfit of one standard error.
_TOLERANCE = 0.1
# Of the noise over the spread: on better data the residuals would weigh too little to be trained.
_FLOOR = 0.05
_HELD_OUT = 0.1
_NODES = {1: 501, 2: 101}
_LOOKS, _SIGHTS = 1.05, 1.25
_FIRST = 0.5


@dataclass(frozen=True)
class Balance:
    """An equation in first derivatives, and its sizes.

    Attributes
    ----------
    residuals
        Of the equation and of those that define the auxiliary fields.
    scales
        Of each residual: root mean square of the terms that it balances.
    size
        Of the unknown field.
    auxiliary
        Fields that stand for derivatives, so that no equation is above second order.
    """

    residuals: Residuals
    scales: tuple[float, ...]
    size: float
    auxiliary: tuple[str, ...] = ()


@dataclass(frozen=True)
class Posed:
    """An inverse problem with one state and one unknown field, as a network sees it.

    Attributes
    ----------
    state, unknown
        Names.
    coordinates, over
        Those of the state and those of the unknown.
    lower, upper
        Corners of the domain, shape (d,); along periodic coordinates one period apart.
    points, values
        The observations to fit, shapes (n, d) and (n, 1).
    held_points, held_values
        Those held out.
    centre, spread
        Mean and standard deviation of the observations.
    noise
        Standard error over spread, not below a floor.
    positive
        Whether the unknown is above zero.
    balance
        The equation.
    """

    state: str
    unknown: str
    coordinates: tuple[str, ...]
    over: tuple[str, ...]
    periodic: frozenset[str]
    lower: Array
    upper: Array
    points: Array
    values: Array
    held_points: Array
    held_values: Array
    centre: float
    spread: float
    noise: float
    positive: bool
    collocation: int
    balance: Balance

    @property
    def names(self) -> tuple[str, ...]:
        """Of the outputs: the state, the unknown, auxiliary fields."""
        return (self.state, self.unknown, *self.balance.auxiliary)

    @property
    def batch(self) -> int | None:
        """Observations in a step; None where all are taken."""
        return BATCH if len(self.points) > MANY else None

    @property
    def weights(self) -> list[float]:
        """Of the mean squares of each residual, then of the misfit, which itself is in units of the state."""
        ratio = (self.noise / _TOLERANCE) ** 2
        return [ratio / s**2 for s in self.balance.scales] + [self.spread**-2]

    def inputs(self, names: Sequence[str]) -> int:
        """Number of features over these coordinates."""
        return sum(2 * HARMONICS if n in self.periodic else 1 for n in names)

    def features(self, x: Tensor, names: Sequence[str]) -> Tensor:
        """Coordinates (n, d) -> what the networks read, (n, inputs): in [-1, 1], waves where periodic."""
        columns = []
        for name in names:
            i = self.coordinates.index(name)
            part = (x[:, i : i + 1] - self.lower[i]) / (self.upper[i] - self.lower[i])
            if name in self.periodic:
                for wave in range(1, HARMONICS + 1):
                    angle = 2 * math.pi * wave * part
                    columns += [torch.cos(angle), torch.sin(angle)]
            else:
                columns.append(2 * part - 1)
        return torch.cat(columns, dim=1)

    def outputs(self, x: Tensor, state: Network, unknown: Network) -> Tensor:
        """Coordinates (n, d) -> fields in their own units, (n, len(names))."""
        raw = state(self.features(x, self.coordinates))
        u = self.centre + self.spread * raw[:, :1]
        rest = [self.spread * raw[:, 1:]] if self.balance.auxiliary else []
        return torch.cat([u, self._unknown(x, unknown), *rest], dim=1)

    def _unknown(self, x: Tensor, unknown: Network) -> Tensor:
        raw = unknown(self.features(x, self.over))
        if self.positive:
            raw = torch.nn.functional.softplus(raw + math.log(math.e - 1))  # 1 where the network gives 0
        return self.balance.size * raw

    def field(self, unknown: Network) -> xr.Dataset:
        """The unknown at this step, on a grid over the domain."""
        place = {c: i for i, c in enumerate(self.coordinates)}
        n = _NODES[len(self.over)]
        axes = {c: np.linspace(self.lower[place[c]], self.upper[place[c]], n) for c in self.over}
        mesh = np.meshgrid(*axes.values(), indexing="ij")
        x = np.tile((self.lower + self.upper) / 2, (mesh[0].size, 1))
        for c, m in zip(self.over, mesh, strict=True):
            x[:, place[c]] = m.ravel()
        with torch.no_grad():
            found = self._unknown(torch.as_tensor(x, dtype=torch.get_default_dtype()), unknown)
        return xr.Dataset({self.unknown: (self.over, found.numpy().reshape(mesh[0].shape))}, axes)

    def misfit(self, state: Network) -> float:
        """Root mean square over the held-out observations, in units of the state."""
        with torch.no_grad():
            x = torch.as_tensor(self.held_points, dtype=torch.get_default_dtype())
            u = self.centre + self.spread * state(self.features(x, self.coordinates))[:, :1]
        return float(np.sqrt(np.mean((u.numpy() - self.held_values) ** 2)))


def pose(case: Case, data: Observations, seed: int) -> Posed:
    """The problem of a case from observations of it.

    Raises
    ------
    ConfigurationError
        If the case is not one of those that this is written for.
    """
    if case.name not in _BALANCES:
        raise ConfigurationError(
            f"Networks of other programs are run on {', '.join(_BALANCES)}; '{case.name}' was given."
        )
    (state,), (unknown,) = case.fields, case.unknowns
    train, held = (part.samples(state) for part in data.hold_out(_HELD_OUT, seed))
    values = train.values
    spread = float(values.std())
    coordinates = data.coordinates_of(state)
    lower, upper = np.array([data.bounds[c] for c in coordinates]).T
    for c, period in data.periodic.items():
        upper[coordinates.index(c)] = lower[coordinates.index(c)] + period
    sought = case.unknowns[unknown]
    return Posed(
        state=state,
        unknown=unknown,
        coordinates=coordinates,
        over=tuple(getattr(sought, "over", ())),
        periodic=frozenset(data.periodic),
        lower=lower,
        upper=upper,
        points=train.points,
        values=values[:, None],
        held_points=held.points,
        held_values=held.values[:, None],
        centre=float(values.mean()),
        spread=spread,
        noise=max(data.noise_sd(state) / spread, _FLOOR),
        positive=getattr(sought, "lower", None) == 0.0,
        collocation=COLLOCATION[case.name],
        balance=_BALANCES[case.name](case, values, upper - lower),
    )


def _langevin(case: Case, u: Array, extent: Array) -> Balance:
    """``u_t = s*u + lam``."""
    drift = case.constants["s"]

    def residuals(f: Mapping[str, Tensor], d: Gradient) -> list[Tensor]:
        (u_t,) = d(f["u"], ("t",))
        return [u_t - drift * f["u"] - f["lam"]]

    scale = _rms(drift * u)
    return Balance(residuals, (scale,), scale)


def _plate(case: Case, u: Array, extent: Array) -> Balance:
    """``0 = div(k grad u) + s`` or ``0 = k lap(u) + s`` with ``s = 20 (1 + sin(pi x) cos(pi y)/2)``."""
    laplacian = case.name == "heat_laplacian"

    def residuals(f: Mapping[str, Tensor], d: Gradient) -> list[Tensor]:
        k, slopes = f["k"], zip("xy", d(f["u"], ("x", "y")), strict=True)
        source = 20 * (1 + 0.5 * torch.sin(math.pi * f["x"]) * torch.cos(math.pi * f["y"]))
        if laplacian:
            return [k * sum(d(slope, (c,))[0] for c, slope in slopes) + source]
        return [sum(d(k * slope, (c,))[0] for c, slope in slopes) + source]

    # A uniform k under the mean source: u is largest where its lowest mode is.
    size = 20.0 / (np.ptp(u) * (np.pi**2 / extent**2).sum())
    return Balance(residuals, (20.0,), float(size))


def _chromatin(case: Case, phi: Array, extent: Array) -> Balance:
    """``w = phi^3 - phi - kappa lap(phi)`` and ``phi_t = lap(w) + lam (1 - n - phi) - (1 - n + phi)``."""
    kappa, rest = case.constants["kappa"], 1 - case.constants["n"]
    sides = [str(c) for c in case.clean["phi"].dims if c != "t"]

    def laplacian(v: Tensor, d: Gradient) -> Tensor:
        return torch.stack([d(slope, (c,))[0] for c, slope in zip(sides, d(v, sides), strict=True)]).sum(0)

    def residuals(f: Mapping[str, Tensor], d: Gradient) -> list[Tensor]:
        u, w = f["phi"], f["w"]
        (u_t,) = d(u, ("t",))
        return [
            u_t - laplacian(w, d) - f["lam"] * (rest - u) + (rest + u),
            w - (u**3 - u - kappa * laplacian(u, d)),
        ]

    scale = _rms(rest + phi)
    return Balance(residuals, (scale, float(phi.std())), scale / _rms(rest - phi), ("w",))


_BALANCES = {
    "langevin": _langevin,
    "heat": _plate,
    "heat_laplacian": _plate,
    "chromatin": _chromatin,
    "chromatin_line": _chromatin,
}


def _rms(values: Array) -> float:
    return float(np.sqrt(np.mean(values**2)))


@dataclass
class Clock:
    """How long a descent may go on, and what it has found: the fields with the least held-out misfit.

    Parameters
    ----------
    posed
        The problem.
    seconds
        Wall clock for everything.
    watch
        Called with the seconds and the fields as they stand.
    started
        `time.perf_counter` at the start.
    """

    posed: Posed
    seconds: float
    watch: Watch
    started: float
    best: xr.Dataset | None = None
    _misfit: float = math.inf
    _last: float = 0.0
    _next_look: float = field(default=_FIRST)
    _next_sight: float = field(default=_FIRST)

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self.started

    def step(self, state: Network, unknown: Network, until: float = 1.0) -> bool:
        """Look at the networks if it is time; whether another step of this length would be too long.

        Parameters
        ----------
        until
            Part of the time at which to end.
        """
        now = self.elapsed
        if now >= self._next_look:
            self._look(state, unknown)
            self._next_look = now * _LOOKS
        if now >= self._next_sight and self.best is not None:
            self.watch(now, self.best)
            self._next_sight = now * _SIGHTS
        length, self._last = now - self._last, now
        return now + length > until * self.seconds

    def _look(self, state: Network, unknown: Network) -> None:
        misfit = self.posed.misfit(state)
        if misfit <= self._misfit or self.best is None:
            self._misfit, self.best = misfit, self.posed.field(unknown)

    def end(self, state: Network, unknown: Network) -> xr.Dataset:
        """The last look, and the answer."""
        self._look(state, unknown)
        assert self.best is not None
        self.watch(self.elapsed, self.best)
        return self.best
