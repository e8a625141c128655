"""One answer to one problem of the paper, and how its error fell while it was sought."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib import import_module
from typing import Any, Protocol

import numpy as np
import torch
import xarray as xr

from benchmarks.accuracy import load
from benchmarks.cases.base import Case
from benchmarks.paper.problems import PROBLEMS, true_derivatives, with_operators
from mollifier.data.observations import Observations
from mollifier.diagnostics.compare.children import with_peak
from mollifier.diagnostics.scores import score
from mollifier.engines.progress import Progress
from mollifier.engines.registry import ENGINES as REGISTERED
from mollifier.engines.settings import used_by
from mollifier.engines.solve import solve
from mollifier.errors import MollifierError
from mollifier.problem.solution import Solution

# What a network's derivatives may be taken by; engines without networks; other programs' networks.
BY_NETWORK = ("mollifier", "nested", "taylor")
ENGINES = ("weak", "joint")
PEERS = ("deepxde", "pina")
METHODS = (*BY_NETWORK, *ENGINES, *PEERS)
# Errors are looked at each time the seconds have grown by this share.
_GROWTH = 0.15


class Recover(Protocol):
    """How another program's network is asked: for fields, in so many seconds, with a look now and then."""

    def __call__(
        self,
        case: Case,
        data: Observations,
        seconds: float,
        seed: int,
        watch: Callable[[float, xr.Dataset], None],
    ) -> xr.Dataset: ...


@dataclass(frozen=True)
class Plan:
    """What is tried.

    Attributes
    ----------
    problem
        One of `benchmarks.paper.problems.PROBLEMS`.
    noise, seed
        sigma / rms(u), and the seed of the noise and of the network.
    method, network
        One of `METHODS`, and the kind of the network; none for engines and other programs.
    seconds
        The most that it may take.
    threads
        Of the mathematics library.
    """

    problem: str
    noise: float
    seed: int
    method: str
    network: str = ""
    seconds: float = 300.0
    threads: int = 1


@dataclass(frozen=True)
class Trial:
    """What came of it.

    Attributes
    ----------
    status, message
        Of the solution; "refused" or "failed" and why, where there is none.
    unknowns, derivatives
        Unknown field, or derivative of a state -> its `mollifier.diagnostics.scores.Score`, as a dictionary.
    curve
        Seconds, and the largest relative L2 error of an unknown then.
    seconds
        Of the whole, looks at the error left out.
    step_s, stage
        Median seconds of a step of the last stage, and its name.
    memory
        Highest resident memory above that at the start, MiB.
    """

    status: str
    message: str = ""
    unknowns: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    derivatives: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    curve: Sequence[Sequence[float]] = ()
    seconds: float = math.nan
    step_s: float = math.nan
    stage: str = ""
    memory: float | None = None

    @property
    def relative_l2(self) -> float:
        """The largest over the unknowns; infinite where there is none."""
        return max((s["relative_l2"] for s in self.unknowns.values()), default=math.inf)

    def reached(self, error: float) -> float:
        """Seconds from which on the error stays at or below one; infinite where it never does.

        >>> Trial("converged", curve=[(1.0, 0.5), (2.0, 0.04), (3.0, 0.06), (4.0, 0.03)]).reached(0.05)
        4.0
        """
        since = math.inf
        for seconds, found in self.curve:
            since = (since if since < math.inf else seconds) if found <= error else math.inf
        return since


class _Watch:
    """Looks at the error of the unknowns now and then, and keeps the time that this takes."""

    def __init__(self, truth: xr.Dataset) -> None:
        self.truth = truth
        self.curve: list[tuple[float, float]] = []
        self.spent, self._due = 0.0, 0.0

    def on_step(self, event: Progress) -> None:
        """After a step of one of our engines."""
        if event.estimates or event.stage != "warm-up":
            self.look(event.seconds - self.spent, event.fields)

    def on_fields(self, seconds: float, fields: xr.Dataset) -> None:
        """At other programs' leisure."""
        self.look(seconds - self.spent, lambda: fields)

    def look(self, seconds: float, fields: Callable[[], xr.Dataset], always: bool = False) -> None:
        """The error, where it is time for one."""
        if not always and seconds < self._due:
            return
        begun = time.perf_counter()
        self._due = seconds * (1 + _GROWTH)
        scores = score(fields(), self.truth)
        error = max((s.relative_l2 for s in scores.values()), default=math.inf)
        self.curve.append((seconds, error))
        self.spent += time.perf_counter() - begun


