"""What a whole solve of the network engine costs in four coordinates: CPU seconds and memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

import mollifier as mf
from benchmarks.speed import children_seconds
from benchmarks.table import Follow, Table, environment, number
from mollifier.diagnostics.compare import children
from mollifier.engines.registry import ENGINES
from mollifier.engines.settings import settings_for
from mollifier.errors import ConfigurationError

TRUTH, NOISE = 0.1, 0.02
CAPTION = (
    "u_t = D*lap(u) in x, y, z and t, a decaying wave at scattered places with 2 % noise, D = 0.1; default "
    "settings but for the kind of network. Every solve in a freshly spawned process. CPU s: of that process, "
    "with imports. Peak: the highest resident memory during the solve less that just before it, after all "
    "imports. Errors: of D, over its standard error."
)
COLUMNS: dict[str, Callable[[Row], str]] = {
    "network": lambda r: r.network,
    "points": lambda r: f"{r.points:,}",
    "CPU s": lambda r: number(r.cpu_seconds, ".0f"),
    "steps": lambda r: str(r.steps),
    "peak, MiB": lambda r: number(r.memory_mib, ".0f"),
    "D": lambda r: f"{r.value:.5f} ± {r.sd:.5f}",
    "errors": lambda r: number((r.value - TRUTH) / r.sd, ".2g"),
    "status": lambda r: r.status,
}


@dataclass(frozen=True)
class Row:
    """One solve: CPU seconds, MiB above the start, and what it found; NaN for none."""

    network: str
    points: int
    cpu_seconds: float = math.nan
    steps: int = 0
    memory_mib: float = math.nan
    value: float = math.nan
    sd: float = math.nan
    status: str = ""
    message: str = ""


def problem(points: int, seed: int = 0, names: str = "xyzt") -> mf.InverseProblem:
    """A decaying wave at scattered places, with 2 % noise.

    Examples
    --------
    >>> problem(50).data.coordinates
    ('x', 'y', 'z', 't')
    """
    rng = np.random.default_rng(seed)
    places = {n: 2 * rng.random(points) for n in names}
    decay = np.exp(-TRUTH * (len(names) - 1) * places["t"])
    u = decay * math.prod(np.sin(places[n] + 0.3) for n in names[:-1])
    u += NOISE * u.std() * rng.standard_normal(points)
    data = mf.Observations(values={"u": u}, points=places)
    return mf.InverseProblem("u_t = D*lap(u)", data, {"D": mf.ScalarUnknown()})


def run(
    networks: Sequence[str] = ("random-features", "mlp"),
    points: Sequence[int] = (10_000,),
    seed: int = 0,
    names: str = "xyzt",
    progress: Follow | None = None,
) -> Table:
    """Solve with every network at every number of points, one after another.

    Examples
    --------
    >>> row = run(["random-features"], [200], names="xt").rows[0]
    >>> row.memory_mib > 0, row.steps > 0
    (True, True)
    """
    children.check_start()
    plans, rows, stopped = [(n, k) for k in points for n in networks], list[Row](), False
    for place, (network, count) in enumerate(plans):
        if progress is not None:
            progress(place, len(plans), f"{network}, {count:,} points")
        try:
            rows.append(_solve(network, count, seed, names))
        except KeyboardInterrupt:
            stopped = True
            break
    return Table("solid", tuple(rows), COLUMNS, CAPTION, environment(), "", stopped, lambda r: r.message)


def _solve(network: str, points: int, seed: int, names: str) -> Row:
    payload = children.portable(problem(points, seed, names))
    if payload is None:
        raise ConfigurationError("bench solid starts processes, which this process may not.")
    settings = settings_for(ENGINES["network"], {"network": {"kind": network}})
    before = children_seconds()
    outcome = children.run_apart(payload, children.Task("network", seed, settings, environment()["threads"]))
    seconds, found = children_seconds() - before, outcome.solution
    if found is None:
        return Row(network, points, seconds, status=outcome.status, message=outcome.message)
    d, memory = found.estimates["D"], math.nan if outcome.memory is None else outcome.memory
    sd = math.nan if d.sd is None else d.sd
    steps, why = found.history.sizes.get("step", 0), "" if found.status.ok else found.status.message
    return Row(network, points, seconds, steps, memory, d.value, sd, found.status.name, why)
