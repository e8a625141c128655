"""What a derivative costs: one training step of each backend, next to a data fit at the same points.

A step is forward and backward of the mean square of a differential operator of one order: a power of the
Laplacian for even orders, ``sum_i d^k/dx_i^k`` for odd ones. Steps of all backends, and the data fits, are
timed in turn (A B C A B C ...), each round one ratio, so that a busy machine slows them alike; the median is
given.

Peak memory is what a step adds to what was allocated before it: on CUDA by the allocator's own count, on a
CPU as the running sum of the allocations and releases that torch's profiler records. The workspace of the
mathematics library is not seen there, nor what malloc keeps: resident memory comes out two to four times as
high for nested autodiff (and within a few percent of the count when malloc returns what is freed).
"""

from __future__ import annotations

import math
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from benchmarks.collapsed import TaylorOperator
from benchmarks.table import Follow, Table, environment, number
from mollifier.errors import ConfigurationError, did_you_mean
from mollifier.mollify.grid import Axis, Grid
from mollifier.nn.differentiation.base import Derivatives
from mollifier.nn.differentiation.mollifier import Mollified
from mollifier.nn.differentiation.nested import Nested
from mollifier.nn.differentiation.taylor import Taylor
from mollifier.nn.registry import make

Loss = Callable[[], Tensor]
ORDERS = (1, 2, 3, 4, 6)
SIZES = (64, 128, 256)
FIT, MOLLIFIER, TAYLOR, COLLAPSED, NESTED = "data fit", "mollifier", "taylor", "taylor, collapsed", "nested"
ARMS = (FIT, MOLLIFIER, TAYLOR, COLLAPSED, NESTED)
_PROBE = 32
_RADIUS_CELLS = 8
_CAPTION = (
    "A step is forward and backward of the mean square of one differential operator. Medians of steps timed "
    f"in turn; ratios are formed within a round. The mollifier's radius is {_RADIUS_CELLS} cells."
)
FIT_HALO = "data fit, halo included"


@dataclass(frozen=True)
class Row:
    """One backend, order, grid and mode.

    Attributes
    ----------
    arm, mode, order, size
        Backend; "eager" or "compiled"; order of the operator (0 for the data fit); nodes along each of two
        axes.
    points
        Points at which the network is evaluated (the mollifier's halo included).
    step_s, repeats
        Median seconds of a step, and how many were measured.
    times_fit, times_mollifier
        Median over the rounds of the step over a data fit at the same points, and over the mollifier's step.
    peak_bytes
        Memory that a step adds at most.
    note
        Why something is missing.
    """

    arm: str
    mode: str
    order: int
    size: int
    points: int
    step_s: float | None = None
    repeats: int = 0
    times_fit: float | None = None
    times_mollifier: float | None = None
    peak_bytes: int | None = None
    note: str = ""


# Head of a column of the table -> its cell.
COLUMNS: dict[str, Callable[[Row], str]] = {
    "order": lambda r: str(r.order or "-"),
    "grid": lambda r: f"{r.size}^2",
    "backend": lambda r: r.arm,
    "mode": lambda r: r.mode,
    "step, ms": lambda r: number(r.step_s and 1e3 * r.step_s),
    "x data fit": lambda r: number(r.times_fit, ".2f"),
    "x mollifier": lambda r: number(r.times_mollifier),
    "peak, MiB": lambda r: number(r.peak_bytes and r.peak_bytes / 2**20, ".0f"),
    "note": lambda r: r.note,
}


@dataclass(frozen=True)
class _Setting:
    """What all cases have in common; `run` describes the limits."""

    device: torch.device
    network: str
    width: int | None
    depth: int | None
    repeats: int
    time_limit: float
    step_limit: float
    bytes: float


