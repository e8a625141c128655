"""The joint engine: states and unknowns together, as values at the kernel's nodes, without networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import binary_erosion

from mollifier.data.observations import Observations
from mollifier.engines.base import Request
from mollifier.engines.collocated.checkpoint import kept
from mollifier.engines.collocated.model import Model
from mollifier.engines.collocated.objective import Objective
from mollifier.engines.collocated.solve import check_priors, prepare, run_stages
from mollifier.engines.collocated.stages import Stage
from mollifier.engines.joint.direction import along_direction, wide_field
from mollifier.engines.joint.edges import (
    Continued,
    edged_fields,
    log_evidence,
    read_levels,
)
from mollifier.engines.joint.hidden import HiddenStart
from mollifier.engines.joint.layout import Layout
from mollifier.engines.joint.levels import LevelSearch
from mollifier.engines.joint.settings import JointSettings
from mollifier.engines.joint.smoothing import Smoothing
from mollifier.engines.joint.spline import FieldPriors, values_maker
from mollifier.engines.joint.stages import Joint
from mollifier.engines.joint.tuning import JointTuning
from mollifier.engines.joint.wide import over_values, wide_number
from mollifier.engines.priors.field_prior import EDGES
from mollifier.errors import CheckpointError, ConfigurationError, check_known
from mollifier.mollify.kernels import kernel_for
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.labels import labels
from mollifier.problem.solution import Solution
from mollifier.problem.status import SETTLED, Status

_PRIORS = ("auto", "h1", "h2", "tv")
_ANSWERED = ("converged", "misfit", "step limit")


def solve_joint(request: Request) -> Solution:
    """Solve for states and unknowns together, until the equation holds exactly to discretisation.

    A smoothing spline is fitted to the data first. Levenberg-Marquardt steps follow, over the states' values
    at the kernel's nodes, the coefficients of unknown fields, which are splines with ``settings.joint.cells``
    cells, and the unknown numbers. Strengths of smoothness priors that were not given are chosen by the
    marginal likelihood. If the estimated states turn out too steep for the automatically chosen nodes, the
    problem is solved again with more nodes. If the evidence is for an unknown field with edges, it is solved
    again from there by a prior for edges, on more cells, and the answer of greater evidence is returned. The
    prior ``tv`` starts from a smooth answer, too. A number beside unknown fields whose standard error exceeds
    ``settings.tuning.wide`` of it has the mean and standard deviation of its posterior, by further solves.

    The seed is that of the random choice of held-out samples. Raises `ConfigurationError` if ``joint.cells``
    names something else than a coordinate, or the problem is too large for memory.

    >>> import mollifier as mf
    >>> x, t = np.random.default_rng(0).random((2, 300))
    >>> u = np.exp(-0.5 * t) * np.sin(3 * x)
    >>> obs = mf.Observations(values={"u": u}, points={"x": x, "t": t}, noise={"u": 0.01})
    >>> problem = mf.InverseProblem("u_t = D*u_xx", data=obs, unknowns={"D": mf.ScalarUnknown(lower=0.0)})
    >>> solution = solve_joint(Request(problem, JointSettings()))
    >>> solution.status.name, abs(solution.estimates["D"].value - 0.5 / 9) < 1e-4
    ('converged', True)
    """
    problem, settings = request.problem, limited(request.problem, request.settings)
    passes = _Passes(replace(request, settings=settings))
    given = [n for n in problem.may_have_edges("tv") if problem.unknown_fields[n].smoothness is None]
    smooth = dict.fromkeys(given, "auto")
    found, joint = passes.run(passes.request, smooth)
    finer = _finer(problem, settings, found)
    if finer is not None:
        with suppress(ConfigurationError):  # so many nodes are too many
            found, joint = passes.again(finer, "finer", smooth)
            settings = finer
    if found.status.name not in SETTLED:
        return found
    answer = _edged(passes, settings, found, joint, given)
    if answer is not found:
        return answer
    if number := wide_number(found, joint):
        request = replace(passes.request, settings=settings)
        return over_values(request, number, found, lambda r: passes.run(r, smooth))
    field = wide_field(found, joint)
    return along_direction(found, joint, field) if field else found


def _edged(
    passes: _Passes, settings: JointSettings, found: Solution, joint: Joint, given: Sequence[str]
) -> Solution:
    """The answer with priors for edges, for the fields ``given`` them and where the evidence is for them."""
    seen = edged_fields(joint)
    kinds = dict.fromkeys(given, "tv") | dict.fromkeys(seen, EDGES)
    if not kinds:
        return found
    why = f"the evidence is for edges in {', '.join(seen)}"
    denser = _denser(passes.request.problem, settings, found)
    try:
        edged, second = passes.again(denser, "edges", kinds, joint)
    except ConfigurationError as error:  # so many cells are too many
        if given:
            raise
        why += f", which smooth priors blur, and a prior for edges does not fit: {error}"
        return replace(found, status=Status("misfit", why))
    if joint.exact and not joint.layout.states.size:
        better = edged.status.name in SETTLED and log_evidence(second) > log_evidence(joint)
    else:  # the smooth fit contradicts the equation, or the evidence of some states' nodes is in it
        better = edged.status.ok
    if not (given or better or edged.status.name == "interrupted"):
        return found
    if better and seen:
        edged = replace(edged, status=edged.status.noting(f"{why}, whose prior is one for edges"))
    return read_levels(edged, second, [*kinds]) if edged.status.name in SETTLED else edged


@dataclass(frozen=True)
class _Passes:
    """Solves of one problem, one after another, each with checkpoints in a folder of its own."""

    request: Request  #: The first one.

    def run(
        self, request: Request, kinds: Mapping[str, str], before: Joint | None = None
    ) -> tuple[Solution, Joint]:
        """The solution and its last stage; ``kinds`` and ``before`` are those of `stages_of`."""
        made: list[Stage] = []

        def start() -> tuple[Objective, Sequence[Stage], Observations | None]:
            objective, stages, held = stages_of(
                request.problem, request.settings, request.seed, kinds, before
            )
            made.extend(stages)
            return objective, stages, held

        notes = {} if before is None else {"priors": dict(kinds)}
        found = run_stages("joint", start, request, {"engine": "joint", "priors": dict(kinds)}, notes)
        last = made[-1]
        assert isinstance(last, Joint)
        return found, last

    def again(
        self, settings: JointSettings, name: str, kinds: Mapping[str, str], before: Joint | None = None
    ) -> tuple[Solution, Joint]:
        """The same with other settings, in the folder ``name`` within that of the first."""
        folder = self.request.folder and self.request.folder / name
        request = replace(self.request, settings=settings, folder=folder, resume=False)
        if self.request.resume and folder is not None and kept(folder):
            # A checkpoint of an earlier run in the same folder is of another problem: it raises.
            with suppress(CheckpointError):
                return self.run(replace(request, resume=True), kinds, before)
        return self.run(request, kinds, before)


def stages_of(
    problem: InverseProblem,
    settings: JointSettings,
    seed: int = 0,
    kinds: Mapping[str, str] | None = None,
    before: Joint | None = None,
) -> tuple[Objective, Sequence[Stage], Observations | None]:
    """The objective of a solve, its stages, the last of which is `Joint`, and the held-out samples.

    ``kinds`` of priors take the place of those of the problem, and ``before``, the last stage of an earlier
    fit, is started from. Raises `ConfigurationError` as `solve_joint` does.
    """
    tuning, training = settings.tuning, settings.training
    kinds = {n: u.prior for n, u in problem.unknown_fields.items()} | dict(kinds or {})
    edged = [n for n, kind in kinds.items() if kind in ("tv", EDGES)]
    make = values_maker(_checked(problem, settings), tuning, edged)
    objective, held = prepare(problem, settings, seed, make, free_values=True)
    check_size(objective.model, tuning)
    linearisation = FieldPriors(objective, kinds)
    steps = tuning.most_steps if training.steps is None else training.steps
    joint, smoothing = Joint(linearisation, steps, training.tolerance), Smoothing(linearisation)
    if before is not None:
        return objective, [smoothing, Continued(joint, before), joint], held
    hidden = HiddenStart(linearisation)
    levels = [LevelSearch(joint)] if problem.system.conditions else []
    return objective, [smoothing, hidden, *levels, joint], held


def _finer(problem: InverseProblem, settings: JointSettings, found: Solution) -> JointSettings | None:
    """Settings with more nodes along coordinates where the states are too steep for the nodes.

    None if the nodes suffice or were given, or the data are damaged, or with three coordinates or more, where
    more cost too much.
    """
    chosen, tuning = settings.collocation, settings.tuning
    if (
        problem.data.damage
        or len(problem.coordinates) > 2
        or found.status.name not in _ANSWERED
        or chosen.radius != "auto"
    ):
        return None
    nodes = {c: found.dataset.sizes[c] for c in problem.coordinates}
    needed = dict(nodes)
    for f in problem.all_states:
        state = found.dataset[f]  # NaN outside the region but for the nodes next to it, where it is free
        state = state.where(binary_erosion(state.notnull(), np.ones([3] * state.ndim), border_value=1))
        for c in (str(d) for d in state.dims if d not in labels(problem)):
            # By differences of neighbours: a mollified derivative smooths a step of one or two cells.
            most, extent = float(np.abs(state.diff(c)).max()), float(state.max() - state.min())
            steps = nodes[c] * most / max(extent, 1e-300)
            enough = tuning.nodes_per_step * steps
            if c not in (chosen.nodes or {}) and enough > tuning.coarse_factor * nodes[c]:
                needed[c] = max(needed[c], int(np.ceil(enough)) + 1)
    if needed == nodes or np.prod([float(n) for n in needed.values()]) > chosen.max_nodes:
        return None
    return settings.model_copy(update={"collocation": chosen.model_copy(update={"nodes": needed})})


def _denser(problem: InverseProblem, settings: JointSettings, found: Solution) -> JointSettings:
    """Settings with half the distance of nodes that were chosen automatically: states bend at edges."""
    chosen, given = settings.collocation, settings.collocation.nodes or {}
    if chosen.radius != "auto":
        return settings
    sizes = {
        c: n if c in given else 2 * n - 1 for c, n in found.dataset.sizes.items() if c in problem.coordinates
    }
    if np.prod([float(n) for n in sizes.values()]) > chosen.max_nodes:
        return settings
    return settings.model_copy(update={"collocation": chosen.model_copy(update={"nodes": sizes})})


def _checked(problem: InverseProblem, settings: JointSettings) -> dict[str, int]:
    """Cells of the unknown fields' splines by coordinate, where they were given."""
    check_priors(problem, "joint", _PRIORS)
    given = settings.joint.cells
    if given is None:
        return {}
    if isinstance(given, int):
        return dict.fromkeys(problem.coordinates, given)
    message = "joint.cells names '{}', not a coordinate."
    check_known(given, problem.coordinates, ConfigurationError, message)
    return given


