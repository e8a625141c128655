"""The layer, the optimisers and the tests marked ``gpu`` on one device, in at most eight minutes."""

from __future__ import annotations

import math
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

import mollifier as mf
from benchmarks import scale
from benchmarks.table import Follow, Table, environment, number
from mollifier.errors import ConfigurationError

LIMIT = 480.0
"""Seconds; no work begins that would pass them by its share."""

CAPTION = (
    "Seconds of one step on the device, the median after the first two. Layer: forward and backward of the "
    "jet of random values; error: the largest of the jet in float32 over its size, against float64 on the "
    "CPU. Optimisers: the network engine on u_t + c*u_x = D*u_xx - r*u, an exact solution with 2 % noise; "
    "error: the largest relative error of c, D and r after so few steps, which is no measure of the engine. "
    "Memory: the most that torch held on a CUDA device."
)
COLUMNS: dict[str, Callable[[Row], str]] = {
    "work": lambda r: r.work,
    "points": lambda r: f"{r.points:,}" if r.points else "",
    "s a step": lambda r: number(r.seconds),
    "memory, MiB": lambda r: number(r.memory_mib),
    "error": lambda r: number(r.error, ".2g"),
    "outcome": lambda r: r.outcome,
}
ORDERS = ("u", "u_t", "u_xx", "u_xxxx")
STEPS = 12
_TESTS = Path(__file__).parents[1] / "tests"


@dataclass(frozen=True)
class Row:
    """One work on the device: seconds of a step, memory and error, NaN for none; what came of it."""

    work: str
    points: int = 0
    seconds: float = math.nan
    memory_mib: float = math.nan
    error: float = math.nan
    outcome: str = ""


def run(device: str = "cuda", quick: bool = False, progress: Follow | None = None) -> Table:
    """Measure everything on a device; ``quick`` only the smallest of each.

    A work that fails is a row with the error, and stops no other.

    Raises
    ------
    ConfigurationError
        If there is no such device.

    Examples
    --------
    >>> table = run("cpu", quick=True)
    >>> [row.work for row in table.rows if not row.seconds > 0 and row.work != "tests marked gpu"]
    []
    """
    kind = torch.device(device).type
    if kind == "cuda" and not torch.cuda.is_available():
        raise ConfigurationError(
            "There is no CUDA device; --device cpu runs the same works on the processor."
        )
    begun, rows, stopped = time.monotonic(), list[Row](), False
    works = list(_works(device, quick))
    for place, (name, work) in enumerate(works):
        if progress is not None:
            progress(place, len(works), name)
        if time.monotonic() - begun > LIMIT * 0.85:
            rows.append(Row(name, outcome="left out: no time"))
            continue
        try:
            rows += work()
        except KeyboardInterrupt:
            stopped = True
            break
        except Exception as error:  # what fails on a device is the finding
            rows.append(Row(name, outcome=f"{type(error).__name__}: {str(error).splitlines()[0]}"))
    about = environment() | {"device": torch.cuda.get_device_name() if kind == "cuda" else "cpu"}
    return Table("gpu", tuple(rows), COLUMNS, CAPTION, about, interrupted=stopped)


def _works(device: str, quick: bool) -> Iterator[tuple[str, Callable[[], list[Row]]]]:
    shapes = [(64, 64)] if quick else [(128, 128), (512, 512), (1024, 1024), (64, 64, 64)]
    for shape in shapes:
        for precision in (torch.float32, torch.float64):
            kind = str(precision).removeprefix("torch.")
            name = f"layer, {' x '.join(map(str, shape))}, {kind}"
            yield name, partial(_layer, name, shape, precision, device)
    for n, optimiser in ((48 if quick else 192, o) for o in ("lbfgs", "gauss-newton")):
        yield optimiser, partial(_training, n, optimiser, device, quick)
    yield "tests marked gpu", partial(_tests, quick)


def _layer(name: str, shape: tuple[int, ...], precision: torch.dtype, device: str) -> list[Row]:
    """Forward and backward of a jet on a grid."""
    axes = [mf.Axis(c, 0.0, 1.0, n) for c, n in zip("xyt" if len(shape) == 3 else "xt", shape, strict=True)]
    layer = mf.MollifierLayer(mf.Grid(*axes), orders=ORDERS, radius={a.name: 8 * a.spacing for a in axes})
    coordinates = layer.coords()
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(*coordinates.shape[:-1], generator=generator, dtype=torch.float64)
    reference = layer(values) if precision == torch.float32 else None
    moved = layer.to(device)
    g = values.to(device, precision).requires_grad_()
    _reset(device)
    seconds = []
    for _ in range(STEPS):
        begun = time.perf_counter()
        jet = moved(g)
        torch.stack([jet[o].mean() for o in ORDERS]).sum().backward()
        _wait(device)
        seconds.append(time.perf_counter() - begun)
    error = math.nan
    if reference is not None:
        jet = moved(g.detach())
        error = max(
            float((jet[o].cpu().double() - reference[o]).abs().max() / reference[o].abs().max())
            for o in ORDERS
        )
    points = math.prod(shape)
    return [Row(name, points, float(np.median(seconds[2:])), _memory(device), error)]


def _training(n: int, optimiser: str, device: str, quick: bool) -> list[Row]:
    """Few steps of the network engine: a row for each of its stages."""
    made = scale.build(n)
    steps = 6 if quick else 40
    training = {"device": device, "optimiser": optimiser, "warmup_steps": steps, "adam_steps": steps}
    settings = {
        "training": training | {"steps": steps, "tolerance": 1e-12},
        "network": {"width": 16 if quick else 32, "depth": 2},
    }
    _reset(device)
    solution = mf.solve(made.problem(), "network", settings=settings)
    error, history = max(made.errors(solution).values()), solution.history
    stages, rows = history["stage"].values, list[Row]()
    taken = np.diff(history["seconds"].values, prepend=0.0)
    for stage in dict.fromkeys(stages.tolist()):
        # The first steps compile and allocate; of L-BFGS a step is several of its iterations.
        own = taken[stages == stage]
        seconds, name = float(np.median(own[2:] if len(own) > 4 else own)), f"network, {optimiser}: {stage}"
        rows.append(Row(name, n * n, seconds, _memory(device), error, solution.status.name))
    return rows


def _tests(quick: bool) -> list[Row]:
    """The tests marked ``gpu``: how many passed."""
    words = [
        sys.executable,
        "-m",
        "pytest",
        "-o",
        "addopts=--import-mode=importlib",
        "-m",
        "gpu",
        "-p",
        "no:cacheprovider",
        "-q",
    ]
    where = [str(_TESTS / "mollify")] if quick else [str(_TESTS)]
    found = subprocess.run([*words, *where], capture_output=True, text=True, timeout=240, check=False)
    last = [line for line in found.stdout.strip().splitlines() if line]
    return [
        Row("tests marked gpu", outcome=last[-1].strip("= ") if last else f"exit code {found.returncode}")
    ]


def _wait(device: str) -> None:
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()


def _reset(device: str) -> None:
    if torch.device(device).type == "cuda":
        torch.cuda.reset_peak_memory_stats()


def _memory(device: str) -> float:
    if torch.device(device).type != "cuda":
        return math.nan
    return torch.cuda.max_memory_allocated() / 2**20