def run(
    orders: Sequence[int] = ORDERS,
    sizes: Sequence[int] = SIZES,
    *,
    arms: Sequence[str] = ARMS,
    compiled: bool | Sequence[int] = (128,),
    quick: bool = False,
    repeats: int = 11,
    time_limit: float = 10.0,
    step_limit: float = 45.0,
    network: str = "mlp",
    width: int | None = None,
    depth: int | None = None,
    device: str | None = None,
    progress: Follow | None = None,
) -> Table:
    """Measure every backend at every order and grid size.

    Parameters
    ----------
    orders, sizes
        Orders of the operator, and nodes along each of the two axes.
    arms
        Backends, of `ARMS`; the data fit is always there.
    compiled
        Sizes at which ``torch.compile`` is measured too: all, none, or those listed (compiling takes long).
    quick
        Orders 2 and 4 on 128 by 128 only.
    repeats
        Steps measured at most.
    time_limit
        Seconds after which a backend is not measured again in its case; one step always is.
    step_limit
        A step that should take more seconds, or more than 60 % of the free memory, judged from a grid of 32
        by 32, is not tried.
    network
        Its kind, of `mollifier.nn.registry.NETWORKS`; in float32.
    width, depth
        Of the network, where its kind has them: 64 and 4 for an MLP, else the kind's own.
    device
        "cuda" or "cpu"; the accelerator where there is one.
    progress
        Called before each case, with how many are done, how many there are, and what is next.
    """
    if quick:
        orders, sizes = (2, 4), (128,)
    for arm in arms:
        if arm not in ARMS:
            raise ConfigurationError(f"There is no backend '{arm}' to measure.{did_you_mean(arm, ARMS)}")
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    setting = _Setting(place, network, width, depth, repeats, time_limit, step_limit, 0.6 * _memory(place))
    compiled_sizes = tuple(sizes) if compiled is True else tuple(compiled or ())
    plan = [
        (size, order, mode)
        for size in sizes
        for order in orders
        for mode in (("eager", "compiled") if size in compiled_sizes else ("eager",))
    ]
    rows: list[Row] = []
    stopped = False
    for done, (size, order, mode) in enumerate(plan):
        if progress is not None:
            progress(done, len(plan), f"order {order}, {size} x {size}, {mode}")
        try:
            rows += _rows(order, size, mode, arms, setting, with_fit=order == orders[0])
        except KeyboardInterrupt:
            stopped = True
            break
    return Table("derivatives", tuple(rows), COLUMNS, _CAPTION, _environment(place), interrupted=stopped)


def operator_terms(order: int, names: Sequence[str] = ("x", "y")) -> dict[str, float]:
    """The operator of one order in two coordinates, as factors of its derivatives.

    >>> operator_terms(4)
    {'u_yyyy': 1.0, 'u_xxyy': 2.0, 'u_xxxx': 1.0}
    >>> operator_terms(3)
    {'u_xxx': 1.0, 'u_yyy': 1.0}
    """
    x, y = names
    if order % 2:
        return {f"u_{x * order}": 1.0, f"u_{y * order}": 1.0}
    half = order // 2
    return {f"u_{x * 2 * i}{y * 2 * (half - i)}": float(math.comb(half, i)) for i in range(half + 1)}


@dataclass(frozen=True)
class _Case:
    """The losses of one order and size by backend, and the points at which each evaluates the network."""

    net: nn.Module
    losses: dict[str, Loss]
    points: dict[str, int]


def _rows(
    order: int, size: int, mode: str, arms: Sequence[str], setting: _Setting, with_fit: bool
) -> Iterator[Row]:
    """All backends at one order, size and mode, timed in turn."""
    case = _case(order, size, setting)
    chosen = [a for a in case.losses if a in arms or a in (FIT, FIT_HALO)]
    notes = _left_out(chosen, order, size, mode, setting)
    losses = {a: case.losses[a] for a in chosen if a not in notes}
    if mode == "compiled":
        torch.compiler.reset()
        losses = {a: torch.compile(loss, dynamic=False) for a, loss in losses.items()}
    times, peaks = _measure(case.net, losses, setting, mode == "compiled")
    for arm in chosen:
        is_fit = arm in (FIT, FIT_HALO)
        if is_fit and not with_fit:
            continue
        row = Row(arm, mode, 0 if is_fit else order, size, case.points[arm], note=notes.get(arm, ""))
        if arm in times:
            row = replace(
                row,
                step_s=median(times[arm]),
                repeats=len(times[arm]),
                times_fit=_ratio(times, arm, FIT_HALO if arm == MOLLIFIER else FIT),
                times_mollifier=None if is_fit else _ratio(times, arm, MOLLIFIER),
                peak_bytes=peaks[arm],
            )
        yield row


def _ratio(times: dict[str, list[float]], arm: str, other: str) -> float | None:
    """Median over the rounds that both took part in."""
    if other not in times:
        return None
    return median(a / b for a, b in zip(times[arm], times[other], strict=False))


