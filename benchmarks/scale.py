"""What the weak engine costs against the size of the data: seconds and memory of a solve."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from benchmarks.accuracy import largest, median
from benchmarks.cases.base import Case
from benchmarks.table import Follow, Table, environment, number
from mollifier.diagnostics.compare import children
from mollifier.engines.registry import ENGINES
from mollifier.engines.settings import settings_for
from mollifier.errors import ConfigurationError
from mollifier.problem.unknowns import ScalarUnknown

SIZES = (128, 256, 512, 1024, 2048)
SMALLEST = 16
TRUTH = {"c": 1.0, "D": 0.05, "r": 0.3}
# Amplitude, wave number and phase.
WAVES = ((1.0, 1, 0.0), (0.6, 2, 1.0), (0.5, 3, 2.0), (0.3, 5, 0.5))
CAPTION = (
    "u_t + c*u_x = D*u_xx - r*u on n x n nodes, an exact solution with 2 % noise; c, D and r unknown. Every "
    "solve in a freshly spawned process. Seconds: wall clock of the solve, imports of the package left out, "
    "the search for the radii and the estimate of the noise included. Peak: the highest resident memory "
    "during the solve less that just before it, the data being loaded. Medians of the repeats. Power: of "
    "points, with which seconds grew since the size before. Worst error: the largest relative error of c, D "
    "and r."
)


@dataclass(frozen=True)
class Row:
    """One size.

    Attributes
    ----------
    size, points
        Nodes along each of the two axes, and in all.
    data_mib
        Size of the field.
    repeats
        Solves with an answer.
    seconds, memory_mib
        Medians; memory is what the solve takes above the data.
    memory_ratio
        Memory over the size of the field.
    error
        Median of the largest relative error of the three unknowns.
    power
        Of the number of points with which seconds grew since the size before; NaN for the first.
    message
        Why there is no answer.
    """

    size: int
    points: int
    data_mib: float
    repeats: int
    seconds: float
    memory_mib: float
    memory_ratio: float
    error: float
    power: float = math.nan
    message: str = ""


def build(size: int) -> Case:
    """The case on ``size`` by ``size`` nodes: waves that travel and decay.

    Examples
    --------
    >>> made = build(64)
    >>> made.clean.sizes["x"], made.clean.sizes["t"], made.scalars
    (64, 64, {'c': 1.0, 'D': 0.05, 'r': 0.3})
    """
    x, t = np.linspace(0, 2 * np.pi, size), np.linspace(0, 2, size)
    u = np.zeros((size, size))
    for amplitude, k, phase in WAVES:
        decay = amplitude * np.exp(-(TRUTH["D"] * k * k + TRUTH["r"]) * t)
        u += decay * np.sin(k * (x[:, None] - TRUTH["c"] * t) + phase)
    return Case(
        name="scale",
        title="Advection, diffusion and reaction of four waves",
        equation="u_t + c*u_x = D*u_xx - r*u",
        unknowns={n: ScalarUnknown() for n in TRUTH},
        clean=xr.Dataset({"u": (("x", "t"), u)}, {"x": x, "t": t}),
        truth=TRUTH,
        source="Ours: an exact solution in closed form.",
        fails="It does not.",
        fields=("u",),
        noise=0.02,
    )


def run(
    sizes: Sequence[int] = SIZES,
    repeats: int = 3,
    *,
    settings: Any = None,
    progress: Follow | None = None,
) -> Table:
    """Measure the weak engine at every size, each solve in its own process.

    A script must put the call under ``if __name__ == "__main__":``. Ctrl-C ends the run and keeps what is
    done.

    Parameters
    ----------
    sizes
        Nodes along each of two axes.
    repeats
        Solves of each size, with other noise.
    settings
        As for `mollifier.solve`.
    progress
        Called before every solve.

    Raises
    ------
    ConfigurationError
        If a size or the number of repeats makes no sense, or a process cannot be started.

    Examples
    --------
    >>> table = run([48], repeats=1)
    >>> [(row.points, row.seconds > 0, row.error < 0.2) for row in table.rows]
    [(2304, True, True)]
    """
    children.check_start()
    _check(sizes, repeats)
    chosen = settings_for(ENGINES["weak"], settings)
    sizes = sorted(set(sizes))
    rows, stopped = [], False
    for place, size in enumerate(sizes):
        made, found = build(size), []
        try:
            for seed in range(repeats):
                if progress is not None:
                    progress(place * repeats + seed, len(sizes) * repeats, f"{size} x {size} nodes")
                found.append(_solve(made, seed, chosen))
        except KeyboardInterrupt:
            stopped = True
        if found:
            rows.append(_summed(made, size, found, rows[-1] if rows else None))
        if stopped:
            break
    return Table("scale", tuple(rows), COLUMNS, CAPTION, environment(), summary(rows), stopped, _note)


def slope(points: Sequence[float], values: Sequence[float]) -> float:
    """Of log values against log points, by least squares; NaN with fewer than two that are positive.

    >>> round(slope([100, 400, 1600], [1.0, 2.0, 4.0]), 6), slope([100], [1.0])
    (0.5, nan)
    """
    known = [(p, v) for p, v in zip(points, values, strict=True) if math.isfinite(v) and v > 0]
    if len(known) < 2:
        return math.nan
    p, v = np.log(np.array(known)).T
    return float(np.polyfit(p, v, 1)[0])


def slopes(rows: Sequence[Row]) -> dict[str, float]:
    """Powers of the number of points with which seconds and memory grow."""
    points = [r.points for r in rows]
    return {
        "seconds": slope(points, [r.seconds for r in rows]),
        "memory": slope(points, [r.memory_mib for r in rows]),
    }


def summary(rows: Sequence[Row]) -> str:
    """The slopes in words; empty where there is none."""
    found = slopes(rows)
    parts = [f"{n} as points^{s:.2f}" for n, s in found.items() if math.isfinite(s)]
    if not parts:
        return ""
    text = " and ".join(parts)
    return f"{text[0].upper()}{text[1:].replace(' as', ' grow as', 1)} (least squares on logarithms)."


def _check(sizes: Sequence[int], repeats: int) -> None:
    small = [n for n in sizes if n < SMALLEST]
    if small or not len(sizes):
        given = f"size {small[0]} was" if small else "no sizes were"
        raise ConfigurationError(f"{given} given; at least {SMALLEST} nodes along an axis were expected.")
    if repeats < 1:
        raise ConfigurationError(f"{repeats} repeats were given; at least one was expected.")


def _solve(made: Case, seed: int, settings: Any) -> tuple[children.Outcome, float]:
    """What came of one solve, and its largest error."""
    payload = children.portable(made.problem(seed=seed))
    if payload is None:
        raise ConfigurationError("bench scale starts processes, which this process may not.")
    task = children.Task("weak", seed, settings, environment()["threads"])
    outcome = children.run_apart(payload, task)
    errors = {} if outcome.solution is None else made.errors(outcome.solution)
    return outcome, largest(errors)


def _summed(
    made: Case, size: int, found: Sequence[tuple[children.Outcome, float]], before: Row | None
) -> Row:
    answered = [o for o, _ in found if o.solution is not None]
    memory = median(math.nan if o.memory is None else o.memory for o in answered)
    seconds = median(math.nan if o.seconds is None else o.seconds for o in answered)
    power = slope([before.points, size**2], [before.seconds, seconds]) if before else math.nan
    data = made.clean["u"].nbytes / 2**20
    return Row(
        size,
        size * size,
        data,
        len(answered),
        seconds,
        memory,
        memory / data,
        median(e for _, e in found),
        power,
        next((o.message for o, _ in found if o.message), ""),
    )


def _note(row: Row) -> str:
    return f"{row.size}^2: {row.message}" if row.message else ""


# Head of a column of the table -> its cell.
COLUMNS: dict[str, Callable[[Row], str]] = {
    "grid": lambda r: f"{r.size}^2",
    "points": lambda r: f"{r.points:,}",
    "data, MiB": lambda r: number(r.data_mib),
    "seconds": lambda r: number(r.seconds),
    "power": lambda r: number(r.power, ".2f"),
    "peak above data, MiB": lambda r: number(r.memory_mib),
    "x data": lambda r: number(r.memory_ratio),
    "worst error": lambda r: number(r.error, ".2g"),
    "repeats": lambda r: str(r.repeats),
}
