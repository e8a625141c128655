"""Whether waves may be aliases: a state that swings between the sensors, or data of too few nodes to a wave.

Two waves that agree at all sensors of an axis differ between them: of the waves with k and with n - k periods
over n sensors, the shorter one decays ((n - k)/k)^2 times as fast, so that a diffusivity which is as much too
small explains the same measurements. A state between sensors that is far from the smooth curve through them
is a sign of such an answer. Waves of fewer than four nodes in the data themselves may be such aliases, where
the sensors are evenly spaced.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import xarray as xr
from scipy.interpolate import CubicSpline

from mollifier.engines.registry import solves_states
from mollifier.mollify.arrays import Array
from mollifier.mollify.bandwidth import signal_spectrum
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.solution import Solution
from mollifier.problem.status import Status

# Share of a state's standard deviation by which it may differ between sensors from their cubic spline.
_LARGEST = 0.15
# Sensors along an axis below which the spline shows too little: right answers on 5 differ by 0.2.
_FEWEST = 8
# Share of a field's variance in short waves beyond which they may be aliases of shorter ones, and the
# same along an axis of fewer sensors than that: wrong answers on 5 sensors had .02 to .63.
_SHORT = 0.2
_SHORT_OF_FEW = 0.02
_PER_WAVE = 4  # Nodes below which a wave is short.
# The same for integrals over the data, and the share beyond which their errors exceed the noise: it was
# .02 to .7 on 12 sensors, where the weak engine called most right answers a misfit, and up to .007 on
# grids of 20 nodes and more along each axis, where it did not (seeds 0 to 14).
_INTEGRATED = 6
_COARSE = 0.01
# Ratio of two spacings from which sensors are uneven; one that failed among even ones makes it 2.
_UNEVEN = 2.5


def sampled_finely(problem: InverseProblem, solution: Solution) -> Status | None:
    """`undetermined` where much of a field is in short waves along an even axis of its derivatives."""
    del solution
    found = possible_aliases(problem)
    return Status("undetermined", f"{found[0]} {found[1].rstrip('.')}") if found else None


def possible_aliases(problem: InverseProblem) -> tuple[str, str] | None:
    """Which field is in short waves, along which even axis, and what to change; None where no field is.

    At uneven places waves have no aliases.
    """
    for f, c, share in _undersampled(problem):
        if not _uneven(problem, c):
            return (
                f"{100 * share:.0f} % of the variance of {f} along {c} are in waves of fewer than "
                f"{_PER_WAVE} nodes: they cannot be distinguished from aliases of shorter and faster ones.",
                f"Measure at closer values of {c}, or smooth {f} along it before it is sampled.",
            )
    return None


def _undersampled(problem: InverseProblem) -> Iterator[tuple[str, str, float]]:
    """Field, axis and share of the variance in short waves, where that is much."""
    for f, shares in short_waves(problem).items():
        for c, share in shares.items():
            few = problem.data.part.dataset.sizes[c] < _FEWEST
            if share > (_SHORT_OF_FEW if few else _SHORT):
                yield f, c, share


def _uneven(problem: InverseProblem, axis: str) -> bool:
    """Whether two waves that agree at all nodes would be far shorter than the nodes are apart."""
    spacing = np.diff(problem.data.part.dataset[axis].values)
    return bool(spacing.max() > _UNEVEN * spacing.min())


def too_coarse(problem: InverseProblem) -> str | None:
    """Why integrals over the data are in error by more than the noise, by the waves in them; None if not."""
    found = short_waves(problem, _INTEGRATED).values()
    along = dict.fromkeys(c for shares in found for c, share in shares.items() if share > _COARSE)
    few = f"waves along {', '.join(along)} have fewer than {_INTEGRATED} nodes"
    return f"{few}, too few for integrals over the data" if along else None


def short_waves(problem: InverseProblem, nodes: int = _PER_WAVE) -> dict[str, dict[str, float]]:
    """Field -> coordinate along which it is differentiated -> share of its variance in short waves.

    The noise is taken away from the variance. Nothing for data that are not on a grid, and nothing along an
    axis of few values for an equation of first order there: curves that are no waves are as steep. Waves of
    fewer ``nodes`` are short.
    """
    data, found, least = problem.data.part, {}, (_FEWEST, _PER_WAVE)
    for f in problem.fields if data.gridded else ():
        array, variance = data.dataset[f], problem.data.noise_sd(f) ** 2
        found[f] = {
            c: short_share(np.moveaxis(array.values, array.dims.index(c), -1), axis.periodic, variance, nodes)
            for c in data.coordinates_of(f)
            if (order := problem.system.order_along(c))
            and (axis := data.grid([c])[c]).size >= least[order > 1]
        }
    return found


def short_share(values: Array, periodic: bool, variance: float, nodes: int = _PER_WAVE) -> float:
    """Share of the variance along the last axis, that of the noise taken away, in short waves.

    Lines with gaps are left out, and short waves below the noise: noise that grows with the value is more in
    some places than its mean, and of a field that does not vary along the axis nothing else is left.

    >>> x = 2 * np.pi * np.arange(32) / 32
    >>> [round(short_share(np.sin(k * x), True, 0.0), 2) for k in (3, 11, 27)]
    [0.0, 1.0, 0.0]
    """
    n = values.shape[-1]
    lines = values.reshape(-1, n)
    lines = lines[np.isfinite(lines).all(axis=1)]
    if not len(lines):
        return 0.0
    signal = signal_spectrum(lines, periodic, variance)
    short = nodes * np.arange(len(signal)) > (n if periodic else 2 * (n - 1))
    short &= signal > variance
    total = float(signal.sum())
    return float(signal[short].sum()) / total if total > 0 else 0.0


def resolved_between_sensors(problem: InverseProblem, solution: Solution) -> Status | None:
    """`undetermined` where a state departs between sensors from the curve through its values at them."""
    if not solves_states(solution) or not problem.data.gridded:
        return None
    for f in problem.fields:
        for c in problem.data.coordinates_of(f):
            part = between(solution.dataset[f], c, problem.data.dataset[c].values)
            if part > _LARGEST:
                return Status(
                    "undetermined",
                    f"between the places of measurement along {c} the state {f} departs by "
                    f"{100 * part:.0f} % of its standard deviation from the smooth curve through them, which "
                    f"no measurement shows: a smoother state may explain them with other unknowns. Measure "
                    f"at closer values of {c}, or give the unknowns initial values or bounds",
                )
    return None


def between(state: xr.DataArray, coordinate: str, sensors: Array) -> float:
    """Rms distance of a state from the cubic spline through its values at sensors, over its deviation.

    Zero where the sensors are few, or as close as the nodes of the state.

    >>> x = np.linspace(0, 1, 111)
    >>> waves = [xr.DataArray(np.cos(2 * np.pi * k * x), {"x": x}, ("x",)) for k in (3, 9)]
    >>> [round(between(w, "x", np.linspace(0, 1, 13)), 1) for w in waves]
    [0.0, 1.4]
    """
    x = state[coordinate].values
    places = np.unique(sensors[(sensors >= x[0]) & (sensors <= x[-1])])
    if len(places) < _FEWEST or len(places) >= len(x):
        return 0.0
    values = state.transpose(coordinate, ...).values
    inside = (x >= places[0]) & (x <= places[-1])
    smooth = CubicSpline(places, CubicSpline(x, values)(places)) if np.isfinite(values).all() else None
    spread = float(values.std())
    if smooth is None or not spread:
        return 0.0
    return float(np.sqrt(np.mean((values[inside] - smooth(x[inside])) ** 2))) / spread
