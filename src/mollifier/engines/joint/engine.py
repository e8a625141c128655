"""The joint engine: states and unknowns together, as values at the kernel's nodes, without networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from mollifier.data.observations import Observations
from mollifier.engines.base import Request
from mollifier.engines.collocated.checkpoint import kept
from mollifier.engines.collocated.model import Model
from mollifier.engines.collocated.objective import Objective
from mollifier.engines.collocated.runner import Progress
from mollifier.engines.collocated.solve import check_priors, prepare, run_stages
from mollifier.engines.collocated.stages import Stage
from mollifier.engines.joint.layout import Layout
from mollifier.engines.joint.settings import JointSettings
from mollifier.engines.joint.spline import FieldPriors, values_maker
from mollifier.engines.joint.stages import Joint, Smoothing
from mollifier.errors import CheckpointError, ConfigurationError, did_you_mean
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.solution import Solution

_STEPS = 100
# Priors of unknown fields that are quadratic.
_PRIORS = ("auto", "h1", "h2")
# Most nodes that are chosen by themselves with three coordinates or more: factors grow with their power 7/3.
_NODES_IN_SPACE = 2_500
# Nodes over the length in which a state at its steepest crosses its range; fewer by this factor are too few.
_NODES_PER_STEP, _COARSE = 3.0, 1.25
_ANSWERED = ("converged", "misfit", "step limit")
# Most numbers in the banded factor, and between states and unknowns.
MOST_NUMBERS = 80_000_000


def solve_joint(
    problem: InverseProblem,
    settings: JointSettings,
    seed: int = 0,
    progress: Callable[[Progress], None] | None = None,
    folder: Path | None = None,
    resume: bool = False,
) -> Solution:
    """Solve for states and unknowns together, until the equation holds exactly to discretisation.

    A smoothing spline of the data starts it; then Levenberg-Marquardt steps over the values at the kernel's
    nodes, unknown fields as splines of ``settings.joint.cells`` cells, with the strengths of the smoothness
    priors of states and fields from the data unless given. Where the states come out steeper than the data
    let see, and nodes were left open, all is done again with more of them.

    Parameters
    ----------
    problem, settings
        The question, and the choices of the run; of ``training``, ``steps``, ``time_limit``, ``noise_floor``
        and ``checkpoint_every`` count.
    seed
        Fixes the held-out samples.
    progress
        Called after every step.
    folder
        Where a checkpoint is kept; none by default.
    resume
        Take up the checkpoint in the folder.

    Raises
    ------
    ConfigurationError
        If a setting names no coordinate, a prior is that of the total
        variation, or the problem is too large.

    Examples
    --------
    >>> import mollifier as mf
    >>> x, t = np.random.default_rng(0).random((2, 300))
    >>> u = np.exp(-0.5 * t) * np.sin(3 * x)
    >>> obs = mf.Observations(values={"u": u}, points={"x": x, "t": t}, noise={"u": 0.01})
    >>> problem = mf.InverseProblem("u_t = D*u_xx", data=obs, unknowns={"D": mf.ScalarUnknown(lower=0.0)})
    >>> solution = solve_joint(problem, JointSettings())
    >>> solution.status.name, abs(solution.estimates["D"].value - 0.5 / 9) < 1e-4
    ('converged', True)
    """
    cells = _checked(problem, settings)
    steps = _STEPS if settings.training.steps is None else settings.training.steps

    def run(chosen: JointSettings, folder: Path | None, resume: bool) -> Solution:
        def start() -> tuple[Objective, Sequence[Stage], Observations | None]:
            objective, held = prepare(problem, chosen, seed, values_maker(cells))
            check_size(objective.model)
            linearisation = FieldPriors(objective)
            joint = Joint(objective, steps, chosen.training.tolerance, linearisation)
            return objective, [Smoothing(objective, linearisation), joint], held

        marks = {"engine": "joint"}
        return run_stages("joint", start, Request(problem, chosen, seed, progress, folder, resume), marks)

    limited = _limited(problem, settings)
    found = run(limited, folder, resume)
    finer = _finer(problem, limited, found)
    if finer is None:
        return found
    again = None if folder is None else folder / "finer"
    try:
        if resume and again is not None and kept(again):
            # What an earlier run of the folder left there is not this run's.
            with suppress(CheckpointError):
                return run(finer, again, True)
        return run(finer, again, False)
    except ConfigurationError:  # so many nodes are too many
        return found


def _finer(problem: InverseProblem, settings: JointSettings, found: Solution) -> JointSettings | None:
    """More nodes where the states found are steeper than the data let see before; None if there are enough.

    With three coordinates or more there is no room for them.
    """
    chosen = settings.collocation
    if len(problem.coordinates) > 2 or found.status.name not in _ANSWERED or chosen.radius != "auto":
        return None
    nodes = {c: found.dataset.sizes[c] for c in problem.coordinates}
    wanted = dict(nodes)
    for f in problem.fields:
        state = found.dataset[f]
        for c in map(str, state.dims):
            # Between neighbours: a derivative would see less of a step of a cell or two.
            most, extent = float(np.abs(state.diff(c)).max()), float(np.ptp(state.values))
            steps = nodes[c] * most / max(extent, 1e-300)
            if c not in (chosen.nodes or {}) and _NODES_PER_STEP * steps > _COARSE * nodes[c]:
                wanted[c] = max(wanted[c], int(np.ceil(_NODES_PER_STEP * steps)) + 1)
    if wanted == nodes or np.prod([float(n) for n in wanted.values()]) > chosen.max_nodes:
        return None
    return settings.model_copy(update={"collocation": chosen.model_copy(update={"nodes": wanted})})


def _checked(problem: InverseProblem, settings: JointSettings) -> dict[str, int]:
    """Cells of the unknown fields' splines by coordinate, as far as given."""
    check_priors(problem, "joint", _PRIORS)
    given = settings.joint.cells
    if given is None:
        return {}
    if isinstance(given, int):
        return dict.fromkeys(problem.coordinates, given)
    for name in given:
        if name not in problem.coordinates:
            hint = did_you_mean(name, problem.coordinates)
            raise ConfigurationError(f"joint.cells names '{name}', not a coordinate.{hint}")
    return given


