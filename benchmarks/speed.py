"""What the program costs beside a floor: the least code that does the sums, without intervals or checks.

Ours and the floor take turns in one run, and CPU seconds of one thread are compared, so that other work on
the machine slows both. The floor of a solve is a weak form by hand: at nine settings about the radii that
the engine chose, kernels, one matrix product an axis for each term, and least squares.
"""

from __future__ import annotations

import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from scipy.ndimage import correlate1d
from scipy.signal import savgol_filter

import mollifier as mf
from benchmarks import derivatives, scale
from benchmarks.cases.registry import case
from benchmarks.table import Follow, Table, environment, number
from mollifier.cli.demos import heat
from mollifier.engines.collocated.calibrate import calibrate
from mollifier.engines.network.engine import prepare_networks
from mollifier.engines.network.gauss_newton import GaussNewton
from mollifier.engines.network.settings import NetworkSettings
from mollifier.engines.network.tuning import NetworkTuning
from mollifier.engines.weak.axes import axis_tests
from mollifier.engines.weak.integrands import integrands_of
from mollifier.problem.settings import validated

Array = NDArray[np.float64]
Term = tuple[Callable[[Array], Array], tuple[int, ...]]

CAPTION = (
    "CPU seconds of one thread, ours and the floor in turn, the least of the repeats. Power: of the points, "
    "with which ours grows over the sizes of one work (least squares on logarithms)."
)
COLUMNS: dict[str, Callable[[Row], str]] = {
    "work": lambda r: r.work,
    "points": lambda r: f"{r.points:,}",
    "ours, s": lambda r: number(r.seconds),
    "floor": lambda r: r.floor,
    "floor, s": lambda r: number(r.floor_seconds),
    "ours / floor": lambda r: number(r.seconds / r.floor_seconds, ".2g"),
    "power": lambda r: number(r.power, ".2f"),
}
_SAVGOL, _HAND = "Savitzky-Golay (SciPy)", "weak forms by hand, nine radii"
_FACTORS = (0.7, 1.0, 1.4)
# Repeats of what takes less than so many seconds.
_REPEATS, _SHORT = 3, 1.0
# With a dataset: xarray loads dask for the first where that is installed.
_LIBRARIES = (
    "import numpy, scipy.interpolate, scipy.optimize, sympy, pandas, xarray, pydantic, typer; "
    "xarray.Dataset({'u': ('x', [0.0])})"
)


@dataclass(frozen=True)
class Row:
    """One work of one size: CPU seconds of ours and of the floor, NaN for none."""

    work: str
    points: int
    seconds: float
    floor: str = ""
    floor_seconds: float = math.nan
    power: float = math.nan


@dataclass(frozen=True)
class Work:
    """Something to measure: ``prepare`` makes a function of the work, which is timed, and so for the floor.

    The floor takes what ours gave. ``clock`` counts CPU seconds.
    """

    name: str
    points: int
    prepare: Callable[[], Callable[[], Any]]
    floor: str = ""
    prepare_floor: Callable[[Any], Callable[[], Any]] | None = None
    clock: Callable[[], float] = time.process_time

    def measured(self) -> Row:
        """The row, ours and the floor in turn."""
        ours, floors = [], []
        while not ours or (len(ours) < _REPEATS and ours[0] < _SHORT):
            seconds, answer = self._timed(self.prepare())
            ours.append(seconds)
            if self.prepare_floor is not None:
                floors.append(self._timed(self.prepare_floor(answer))[0])
        return Row(self.name, self.points, min(ours), self.floor, min(floors, default=math.nan))

    def _timed(self, run: Callable[[], Any]) -> tuple[float, Any]:
        begun = self.clock()
        answer = run()
        return self.clock() - begun, answer


def run(quick: bool = False, progress: Follow | None = None) -> Table:
    """Measure everything, about ten minutes; ``quick`` only the smallest of each, a few seconds.

    Examples
    --------
    >>> table = run(quick=True)
    >>> all(row.seconds > 0 for row in table.rows)
    True
    """
    _solving(scale.build(64).problem())()  # what is loaded once
    rows: list[Row] = []
    stopped = False
    works = list(_works(quick))
    for place, work in enumerate(works):
        if progress is not None:
            progress(place, len(works) + 1, f"{work.name}, {work.points:,} points")
        try:
            rows.append(work.measured())
        except KeyboardInterrupt:
            stopped = True
            break
    if not stopped:
        rows += _steps(quick)
    return Table("speed", tuple(with_powers(rows)), COLUMNS, CAPTION, environment(), interrupted=stopped)