def limited(problem: InverseProblem, settings: JointSettings) -> JointSettings:
    """Settings with a limit on automatically chosen nodes at which the factor fits into memory.

    With three coordinates or more it is lower, because of the time. A square grid has the widest band.
    """
    chosen, tuning = settings.collocation, settings.tuning
    if "max_nodes" in chosen.model_fields_set:
        return settings
    count, states = len(problem.coordinates), len(problem.all_states)
    cells = kernel_for(chosen.kernel, problem.system.order, chosen.degree)[1]
    held = (tuning.most_numbers / (2 * cells * states**2)) ** (count / (2 * count - 1))
    most = min(chosen.max_nodes, int(held), tuning.nodes_in_space if count > 2 else chosen.max_nodes)
    return settings.model_copy(update={"collocation": chosen.model_copy(update={"max_nodes": most})})


def check_size(model: Model, tuning: JointTuning) -> None:
    """Check that the factors fit into memory, before any is formed.

    The limit is ``tuning.most_numbers``. Raises `ConfigurationError` if they do not: the message gives node
    counts that do, or asks for fewer cells.
    """
    limit = tuning.most_numbers
    layout = Layout(model)
    block = model.blocks[layout.core]
    shape = block.mollified.lattice.shape
    reach = int(np.ceil(2 * max(model.collocation.radius.cells.values())))
    width = reach * layout.core_size / max(shape)
    held, between = layout.core_size * min(width, layout.core_size), layout.core_size * layout.border_size
    if held > limit:
        grid = model.collocation.grid
        nodes = dict(zip(grid.names, grid.shape, strict=True))
        share = (limit / held) ** (1 / (2 * len(shape) - 1))
        fewer = {n: max(4, int(size * share * 0.95)) for n, size in nodes.items()}
        raise ConfigurationError(
            f"The joint engine would hold {held:.2g} numbers for the nodes {nodes}, more than "
            f"{limit:.2g}. Give fewer, as in collocation.nodes={fewer}, or take the network engine."
        )
    if between > limit:
        raise ConfigurationError(
            f"The joint engine would hold {between:.2g} numbers between {layout.core_size} values of the "
            f"states and {layout.border_size} of the unknowns, more than {limit:.2g}. Give fewer "
            "joint.cells or collocation.nodes, or let the unknown fields vary over fewer coordinates."
        )
