"""The main stage of the joint engine: data and equation together, until the equation holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import numpy as np
import scipy.sparse as sp

from mollifier.engines.collocated.block import Block
from mollifier.engines.collocated.calibrate import rescale
from mollifier.engines.collocated.levenberg_marquardt import Changed, Component, LevenbergMarquardt, System
from mollifier.engines.collocated.missing import missing_term
from mollifier.engines.collocated.stages import NonFiniteLossError
from mollifier.engines.joint.bounded import averaged
from mollifier.engines.joint.layout import Layout
from mollifier.engines.joint.roughness import RoughnessUpdates
from mollifier.engines.joint.spline import FieldPriors, raw_values, spread_of
from mollifier.engines.joint.system import Bordered
from mollifier.engines.joint.tuning import JointTuning
from mollifier.engines.joint.volume import integrate_fields
from mollifier.engines.linalg.banded import NotPositiveError
from mollifier.engines.linalg.dense import solved
from mollifier.engines.priors.lattice_prior import keep_local
from mollifier.engines.priors.search import PriorSearch
from mollifier.engines.priors.shapes import Choice
from mollifier.engines.priors.varying import adapted, expect
from mollifier.mollify.arrays import Array

_SETTLED = "a step moves the unknowns by less than a tenth of their standard errors"
_CONTRADICTED = (
    "the fit converged at {:g} of the equation's weight, but the data's misfit is more than the noise level "
    "explains: the equation cannot hold exactly. See whether the noise level, the form of the equation, the "
    "number of nodes and of an unknown field's cells (joint.cells) are right, or give initial values or "
    "bounds for the unknowns"
)


class Joint(LevenbergMarquardt):
    """Levenberg-Marquardt steps over states and unknowns together, until the equation holds exactly.

    The equation's weight is raised whenever the fit has converged at the present weight. At the full weight,
    multipliers of the equation are updated by its residual (augmented Lagrangian): the limit of an exact
    equation is reached without the ill-conditioning of an infinite weight. Between steps, strengths of the
    smoothness priors that were not given are set to those of greatest marginal likelihood. If noise does not
    explain the data's misfit at some weight, whatever the priors, the weight is not raised further.

    Convergence is judged by standard errors, and by ``tolerance``, a relative decrease of the loss, only
    where a step fails.
    """

    name = "joint"
    kept = (
        *LevenbergMarquardt.kept,
        *("allowed", "_steady", "_shaped", "_misfits", "_adapted", "raised"),
    )

    def __init__(self, linearisation: FieldPriors, steps: int, tolerance: float) -> None:
        objective, tuning = linearisation.objective, linearisation.tuning
        super().__init__(objective, steps, tolerance)
        self.tuning: JointTuning = tuning  # pyrefly: ignore[bad-override-mutable-attribute]
        self._linearisation = linearisation
        #: Places of the parameters in the normal equations.
        self.layout = Layout(objective.model, linearisation)
        # At first the equation's residual may be as large as its terms: the data determine the states, even
        # if the first guess of the unknowns is poor.
        self.damping = tuning.first_damping
        self.weight = min(tuning.first_weight, objective.tau**2 / objective.weight)
        #: Unknown fields whose strength of smoothness was not given.
        self.free = [n for n, u in self.model.problem.unknown_fields.items() if u.smoothness is None]
        self._changed, self._predicted = 0.0, np.inf
        #: Whether the data's misfit allows that the weight is raised.
        self.allowed = True
        self._misfits: list[float] = []
        # Shapes of priors are chosen once strengths are steady, and again at the best strengths of the
        # states: before, the solution may still be far off.
        self._steady = self._shaped = False
        self._roughness = RoughnessUpdates()
        self._adapted = False
        #: Log-evidence by which strengths that vary over their fields exceed those that do not.
        self.raised = 0.0
        self._last: list[Component] | None = None
        self._end: Bordered | None = None
        self._freedom: float | None = None

    @property
    def linearisation(self) -> FieldPriors:
        """The sparse matrices, and the priors of unknown fields."""
        assert isinstance(self._linearisation, FieldPriors)
        return self._linearisation

    @property
    def exact(self) -> bool:
        """Whether the equation has its full weight, at which its multipliers make it hold exactly."""
        return self.weight >= self.tuning.full_weight

    def reweigh(self, nodes: list[Array], least_scale: float) -> float:
        """As in `LevenbergMarquardt`; squares of rows that have changed are formed again."""
        moved = super().reweigh(nodes, least_scale)
        if moved:
            self.layout.constant.clear()
        return moved

    def _judge(self, before: float, after: float, predicted: float) -> None:
        tuning, gain = self.tuning, self._predicted
        if before - after > tuning.good_decrease * predicted:
            self.damping = min(self.damping, tuning.first_damping)
        if self._out_of_reach():
            self._finish()
            return
        if not self.exact and not self.allowed:
            self.allowed = self._fits()  # with the present priors, of the states too
        if not self.exact and self.allowed:
            if not self._fits():
                # The misfit may still decrease; the weight is not raised meanwhile.
                self.allowed = gain > tuning.small_step
            elif (
                gain < tuning.settled(self.layout.border_size)
                or before - after < tuning.slow_decrease * before
            ):
                self._raise_weight()
        elif gain < tuning.small_step and self._changed < tuning.steady:
            self._finish()
        elif self.exact:
            self._update_multipliers()

    def _judge_failure(self, loss: float, predicted: float) -> None:
        tuning = self.tuning
        if not self.exact and self.allowed:
            self.damping = tuning.first_damping
            self.allowed = self._fits()
            if self.allowed:
                self._raise_weight()
        elif self._predicted <= max(self.tolerance * loss * self.objective.count, tuning.small_step):
            self._finish()
        elif self.damping < tuning.most_damping:
            self.damping = max(self.damping, tuning.first_damping)
        else:
            self._stall(self._predicted / self.objective.count / loss)

    def _finish(self) -> None:
        if self._adapt() or self._unbias():
            return
        why = self._missing() if self.exact and self._fits() else _CONTRADICTED.format(self.weight)
        self.outcome, self.finished = ("misfit", why) if why else ("converged", _SETTLED)

    def _adapt(self) -> bool:
        """Once, let strengths of Matern priors vary over their fields if that raises the evidence enough.

        Where noise does not explain the misfit, it is only seen by how much the evidence would rise.
        """
        if self._adapted or not self.free:
            return False
        self._adapted, system = True, self.bordered()
        if not system.finite:
            return False
        before = self._search(system)
        search, found, self.raised = adapted(before, system.choices)
        if search is before or self.weight < 1.0 or not self._fits():
            return False
        keep_local(self.linearisation.priors, search.problem.priors)
        self._set_priors(found)
        return True

    def _unbias(self) -> bool:
        """Weaken priors of states that draw a number too far, then integrate over fields; whether one moves.

        Not where fits are compared by evidence: with edges and without, and at values of a number of large
        standard error beside fields (`mollifier.engines.joint.wide`), which needs no weaker priors.
        """
        tuning, edged = self.tuning, any(p.edged for p in self.linearisation.priors.values())
        compared = edged or self.raised >= tuning.priors.edged or np.isinf(tuning.most_pull)
        if compared or not (self.exact and self._fits()):
            return False
        with self._stiff():
            wide, strengths = tuning.wide if self.free else np.inf, self.objective.roughness
            loosened = self._roughness.loosen(self.bordered(), strengths, tuning, wide)
            return loosened or integrate_fields(self)

    def _losses(self, nodes: list[Array]) -> dict[str, float]:
        """As in `LevenbergMarquardt`; the prior's part has what the volume of unknown fields adds."""
        losses, more = super()._losses(nodes), self.linearisation.volume_loss()
        return losses | {part: losses[part] + more for part in ("prior", "loss")}

    def _set_priors(self, found: Mapping[str, Choice]) -> None:
        for n in self.free:
            self.linearisation.priors[n].shape = found[n].shape
            self.objective.set_strength(n, found[n].strength)

    def _missing(self) -> str:
        """Why an equation lacks a term; empty where none does."""
        system, nodes = self._at_end(), self.node_values()
        if not system.finite:
            return ""
        with self._stiff():
            equations = list(self.linearisation.equations(nodes, self.weight, slopes=True))
            return missing_term(self.linearisation, self.weight, equations, system.scored)

    def _raise_weight(self) -> None:
        self._roughness.last.clear()
        self.weight = min(self.weight * self.tuning.weight_factor, self.tuning.full_weight)

    def _fits(self) -> bool:
        """Whether noise explains the data's misfit, or a fit without the equation has as large a misfit."""
        return self.losses()["data"] <= self._most_misfit

    @property
    def _most_misfit(self) -> float:
        problem = self.model.problem
        estimated = any(problem.data.noise_source(f) == "estimated" for f in problem.fields)
        values = 1 + estimated * self.tuning.values_per_degree
        spread = self.tuning.excess_sds * np.sqrt(2 * values / self.objective.count)
        return max(1.0, float(self.objective.attainable)) * (1 + spread)

    def _out_of_reach(self) -> bool:
        """Whether the misfit, falling as in the last steps, stays above what allows to raise the weight."""
        if self.exact or self._fits():
            self._misfits = []
            return False
        self._misfits.append(self.losses()["data"])
        *before, now = self._misfits[-self.tuning.trend_steps - 1 :]
        if len(before) < self.tuning.trend_steps:
            return False
        decrease = (before[0] - now) / self.tuning.trend_steps
        return now - self.tuning.steps_ahead * decrease > self._most_misfit

    def _update_multipliers(self) -> None:
        """Add the equation's residual to its multipliers."""
        lin = self.linearisation
        with np.errstate(all="ignore"):
            left = lin.left(self.node_values())
        lin.shifts = [a + b for a, b in zip(lin.shifts or [0.0] * len(left), left, strict=True)]

    def _system(self, nodes: list[Array]) -> System:
        tuning = self.tuning
        moved = self._roughness.apply(self.objective.roughness, tuning)
        self._changed = np.inf if moved or self.weights_move else 0.0
        if self.free and self.weight >= 1.0:
            rescale(self.objective, self.free)
        self.linearisation.expand()
        try:
            system = Bordered(self.linearisation, self.layout, nodes, self.weight, tuning)
        except NotPositiveError as error:
            raise NonFiniteLossError("a factor of the normal equations") from error
        if self.weight >= 1.0 and system.finite:
            self._roughness.propose(system, tuning)
        # The priors of unknown fields are kept once their volume is in the loss, and at weights below one,
        # unless the weight is not raised due to them.
        free = self.free and not self.linearisation.volume_slopes
        if free and (self.weight >= 1.0 or not self.allowed) and system.finite:
            search = self._search(system)
            # The last search of a run is one of shapes, which looks at strengths far away too.
            shapes = self._steady and not (self._shaped and (moved or self._gain(system) > tuning.small_step))
            found = search.improved(system.choices, shapes, near=self._steady and not shapes)
            self._shaped |= shapes
            change = max(system.choices[n].distance(found[n]) for n in self.free)
            self._changed, self._steady = max(self._changed, change), change < tuning.steady_for_shapes
            system.choices = found
            self._set_priors(found)
            expect(search, found)
        self._predicted = self._gain(system)
        return system

    def _gain(self, system: Bordered) -> float:
        """Decrease of minus twice the log-likelihood by an undamped step; a short step's is always small."""
        return -float(system.gradient @ system.solve(0.0)) * self.objective.count if system.finite else np.inf

    @contextmanager
    def _stiff(self) -> Iterator[None]:
        """With hidden states, which the equation alone determines, a greater weight of it at equal forces.

        It is what they need of the limit of an exact equation.
        """
        lin, weight = self.linearisation, self.weight
        shifts, factor = lin.shifts, self.tuning.hidden_weight if self.model.problem.hidden else 1.0
        self.weight, lin.shifts = weight * factor, None if shifts is None else [s / factor for s in shifts]
        try:
            yield
        finally:
            self.weight, lin.shifts = weight, shifts

    def close(self) -> None:
        """Store the posterior of the unknowns."""
        system = self._at_end()
        self._last, self._freedom = [*self._components(system)], system.freedom

    def _at_end(self) -> Bordered:
        """The normal equations at the end of the stage, for standard errors and tests; formed once."""
        if self._end is None:
            self.linearisation.expand()
            with self._stiff():
                self._end = self.bordered()
        return self._end

    def freedom(self) -> float | None:
        """As in `LevenbergMarquardt`, at the end of the stage."""
        return self._freedom

    def hidden(self) -> dict[str, Array]:
        """Hidden state -> standard errors on its grid; wider where the misfit exceeds the noise."""
        hidden = set(self.model.problem.hidden) - set(self.model.gauges)
        wider = np.sqrt(max(1.0, self.losses()["data"]))
        sd = {s.name: self._at_end().state_sd(s) for s in self.objective.states if s.name in hidden}
        return {n: v * wider for n, v in sd.items() if v is not None}

    def profile(self, held: Mapping[str, float]) -> float:
        """Increase of minus twice the log-likelihood with numbers held at values, the rest refitted."""
        start = self.parameters()
        with self._stiff():
            self.linearisation.shifts = None
            best = self._refitted(*held) if self.model.problem.hidden else self.losses()["loss"]
            try:
                for name, value in held.items():
                    self.model.scalars[name].assign(value)
                return (self._refitted(*held) - best) * self.objective.count
            finally:
                self.set_parameters(start)

    def _refitted(self, *names: str) -> float:
        """The least loss in some steps that hold numbers."""
        least = np.inf
        for _ in range(self.tuning.profile_steps):
            system = self.bordered()
            if not system.finite:
                break
            self.set_parameters(self.parameters() + system.holding(*names))
            del system  # Memory holds one: the next is formed in its place.
            least = min(least, self.losses()["loss"])
        return least

    def marginal(self) -> tuple[list[Component], dict[str, slice]]:
        """The posterior of the unknowns, states eliminated, as a mixture over priors; columns by unknown."""
        components = [*self._components(self.bordered())] if self._last is None else self._last
        return components, self.layout.unknowns

    def moved_by(self, changed: Changed) -> Array:
        """As in `LevenbergMarquardt`, the states eliminated."""
        with self._stiff():
            return self._at_end().moved_by(changed)

    def _corrected(self, after: dict[str, float]) -> dict[str, float]:
        """States follow the unknowns: products of both leave a residual of second order in the step."""
        return self.losses() if np.isfinite(after["loss"]) and self.follow() else after

    def follow(self) -> bool:
        """Take a step of the states with the unknowns held; whether there is one."""
        try:
            system = self.bordered()
        except NotPositiveError:
            return False
        if system.finite:
            self.set_parameters(self.parameters() + system.holding(*self.model.problem.unknowns))
        return system.finite

    def losses(self) -> dict[str, float]:
        """The parts of the loss at the present parameters."""
        return self._losses(self.node_values())

    def bordered(self) -> Bordered:
        """The normal equations at the present parameters."""
        return Bordered(self.linearisation, self.layout, self.node_values(), self.weight, self.tuning)

    def _search(self, system: Bordered) -> PriorSearch:
        """The search for the priors that were not given."""
        return PriorSearch(system.linear, self.free, self.tuning.priors)

    def _components(self, system: Bordered) -> Iterator[Component]:
        """The unknowns' distribution, averaged over the priors that were not given.

        It is wider where the data's residuals exceed their noise.
        """
        wider = np.sqrt(np.maximum(1.0, system.dispersion()))
        mixture = self._search(system).mixture(system.choices)
        curved = averaged(system, mixture)
        for weight, choices in mixture:
            precision, slope = curved.with_priors(choices)[0], system.linear.with_priors(choices)[1]
            shift = -solved(precision, slope) if self.free else np.zeros(len(slope))
            yield Component(precision / np.outer(wider, wider), shift, weight)

    def raw(self, block: Block) -> tuple[Array, sp.csr_array]:
        """An unknown field before its bijection at its nodes, (nodes,), and slopes, (nodes, coefficients)."""
        return raw_values(block)[:, 0].numpy(), spread_of(block)

    def unresolved(self, name: str, raw: Array) -> Array:
        """By the place of its edges."""
        return self.linearisation.place_sd(name)

    def state_dict(self) -> dict[str, Any]:
        """Damping, weight, multipliers of the equations, and priors with the history of their updates."""
        return super().state_dict() | {"roughness": asdict(self._roughness)} | self.linearisation.chosen()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a saved state."""
        super().load_state_dict(state)
        self._roughness = RoughnessUpdates(**state["roughness"])
        self.linearisation.choose(state)
        self.linearisation.expand()