def _limited(problem: InverseProblem, settings: JointSettings) -> JointSettings:
    """Fewer nodes by default with three coordinates or more."""
    if len(problem.coordinates) < 3 or "max_nodes" in settings.collocation.model_fields_set:
        return settings
    most = min(settings.collocation.max_nodes, _NODES_IN_SPACE)
    collocation = settings.collocation.model_copy(update={"max_nodes": most})
    return settings.model_copy(update={"collocation": collocation})


def check_size(model: Model) -> None:
    """Refuse what cannot be held, before it is formed.

    Raises
    ------
    ConfigurationError
        With node counts, or cells of the unknown fields, that can.
    """
    layout = Layout(model)
    block = model.blocks[layout.core]
    shape = block.mollified.layer.nodes.shape
    reach = int(np.ceil(2 * max(model.collocation.radius.cells.values())))
    width = reach * layout.core_size / max(shape)
    held, between = layout.core_size * min(width, layout.core_size), layout.core_size * layout.border_size
    if held > MOST_NUMBERS:
        grid = model.collocation.grid
        nodes = dict(zip(grid.names, grid.shape, strict=True))
        share = (MOST_NUMBERS / held) ** (1 / (2 * len(shape) - 1))
        fewer = {n: max(4, int(size * share * 0.95)) for n, size in nodes.items()}
        raise ConfigurationError(
            f"The joint engine would hold {held:.2g} numbers for the nodes {nodes}, more than "
            f"{MOST_NUMBERS:.2g}. Give fewer, as in collocation.nodes={fewer}, or take the network engine."
        )
    if between > MOST_NUMBERS:
        raise ConfigurationError(
            f"The joint engine would hold {between:.2g} numbers between {layout.core_size} values of the "
            f"states and {layout.border_size} of the unknowns, more than {MOST_NUMBERS:.2g}. Give fewer "
            "joint.cells or collocation.nodes, or let the unknown fields vary over fewer coordinates."
        )
