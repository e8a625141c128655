"""One verb: solve."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mollifier.engines.choose import choose
from mollifier.engines.complete import complete
from mollifier.engines.start import Origin, digest, origin
from mollifier.engines.weak.engine import solve_weak
from mollifier.errors import ConfigurationError, did_you_mean
from mollifier.io.files import ensure_folder
from mollifier.io.lock import locked
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.settings import Settings, validated
from mollifier.problem.solution import Solution

if TYPE_CHECKING:
    from torch import nn

    from mollifier.engines.collocated.runner import Progress

ENGINES = ("weak", "joint", "network")

STARTS = ("weak", "joint", "auto")
"""What a run may start from by name."""


def solve(
    problem: InverseProblem,
    engine: str = "auto",
    *,
    seed: int = 0,
    settings: Settings | Mapping[str, Any] | None = None,
    progress: Callable[[Progress], None] | None = None,
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
        "weak" (dense data on a grid), "joint" (states and unknowns together, any data), "network", or "auto",
        which takes the one that suits the data and says why in the provenance.
    seed
        The same seed, data and settings give the same numbers on the same machine.
    settings
        `mollifier.problem.settings.Settings`, or a mapping such as ``{"training": {"steps": 100}}``.
    progress
        Called with a `Progress` after every step.
    folder
        Keep a checkpoint there while running; the weak engine, done in seconds, keeps none.
    resume
        Take up the checkpoint in the folder.
    network
        Any module (n, d) -> (n, number of fields), on coordinates scaled to [-1, 1] and fields scaled to a
        standard deviation of one, in place of one of the kind in the settings. A copy is trained, from the
        weights it has; the seed does not draw them anew.
    start
        What the network engine starts from in place of a first guess: a solution of the same problem by any
        engine, or "weak" or "joint", which is run first, or "auto", which runs the one that suits the data.
        The unknowns start at the answer's values, and the states of a joint or network answer at its states;
        ``provenance["started_from"]`` keeps them. A run that is resumed wants the same start, and does not
        start again.

    Raises
    ------
    ConfigurationError
        If the engine or a setting is not known; or if the unknowns or coordinates of the answer to start from
        are not the problem's.
    CheckpointError
        If a run to resume cannot be.
    OutputError
        If the folder cannot be written to, or another run is going on in it.

    Examples
    --------
    >>> import numpy as np, mollifier as mf
    >>> x, t = np.random.default_rng(0).random((2, 300))
    >>> u = np.exp(-0.5 * t) * np.sin(3 * x)
    >>> obs = mf.Observations(values={"u": u}, points={"x": x, "t": t}, noise={"u": 0.01})
    >>> problem = mf.InverseProblem("u_t = D*u_xx", data=obs, unknowns={"D": mf.ScalarUnknown(lower=0.0)})
    >>> small = {"network": {"width": 8, "depth": 2}, "training": {"steps": 20}}
    >>> solution = mf.solve(problem, settings=small)
    >>> abs(solution.estimates["D"].value - 0.5 / 9) < 0.005
    True
    >>> started = mf.solve(problem, "network", settings=small, start=solution)
    >>> started.provenance["started_from"]["numbers"]["D"] == solution.estimates["D"].value
    True
    """
    _check(engine, start, seed, resume, folder)
    chosen = validated(Settings, settings)
    if folder is not None:
        with locked(ensure_folder(folder)) as place:
            return _solve(problem, engine, seed, chosen, progress, place, resume, network, start)
    return _solve(problem, engine, seed, chosen, progress, None, resume, network, start)


def _solve(
    problem: InverseProblem,
    engine: str,
    seed: int,
    chosen: Settings,
    progress: Callable[[Progress], None] | None,
    place: Path | None,
    resume: bool,
    network: nn.Module | None,
    start: Solution | str | None,
) -> Solution:
    """As `solve`, with settings that were checked and a folder that no other run uses."""
    engine, reason = _engine(problem, engine, network, start)
    # torch is loaded for those engines only that compute with it.
    if engine == "weak":
        solution = solve_weak(problem, chosen, seed)
    elif engine == "joint":
        from mollifier.engines.joint.engine import solve_joint

        solution = solve_joint(problem, chosen, seed, progress, place, resume)
    else:
        from mollifier.engines.network.engine import solve_network

        first = None if isinstance(start, str) else start
        if isinstance(start, str) and not resume:
            first = _first(problem, start, chosen, seed, progress)
            if first is not None and first.status.name == "interrupted":
                return first
        begin = None if start is None else _origin(problem, start, first, resume)
        solution = solve_network(problem, chosen, seed, progress, place, resume, network, begin)
    solution = complete(problem, solution)
    if not reason:
        return solution
    return replace(solution, provenance={**solution.provenance, "chosen_because": reason})


def _check(engine: str, start: Any, seed: Any, resume: bool, folder: Any) -> None:
    """Refuse what no engine could be run with."""
    if engine not in ("auto", *ENGINES):
        raise ConfigurationError(f"There is no engine '{engine}'.{did_you_mean(engine, ['auto', *ENGINES])}")
    if isinstance(start, str) and start not in STARTS:
        raise ConfigurationError(
            f"start was given as '{start}'; a solution or one of {', '.join(STARTS)} was wanted."
            f"{did_you_mean(start, STARTS)}"
        )
    if not isinstance(start, str | Solution | None):
        raise ConfigurationError(
            f"start was given as {type(start).__name__}; a solution or one of {', '.join(STARTS)} was wanted."
        )
    if resume and folder is None:
        raise ConfigurationError(
            "resume=True was given without a folder; give the folder of the interrupted run."
        )
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise ConfigurationError(f"seed={seed!r} was given; a whole number of 0 or more was wanted.")


def _engine(
    problem: InverseProblem, engine: str, network: nn.Module | None, start: Solution | str | None
) -> tuple[str, str]:
    """The engine, and why it was taken where it was left open."""
    if engine == "auto" and network is not None:
        return "network", "a network was given"
    if engine == "auto" and start is not None:
        return "network", "an answer to start from was given"
    if network is not None and engine != "network":
        raise ConfigurationError(f"A network was given to engine '{engine}', which has no use for one.")
    if start is not None and engine != "network":
        raise ConfigurationError(
            f"An answer to start from was given to engine '{engine}', which finds a start of its own: leave "
            "start out, or take the network engine."
        )
    return choose(problem) if engine == "auto" else (engine, "")


def _first(
    problem: InverseProblem,
    name: str,
    settings: Settings,
    seed: int,
    progress: Callable[[Progress], None] | None,
) -> Solution | None:
    """The answer of the engine to start from; none where "auto" finds none but the network engine."""
    if name == "auto" and choose(problem)[0] == "network":
        return None
    # The number of steps and the kind of derivative are of the network engine's own run.
    training = settings.training.model_copy(update={"steps": None})
    own = settings.model_copy(update={"training": training, "derivatives": "mollifier"})
    return solve(problem, name, seed=seed, settings=own, progress=progress)


def _origin(problem: InverseProblem, start: Solution | str, first: Solution | None, resume: bool) -> Origin:
    """What the run starts from; of a resumed one, what it is known by."""
    mark = start if isinstance(start, str) else digest(start)
    if resume or first is None:
        return Origin(mark, note={} if resume else {"engine": None, "chosen_because": choose(problem)[1]})
    return origin(problem, first, mark)