def with_powers(rows: Sequence[Row]) -> Iterator[Row]:
    """The rows with the fitted power in the last of each work that was measured at several sizes.

    >>> rows = [Row("a", 100, 1.0), Row("a", 400, 2.0), Row("b", 100, 1.0)]
    >>> [round(r.power, 3) for r in with_powers(rows)]
    [nan, 0.5, nan]
    """
    for i, row in enumerate(rows):
        same = [r for r in rows if r.work == row.work]
        last = row.work not in [r.work for r in rows[i + 1 :]]
        power = scale.slope([r.points for r in same], [r.seconds for r in same]) if last else math.nan
        yield replace(row, power=power)


def _works(quick: bool) -> Iterator[Work]:
    for n in (10_000, 100_000, 1_000_000)[: 1 if quick else None]:
        yield Work(
            "differentiate u_xx, 30 cells", n, lambda n=n: _derivative(n), _SAVGOL, lambda _, n=n: _savgol(n)
        )
    u = np.asarray
    first: list[Term] = [(u, (0, 1)), (u, (1, 0)), (u, (2, 0)), (u, (0, 0))]
    for n in (128, 512, 2048)[: 1 if quick else None]:
        yield _solve("weak, three numbers, linear", lambda n=n: scale.build(n).problem(), first)
    if quick:
        return
    waves: list[Term] = [(u, (0, 1)), (np.square, (1, 0)), (u, (3, 0))]
    yield _solve("weak, KdV", lambda: case("kdv").problem(noise=0.1), waves)
    chaos: list[Term] = [(u, (0, 1)), (np.square, (1, 0)), (u, (2, 0)), (u, (4, 0))]
    yield _solve("weak, KS", lambda: case("kuramoto_sivashinsky").problem(noise=0.1), chaos)
    solid: list[Term] = [
        (u, (0, 0, 0, 1)),
        (u, (2, 0, 0, 0)),
        (u, (0, 2, 0, 0)),
        (u, (0, 0, 2, 0)),
        (u, (0,) * 4),
    ]
    yield _solve("weak, 64^3 x 32, two numbers", _solid, solid)
    yield _solve("weak, movie 31 x 128^2, a field", lambda: case("chromatin").problem(noise=0.05), None)
    yield from _collocated()
    for sizes, boundary in (((64,) * 3, "halo"), ((512,) * 2, "one-sided"), ((1024,) * 2, "halo")):
        name = f"layer alone, order 4, {boundary}, {len(sizes)} axes"
        begin, floor = partial(_layer, sizes, boundary), partial(_correlate, sizes, boundary)
        yield Work(name, math.prod(sizes), begin, "correlate1d (SciPy)", floor)
    for runs in (1, 20):
        words = ["--each", "run"] if runs > 1 else ["--no-figures"]
        name = f"mollifier solve {words[0]}, {runs * 2460:,} rows"
        begin, libraries = lambda words=words, runs=runs: _command(words, runs), lambda _: _python(_LIBRARIES)
        yield Work(name, runs * 2460, begin, "imports of the libraries", libraries, children_seconds)


def _solve(name: str, problem: Callable[[], mf.InverseProblem], terms: Sequence[Term] | None) -> Work:
    """A solve by the weak engine, with the same sums by hand."""
    given = problem()
    (field,) = given.fields
    data = given.data.dataset[field].values
    nodes = [(given.data.dataset[c].values, c in given.data.periodic) for c in given.data.coordinates]

    def floor(solution: Any) -> Callable[[], Any]:
        radii = list(solution.provenance["radius"].values())
        return lambda: [by_hand(data, nodes, scaled, terms or ()) for scaled in _about(radii)]

    hand = (_HAND, floor) if terms else ("", None)
    return Work(name, data.size, lambda: _solving(problem()), *hand)


def _solving(problem: mf.InverseProblem) -> Callable[[], Any]:
    for kept in (axis_tests, integrands_of):
        kept.cache_clear()
    return lambda: mf.solve(problem, engine="weak")


def _about(radii: Sequence[float]) -> Iterator[list[float]]:
    """Nine settings: the radii in space and that of the last axis, time, each with three factors."""
    for space, time_factor in product(_FACTORS, repeat=2):
        yield [r * space for r in radii[:-1]] + [radii[-1] * time_factor]