def answer(plan: Plan) -> Trial:
    """Try it, in this process."""
    torch.set_num_threads(plan.threads)
    made = PROBLEMS[plan.problem].build()
    load("weak" if plan.method == "weak" else "network")
    if plan.method in PEERS:
        try:
            recover: Recover = import_module(f"benchmarks.peers.{plan.method}").recover
        except ImportError as error:
            return Trial("refused", f'{plan.method}: {error}; pip install "mollifier[peers]" brings it')
        trial, memory = with_peak(lambda: _by_peer(plan, made, recover))
    else:
        trial, memory = with_peak(lambda: _by_us(plan, made))
    return trial if trial.status == "refused" else replace(trial, memory=memory)


def _by_us(plan: Plan, made: Case) -> Trial:
    """One of our engines."""
    watch = _Watch(made.true_fields)
    engine = plan.method if plan.method in ENGINES else "network"
    settings: dict[str, Any] = {"training": {"time_limit": plan.seconds}}
    if plan.method in BY_NETWORK:
        settings |= {"derivatives": plan.method, "network": {"kind": plan.network}}
    settings = used_by(settings, [REGISTERED[engine]])
    problem = made.problem(plan.noise, plan.seed)
    begun = time.perf_counter()
    try:
        solution = solve(problem, engine, rng=plan.seed, settings=settings, progress=watch.on_step)
    except MollifierError as error:
        return Trial("refused", str(error))
    except Exception as error:  # whatever goes wrong in one must not end the run
        return Trial("failed", f"{type(error).__name__}: {error}")
    seconds = time.perf_counter() - begun - watch.spent
    watch.look(seconds, lambda: solution.dataset, always=True)
    step_s, stage = _pace(solution)
    status = solution.status
    return Trial(
        status.name,
        "" if status.ok or status.name == "time limit" else status.message,
        _scores(solution.dataset, made.true_fields),
        _derivatives(solution.dataset, plan, made),
        watch.curve,
        seconds,
        step_s,
        stage,
    )


def _by_peer(plan: Plan, made: Case, recover: Recover) -> Trial:
    """Another program."""
    watch = _Watch(made.true_fields)
    begun = time.perf_counter()
    try:
        fields = recover(
            made, made.observations(plan.noise, plan.seed), plan.seconds, plan.seed, watch.on_fields
        )
    except MollifierError as error:
        return Trial("refused", str(error))
    except Exception as error:  # whatever goes wrong in one must not end the run
        return Trial("failed", f"{type(error).__name__}: {error}")
    seconds = time.perf_counter() - begun - watch.spent
    watch.look(seconds, lambda: fields, always=True)
    return Trial("time limit", "", _scores(fields, made.true_fields), {}, watch.curve, seconds)


def _scores(fields: xr.Dataset, truth: xr.Dataset) -> dict[str, dict[str, float]]:
    return {n: asdict(s) for n, s in score(fields, truth).items()}


def _derivatives(fields: xr.Dataset, plan: Plan, made: Case) -> dict[str, dict[str, float]]:
    """Scores of the derivatives that the solution holds."""
    until = float(fields["t"].max()) if "t" in fields.coords else None
    truth = true_derivatives(PROBLEMS[plan.problem], until)
    found = with_operators(fields, made.fields)
    return _scores(found, truth[[n for n in truth.data_vars if n in found]])


def _pace(solution: Solution) -> tuple[float, str]:
    """Median seconds of a step of the last stage, and its name; NaN for engines that keep no history."""
    history = solution.history
    if not {"stage", "seconds"} <= set(history) or not history.sizes.get("step"):
        return math.nan, ""
    stage = str(history["stage"].values[-1])
    seconds = history["seconds"].values[history["stage"].values == stage]
    return (float(np.median(np.diff(seconds))) if len(seconds) > 1 else math.nan), stage
