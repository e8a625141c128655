"""One verb: solve."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mollifier.engines.base import Request
from mollifier.engines.choose import choose, unable
from mollifier.engines.complete import complete, recorded
from mollifier.engines.growing_noise import CHANGE, ROUNDS, Growth, growing, weighed
from mollifier.engines.registry import ENGINES, solves_states, starters, that_take
from mollifier.engines.settings import Given, check_settings, runners, settings_for, used_by
from mollifier.engines.start import Origin, digest, origin
from mollifier.errors import ConfigurationError
from mollifier.io.arguments import typed
from mollifier.io.draws import Rng, seed_of
from mollifier.io.executors import one_blas_thread
from mollifier.io.lock import locked
from mollifier.io.signals import end_if_terminated
from mollifier.problem.finite import check_finite
from mollifier.problem.inverse_problem import InverseProblem, require_problem
from mollifier.problem.solution import Solution

if TYPE_CHECKING:
    from torch import nn

    from mollifier.engines.progress import Progress

Follow = Callable[["Progress"], None]

_LOG = logging.getLogger(__name__)


@typed("problem", "engine", "rng", "settings", "start")
def solve(
    problem: InverseProblem,
    engine: str = "auto",
    *,
    rng: Rng = 0,
    settings: Given = None,
    progress: Follow | None = None,
    folder: Path | str | None = None,
    resume: bool = False,
    network: nn.Module | None = None,
    start: Solution | str | None = None,
) -> Solution:
    """Find the unknowns of a problem.

    Parameters
    ----------
    problem
        The question.
    engine
        "weak" (dense data on a grid), "joint" (states and unknowns together, any data), "network", an engine
        that a plugin registers, or "auto", which takes the first that suits the problem and gives the reason
        in ``provenance["chosen_because"]``.
    rng
        A seed, a `numpy.random.Generator`, or None for a fresh seed, which ``provenance`` keeps. The same
        seed, data and settings give the same numbers on the same machine.
    settings
        A mapping such as ``{"training": {"steps": 100}}``, or an instance of the engine's settings model.
        An engine refuses settings that it does not use; docs/reference/problem-files.md lists them all.
    progress
        Called with a `Progress` after every step.
    folder
        Keep a checkpoint there while running; the weak engine, done in seconds, keeps none.
    resume
        Resume from the checkpoint in the folder.
    network
        Any module (n, d) -> (n, number of fields), on coordinates scaled to [-1, 1] and fields scaled to a
        standard deviation of one, in place of one of the kind in the settings. A copy is trained, from the
        weights it has; the seed does not draw them anew.
    start
        What the network engine starts from in place of a first guess: a solution of the same problem by any
        engine, or "weak" or "joint", which is run first, or "auto", which runs the one that suits the data.
        The engine that runs first is given the part of the settings that it uses, without
        ``training.steps``. The unknowns start at the answer's values, and the states of a joint or network
        answer at its states; ``provenance["started_from"]`` keeps them. A run that is resumed needs the same
        start, and does not start again.

    Raises
    ------
    ConfigurationError
        If the engine or a setting is not known; if the engine does not use a setting, ``resume``, ``network``
        or ``start``; or if the unknowns or coordinates of the answer to start from are not the problem's.
    CheckpointError
        If a run to resume cannot be.
    EquationError
        If a coefficient is not finite where the data are, as 1/r at r = 0.
    OutputError
        If the folder cannot be written to, or another run uses it.
    SystemExit
        If SIGTERM ended an earlier solve of this process, which returned what it had found.

    Examples
    --------
    >>> import numpy as np, mollifier as mf
    >>> x, t = np.random.default_rng(0).random((2, 300))
    >>> u = np.exp(-0.5 * t) * np.sin(3 * x)
    >>> obs = mf.Observations(values={"u": u}, points={"x": x, "t": t}, noise={"u": 0.01})
    >>> problem = mf.InverseProblem("u_t = D*u_xx", data=obs, unknowns={"D": mf.ScalarUnknown(lower=0.0)})
    >>> solution = mf.solve(problem)
    >>> abs(solution.estimates["D"].value - 0.5 / 9) < 0.005
    True
    >>> small = {"network": {"width": 8, "depth": 2}, "training": {"warmup_steps": 100, "steps": 5}}
    >>> started = mf.solve(problem, "network", settings=small, start=solution)
    >>> started.provenance["started_from"]["numbers"]["D"] == solution.estimates["D"].value
    True
    """
    end_if_terminated()
    require_problem(problem, "solve")
    seed = seed_of(rng)
    if not isinstance(start, str | Solution | None):
        raise ConfigurationError(
            f"start was given as {type(start).__name__}; a solution or one of {', '.join(starters())} was "
            "expected."
        )
    asked = runners(engine, start if isinstance(start, str) else None)
    if resume and folder is None:
        raise ConfigurationError(
            "resume=True was given without a folder; give the folder of the interrupted run."
        )
    name, why = _chosen(problem, engine, {"resume": resume, "network": network, "start": start})
    if reason := unable(problem, name):
        raise ConfigurationError(f"{reason[0].upper()}{reason[1:]}. Take one of these, or 'auto'.")
    if isinstance(start, str):
        settings = check_settings(settings, asked)
        own: Given = used_by(settings, [ENGINES[name]])
    else:
        own = settings
    request = Request(problem, settings_for(ENGINES[name], own, why), seed, progress, None, resume, network)
    if folder is None:
        return _solve(name, request, settings, start, why)
    with locked(folder) as place:
        return _solve(name, replace(request, folder=place), settings, start, why)


@one_blas_thread()
def _solve(name: str, request: Request, settings: Given, start: Solution | str | None, why: str) -> Solution:
    """As `solve`, with arguments that were checked and a folder that no other run uses."""
    problem = request.problem
    training = getattr(request.settings, "training", None)
    if getattr(training, "likelihood", "normal") != "normal":
        problem = replace(problem, data=problem.data.mask_outliers())
        request = replace(request, problem=problem)
    check_finite(problem)
    _LOG.info("engine '%s'%s", name, f": {why}" if why else "")
    request = replace(request, progress=_logged(request.progress))
    if start is not None:
        first = None if isinstance(start, str) else start
        if isinstance(start, str) and not request.resume:
            first = _first(request, start, settings)
            if first is not None and first.status.name == "interrupted":
                return first
        request = replace(request, start=_origin(problem, start, first, request.resume))
    begun = time.monotonic()
    found, request = _run(name, request)
    solution = complete(request.problem, recorded(name, request, found, time.monotonic() - begun))
    for note in (solution.status, *solution.provenance.get("units", ())):
        _LOG.info("engine '%s': %s", name, note)
    if not why:
        return solution
    return replace(solution, provenance={**solution.provenance, "chosen_because": why})


def _run(name: str, request: Request) -> tuple[Solution, Request]:
    """The answer, and what was asked for it: again where the noise turns out to grow with the value."""
    engine, known = ENGINES[name], dict[str, Growth]()
    found = engine.solve(request)
    for _ in range(ROUNDS if engine.solves_states else 0):
        grows = growing(request.problem, found)
        if all(g.near(known.get(f), CHANGE) for f, g in grows.items()):
            break
        known |= grows
        problem = weighed(request.problem, found, grows)
        request = replace(request, problem=problem, resume=False, folder=None)
        found = engine.solve(request)
    noted = {f: vars(g) for f, g in known.items()}
    return replace(
        found, provenance={**found.provenance, "growing_noise": noted}
    ) if noted else found, request


def _logged(progress: Follow | None) -> Follow | None:
    """The callback, with a line in the log for each step where somebody reads these."""
    if not _LOG.isEnabledFor(logging.DEBUG):
        return progress

    def follow(event: Progress) -> None:
        loss = event.losses.get("loss", math.nan)
        _LOG.debug(
            "%s, %s: step %d of %d, loss %.5g", event.engine, event.stage, event.step, event.steps, loss
        )
        if progress is not None:
            progress(event)

    return follow


def _chosen(problem: InverseProblem, engine: str, given: Mapping[str, Any]) -> tuple[str, str]:
    """The engine, and why "auto" chose it."""
    used = [what for what, value in given.items() if value not in (None, False)]
    name, why = engine, ""
    if engine == "auto":
        for what, reason in (
            ("network", "a network was given"),
            ("start", "an answer to start from was given"),
        ):
            if what in used:
                return that_take(what)[0], reason
        name, why = choose(problem)
    for what in used:
        if what not in ENGINES[name].takes:
            chosen = f" (chosen because {why})" if why else ""
            raise ConfigurationError(
                f"'{what}' was given to engine '{name}'{chosen}, which does not use it; engines that do: "
                f"{', '.join(that_take(what))}."
            )
    return name, why


def _first(request: Request, start: str, settings: Given) -> Solution | None:
    """The answer of the engine to start from; none where "auto" finds none but one that takes a start."""
    name = choose(request.problem)[0] if start == "auto" else start
    if "start" in ENGINES[name].takes:
        return None
    own = used_by(settings, [ENGINES[name]])
    if "training" in own:  # the number of steps is that of the run that starts from the answer
        own["training"] = {n: v for n, v in own["training"].items() if n != "steps"}
    return solve(request.problem, start, rng=request.seed, settings=own, progress=request.progress)


def _origin(problem: InverseProblem, start: Solution | str, first: Solution | None, resume: bool) -> Origin:
    """What the run starts from; of a resumed one, what it is identified by."""
    mark = start if isinstance(start, str) else digest(start)
    if resume or first is None:
        return Origin(mark, note={} if resume else {"engine": None, "chosen_because": choose(problem)[1]})
    return origin(problem, first, mark, solves_states(first))
