"""One verb: solve."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mollifier.engines.choose import choose
from mollifier.engines.weak import solve_weak
from mollifier.errors import ConfigurationError, did_you_mean
from mollifier.files import ensure_folder
from mollifier.problem import InverseProblem
from mollifier.settings import Settings, validated
from mollifier.solution import Solution

if TYPE_CHECKING:
    from torch import nn

    from mollifier.engines.runner import Progress

ENGINES = ("weak", "joint", "network")


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
        `mollifier.settings.Settings`, or a mapping such as ``{"training": {"steps": 100}}``.
    progress
        Called with a `Progress` after every step.
    folder
        Keep a checkpoint there while running; the weak engine, done in seconds, keeps none.
    resume
        Take up the checkpoint in the folder.
    network
        Any module (n, d) -> (n, number of fields), on coordinates scaled to [-1, 1] and fields scaled to a
        standard deviation of one, in place of the multilayer perceptron. A copy is trained, from the weights
        it has; the seed does not draw them anew.

    Raises
    ------
    ConfigurationError
        If the engine or a setting is not known.
    CheckpointError
        If a run to resume cannot be.
    OutputError
        If the folder cannot be written to.

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
    """
    if engine not in ("auto", *ENGINES):
        raise ConfigurationError(f"There is no engine '{engine}'.{did_you_mean(engine, ['auto', *ENGINES])}")
    chosen = settings if isinstance(settings, Settings) else validated(Settings, settings or {})
    if resume and folder is None:
        raise ConfigurationError(
            "resume=True was given without a folder; give the folder of the interrupted run."
        )
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise ConfigurationError(f"seed={seed!r} was given; a whole number of 0 or more was wanted.")
    place = None if folder is None else ensure_folder(Path(folder))
    reason = ""
    if engine == "auto":
        engine, reason = ("network", "a network was given") if network is not None else choose(problem)
    if network is not None and engine != "network":
        raise ConfigurationError(f"A network was given to engine '{engine}', which has no use for one.")
    # torch is loaded for those engines only that compute with it.
    if engine == "weak":
        solution = solve_weak(problem, chosen, seed)
    elif engine == "joint":
        from mollifier.engines.joint import solve_joint

        solution = solve_joint(problem, chosen, seed, progress, place, resume)
    else:
        from mollifier.engines.network import solve_network

        solution = solve_network(problem, chosen, seed, progress, place, resume, network)
    if not reason:
        return solution
    return replace(solution, provenance={**solution.provenance, "chosen_because": reason})