def by_hand(
    values: Array, nodes: Sequence[tuple[Array, bool]], radii: Sequence[float], terms: Sequence[Term]
) -> Array:
    """Factors of all terms but the first, whose sum with the first is zero, by a weak form.

    Parameters
    ----------
    values
        On the grid.
    nodes
        Of each axis, even, and whether it is periodic.
    radii
        Of the test functions ``(1 - s^2)^8``, three in a radius.
    terms
        A function of the values and the orders of its derivative along each axis.

    Examples
    --------
    >>> x, t = np.linspace(0, 6, 80), np.linspace(0, 1, 60)
    >>> u = np.sin(x[:, None] - t)
    >>> terms = [(np.asarray, (0, 1)), (np.asarray, (1, 0))]
    >>> by_hand(u, [(x, False), (t, False)], [1.0, 0.3], terms).round(4)
    array([-1.])
    """
    kernel = np.polynomial.Polynomial([1, 0, -1]) ** 8
    orders = [{o[i] for _, o in terms} for i in range(len(nodes))]
    weights = []
    for (x, periodic), r, wanted in zip(nodes, radii, orders, strict=True):
        h = x[1] - x[0]
        length = h * x.size
        middle = np.arange(x[0], x[-1], r / 3) if periodic else np.arange(x[0] + r, x[-1] - r, r / 3)
        s = x - middle[:, None]
        s = ((s + length / 2) % length - length / 2 if periodic else s) / r
        inside = np.abs(s) < 1
        weights.append({k: np.where(inside, kernel.deriv(k)(s), 0.0) * h * (-1 / r) ** k for k in wanted})
    columns = []
    for function, along in terms:
        found = function(values)
        for axis, k in enumerate(along):
            found = np.moveaxis(np.tensordot(weights[axis][k], found, (1, axis)), 0, axis)
        columns.append(found.ravel())
    return np.linalg.lstsq(np.stack(columns[1:], 1), columns[0], rcond=None)[0]


def _signal(n: int) -> Array:
    return np.sin(np.linspace(0, 9, n)) + 0.01 * np.random.default_rng(0).standard_normal(n)


def _derivative(n: int) -> Callable[[], Any]:
    u, grid = _signal(n), mf.Grid(mf.Axis("x", 0.0, 1.0, n))
    return lambda: mf.differentiate(u, grid, "u_xx", radius=30 / (n - 1))


def _savgol(n: int) -> Callable[[], Any]:
    u = _signal(n)
    return lambda: savgol_filter(u, 61, 4, deriv=2, delta=1 / (n - 1))


def _solid() -> mf.InverseProblem:
    """Diffusion and decay of three waves in a box, exact, with 2 % noise."""
    x, t = np.linspace(0, 2 * np.pi, 64), np.linspace(0, 2, 32)
    grid = np.meshgrid(x, x, x, t, indexing="ij", sparse=True)
    u = np.zeros((64, 64, 64, 32))
    for size, waves, phase in ((1.0, (1, 0, 1), 0.0), (0.6, (1, 2, 0), 1.0), (0.5, (2, 1, 1), 2.0)):
        angle = sum(k * g for k, g in zip(waves, grid[:3], strict=True)) + phase
        u += size * np.exp(-(0.05 * sum(k * k for k in waves) + 0.3) * grid[3]) * np.sin(angle)
    u += 0.02 * u.std() * np.random.default_rng(0).standard_normal(u.shape)
    data = mf.Observations.from_dataset(
        xr.Dataset({"u": (("x", "y", "z", "t"), u)}, dict(x=x, y=x, z=x, t=t))
    )
    return mf.InverseProblem("u_t = D*lap(u) - r*u", data, {"D": mf.ScalarUnknown(), "r": mf.ScalarUnknown()})


def _collocated() -> Iterator[Work]:
    """Solves by the joint engine, and one step of the network engine, without a floor."""
    for points, nodes in ((2000, 33), (10_000, 65)):
        fine = {"collocation": {"nodes": {"x": nodes, "y": nodes}}}
        run = partial(mf.solve, heat.problem(heat.measurements(points)), engine="joint", settings=fine)
        yield Work(f"joint, a field of the plate, {nodes}^2 nodes", points, lambda run=run: run)
    yield Work(
        "joint, movie 16 x 64 x 64, a number", 65_536, lambda: partial(mf.solve, movie(), engine="joint")
    )
    for names, points in (("xyt", 100_000), ("xyzt", 10_000)):
        name = f"network, a Gauss-Newton step, {len(names)} coordinates"
        yield Work(name, points, partial(_newton, points, names))


def movie() -> mf.InverseProblem:
    """Diffusion of three waves on a plate, exact, with 2 % noise."""
    x, t = np.linspace(0, 2, 64), np.linspace(0, 1, 16)
    mesh = np.meshgrid(x, x, t, indexing="ij", sparse=True)
    u = np.zeros((64, 64, 16))
    for size, k, m, phase in ((1.0, 1.5, 2.0, 0.3), (0.6, 3.0, 1.0, 1.0), (0.5, 2.0, 3.0, 2.0)):
        decay = size * np.exp(-0.1 * (k * k + m * m) * mesh[2])
        u += decay * np.sin(k * mesh[0] + phase) * np.cos(m * mesh[1])
    u += 0.02 * u.std() * np.random.default_rng(0).standard_normal(u.shape)
    data = mf.Observations.from_dataset(xr.Dataset({"u": (("x", "y", "t"), u)}, {"x": x, "y": x, "t": t}))
    return mf.InverseProblem("u_t = D*lap(u)", data, {"D": mf.ScalarUnknown()})