def _case(order: int, size: int, setting: _Setting) -> _Case:
    torch.manual_seed(0)
    place = setting.device
    width, depth = setting.width, setting.depth
    if setting.network == "mlp":
        width, depth = width or 64, depth or 4
    net = make(setting.network, 2, 1, width=width, depth=depth).to(place, torch.float32)
    grid = Grid(Axis("x", -1.0, 1.0, size), Axis("y", -1.0, 1.0, size))
    terms = operator_terms(order)
    mollified = Mollified(grid, list(terms), radius=_RADIUS_CELLS * grid.axes[0].spacing).to(place)
    # An even order is a power of the Laplacian, and isotropic: the fewest directions are evenly spread.
    angles = np.arange(order // 2 + 1) * np.pi / (order // 2 + 1)
    isotropic = None if order % 2 else np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    collapsed = TaylorOperator(grid, terms, isotropic).to(place)
    losses = {
        FIT: _fit(net, grid, place),
        FIT_HALO: _fit(net, mollified.layer.nodes, place),
        MOLLIFIER: _physics(net, mollified, terms),
        TAYLOR: _physics(net, Taylor(grid, list(terms)).to(place), terms),
        COLLAPSED: lambda: (collapsed(net) ** 2).mean(),
        NESTED: _physics(net, Nested(grid, list(terms)).to(place), terms),
    }
    halo = mollified.layer.nodes.size
    return _Case(net, losses, dict.fromkeys(losses, grid.size) | {FIT_HALO: halo, MOLLIFIER: halo})


def _fit(net: nn.Module, grid: Grid, place: torch.device) -> Loss:
    points = torch.as_tensor(grid.coords(), dtype=torch.float32, device=place)
    target = torch.zeros(len(points), 1, device=place)
    return lambda: ((net(points) - target) ** 2).mean()


def _physics(net: nn.Module, backend: Derivatives, terms: dict[str, float]) -> Loss:
    def loss() -> Tensor:
        jet, _ = backend(net)
        residual = torch.zeros((), dtype=torch.float64, device=next(net.parameters()).device)
        for name, factor in terms.items():
            residual = residual + factor * jet[name]
        return (residual**2).mean()

    return loss


def _left_out(chosen: Sequence[str], order: int, size: int, mode: str, setting: _Setting) -> dict[str, str]:
    """Why a backend is not tried, by backend."""
    notes = {}
    if mode == "compiled":
        if setting.device.type == "cpu" and not has_compiler():
            return dict.fromkeys(chosen, "not compiled: no C++ compiler found")
        notes[NESTED] = "torch.compile does not support double backward"
    for arm in [a for a in chosen if a in (NESTED, TAYLOR, COLLAPSED) and a not in notes and size > _PROBE]:
        seconds, held = ((size / _PROBE) ** 2 * n for n in _probe(arm, order, setting))
        # On a CPU malloc keeps freed pieces: nested autodiff was seen resident with four times what it holds.
        needed = held if setting.device.type == "cuda" else held * (4 if arm == NESTED else 2)
        if needed > setting.bytes:
            notes[arm] = f"not tried: about {held / 2**30:.0f} GiB (from {_PROBE}^2)"
        elif seconds > setting.step_limit:
            notes[arm] = f"not tried: about {seconds:.0f} s a step (from {_PROBE}^2)"
    return notes


@lru_cache(maxsize=64)
def _probe(arm: str, order: int, setting: _Setting) -> tuple[float, int]:
    """Seconds and bytes of a step on a small grid."""
    case = _case(order, _PROBE, setting)
    times, peaks = _measure(case.net, {arm: case.losses[arm]}, replace(setting, repeats=2))
    return min(times[arm]), peaks[arm]


def _measure(
    net: nn.Module, losses: dict[str, Loss], setting: _Setting, compiled: bool = False
) -> tuple[dict[str, list[float]], dict[str, int]]:
    """Seconds of each measured step, and peak bytes, by backend; the step under the profiler warms up."""
    peaks = {}
    for arm, loss in losses.items():
        if compiled:
            _step(net, loss, setting.device)
        peaks[arm] = _peak(net, loss, setting.device)
    times: dict[str, list[float]] = {arm: [] for arm in losses}
    for turn in range(setting.repeats):
        for arm, loss in losses.items():
            if turn == 0 or (len(times[arm]) == turn and sum(times[arm]) < setting.time_limit):
                times[arm].append(_step(net, loss, setting.device))
    return times, peaks


def _step(net: nn.Module, loss: Loss, device: torch.device) -> float:
    """Seconds of one forward and backward."""
    net.zero_grad(set_to_none=True)
    _wait(device)
    start = time.perf_counter()
    loss().backward()
    _wait(device)
    return time.perf_counter() - start


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _peak(net: nn.Module, loss: Loss, device: torch.device) -> int:
    """Most bytes that one step holds beyond what was there before."""
    net.zero_grad(set_to_none=True)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        _step(net, loss, device)
        return torch.cuda.max_memory_allocated(device) - before
    with _quiet(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        loss().backward()
    assert profiler.profiler is not None
    assert profiler.profiler.kineto_results is not None
    events: list[Any] = [e for e in profiler.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = np.cumsum([e.nbytes() for e in sorted(events, key=lambda e: e.start_ns())])
    return int(held.max(initial=0))


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the profiler's library writes to the standard error stream."""
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def has_compiler() -> bool:
    """Whether ``torch.compile`` has the C++ compiler that it needs on a CPU."""
    return any(shutil.which(c) for c in (os.environ.get("CXX", "g++"), "g++", "clang++", "c++"))


def _memory(device: torch.device) -> float:
    """Bytes free on the device."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    if hasattr(os, "sysconf") and "SC_AVPHYS_PAGES" in os.sysconf_names:
        return float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return math.inf


def _environment(device: torch.device) -> dict[str, Any]:
    known: dict[str, Any] = {"threads": torch.get_num_threads(), "torch": torch.__version__}
    if device.type == "cuda":
        known["device"] = torch.cuda.get_device_name(device)
    return environment(**known)