def _newton(points: int, names: str) -> Callable[[], Any]:
    """One step on scattered points of a decaying wave, with 2 % noise and the default network."""
    rng = np.random.default_rng(0)
    places = {n: 2 * rng.random(points) for n in names}
    u = np.exp(-0.1 * len(names) * places["t"]) * math.prod(np.sin(places[n] + 0.3) for n in names[:-1])
    u += 0.02 * u.std() * rng.standard_normal(points)
    data = mf.Observations(values={"u": u}, points=places)
    problem = mf.InverseProblem("u_t = D*lap(u)", data, {"D": mf.ScalarUnknown()})
    objective, _ = prepare_networks(problem, validated(NetworkSettings, {}), 0)
    calibrate(objective)
    return GaussNewton(objective, 1, 1e-3, NetworkTuning()).step


def _layer(sizes: Sequence[int], boundary: Any) -> Callable[[], Any]:
    """Derivatives of orders zero to four on a grid, at a radius of eight cells, from given values."""
    layer = _layer_on(sizes, boundary)
    g = torch.rand(layer.nodes.shape, dtype=torch.float64)
    return lambda: layer(g)


def _layer_on(sizes: Sequence[int], boundary: Any) -> mf.MollifierLayer:
    grid = mf.Grid(*(mf.Axis(c, 0.0, 1.0, n) for c, n in zip("xyz", sizes, strict=False)))
    orders = ["u", "u_xx", "u_yy", "u_xxxx", "u_xxyy", "u_yyyy"]
    return mf.MollifierLayer(grid, orders, radius=8 / (sizes[0] - 1), boundary=boundary)


def _correlate(sizes: Sequence[int], boundary: Any, _: Any) -> Callable[[], Any]:
    """As many passes along the axes by SciPy's direct correlation, each result kept."""
    operator = _layer_on(sizes, boundary).operator
    g, weights = np.random.default_rng(0).random(operator.nodes.shape), np.ones(17) / 17
    axes = [axis for axis, steps in enumerate(operator.steps) for _, orders in steps for _ in orders]
    return lambda: [correlate1d(g, weights, axis) for axis in axes]


def _command(words: Sequence[str], runs: int) -> Callable[[], Any]:
    """``mollifier solve`` on a table of one experiment, or of several that ``run`` numbers."""
    folder = Path(tempfile.mkdtemp())
    clean = scale.build(64).clean["u"].isel(x=slice(60), t=slice(41))
    rng, lines = np.random.default_rng(0), ["run,x,t,u"]
    for i in range(runs):
        noisy = clean + 0.02 * float(clean.std()) * rng.standard_normal(clean.shape)
        series: Any = noisy.stack(place=("x", "t")).to_series()
        lines += [f"{i},{x:.8g},{t:.8g},{u:.6g}" for (x, t), u in series.items()]
    (folder / "u.csv").write_text("\n".join(lines))
    unknowns = "unknowns: {c: {}, D: {}, r: {}}"
    select = "" if runs > 1 else ", select: {run: 0}"
    data = f"data: {{file: u.csv, values: u, coordinates: [x, t]{select}}}"
    (folder / "p.yaml").write_text(f"equation: u_t + c*u_x = D*u_xx - r*u\n{unknowns}\n{data}\n")
    arguments = ["solve", str(folder / "p.yaml"), "--quiet", "--out", str(folder / "out"), *words]
    return _python(f"from mollifier.cli.app import app; app({arguments})")


def _python(code: str) -> Callable[[], Any]:
    return lambda: subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def children_seconds() -> float:
    """CPU seconds of all processes that this one started and that have ended."""
    import resource

    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _steps(quick: bool) -> list[Row]:
    """Training steps of an MLP with the layer at order 4 beside a data fit at the same points; wall clock."""
    sizes, arms = (64,) if quick else (64, 128, 256), (derivatives.FIT, derivatives.MOLLIFIER)
    found = derivatives.run((4,), sizes, arms=arms, compiled=False, repeats=5, time_limit=3.0).rows
    return [
        Row("step of an MLP, order 4", r.size**2, r.step_s, "data fit, no derivative", r.step_s / r.times_fit)
        for r in found
        if r.arm == derivatives.MOLLIFIER and r.step_s and r.times_fit
    ]
