"""The stages of the joint engine: the data alone, then data and equation until the equation holds."""

from __future__ import annotations

from dataclasses import astuple
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor

from mollifier.engines.collocated.block import Block
from mollifier.engines.collocated.calibrate import calibrate
from mollifier.engines.collocated.levenberg_marquardt import Component, LevenbergMarquardt, System
from mollifier.engines.collocated.linearise import Linearisation
from mollifier.engines.collocated.objective import Objective, Target
from mollifier.engines.collocated.roughness import DIFFERENCE
from mollifier.engines.collocated.stages import NonFiniteLossError
from mollifier.engines.joint.layout import Layout
from mollifier.engines.joint.roughness import best_roughness
from mollifier.engines.joint.spline import FieldPriors, raw_values, spread_of
from mollifier.engines.joint.system import Bordered
from mollifier.engines.linalg.banded import BandedCholesky, NotPositiveError, factored, order_within
from mollifier.engines.linalg.dense import solved
from mollifier.engines.priors.search import PriorSearch, minimise
from mollifier.engines.priors.shapes import Shape
from mollifier.problem.status import StatusName

Array = NDArray[np.float64]

# Strengths of the smoothing spline looked at, natural logarithm, and how many at first.
_ROUGHNESS, _LOOKS = (np.log(1e-9), np.log(1e3)), 7
# Continuation: most that the first weight may be, full weight, factor between.
_FIRST_WEIGHT, _FULL_WEIGHT, _RAISE = 0.1, 100.0, 10.0
# Damping at first and most; a step that gains this share of what it promised needs no more than at first.
_DAMPING, _MOST_DAMPING, _KEPT = 1e-6, 1e8, 0.5
# What is left of the smoothing splines' strengths before those with the equation are known.
_TRACE = 1e-3
# Strength beyond which a state is a quadratic to all purposes, as that of the smoothing splines.
_STIFFEST = float(np.exp(_ROUGHNESS[1]))
# Updates of strengths that keep their direction: growth over the last, and most over what was asked for.
# After so many updates they stay as they are.
_GROWTH, _LONGER, _UPDATES = 1.5, 6.0, 40
# Steps in which the rest follows a number that is held, and halvings until its raw value is found.
_FOLLOWING, _HALVINGS = 2, 100
# A step is small when it gains less than this in minus twice the log-likelihood, which is what moving all
# unknowns by a tenth of a standard error in all costs; and strengths are steady within this, in logarithm.
_SMALL, _STEADY = 1e-2, 0.1
# Standard deviations of chi-square that a fit may lie above what the data alone allow.
_EXCESS = 4.0
# Relative decrease of the loss per step below which the weight is raised.
_SLOW = 0.05
_SETTLED = "a step moves the unknowns by less than a tenth of their standard errors"
_CONTRADICTED = (
    "the fit settled at {:g} of the equation's weight, but the data's misfit is more than the noise level "
    "explains: the equation cannot hold exactly. See whether the noise level, the form of the equation, the "
    "number of nodes and of an unknown field's cells (joint.cells) are right, or give initial values or "
    "bounds for the unknowns"
)


class Smoothing:
    """Each state as the smoothing spline of its data, of the strength of greatest marginal likelihood.

    Ends with a first guess of the unknowns (`calibrate`).
    """

    name = "fit"
    estimates = False
    steps = 1

    def __init__(self, objective: Objective, linearisation: Linearisation) -> None:
        self.objective, self.linearisation = objective, linearisation
        self.finished = ""
        self.outcome: StatusName = "converged"

    def step(self) -> dict[str, float]:
        """Fit every target."""
        misfit = 0.0
        for i, target in enumerate(self.objective.targets):
            strength, values, part = _smooth(self.linearisation, target, i)
            coefficients = next(self.objective.model.blocks[target.block].network.parameters())
            with torch.no_grad():
                coefficients[:, target.channel] = torch.from_numpy(values)
            self.objective.roughness[i] = self._along(i, strength)
            misfit += part
        # Measurements of unknown fields can be met by any of them; they leave what noise they have.
        values = sum(len(self.objective.target_tensors(t)[1]) for t in self.objective.measurements)
        misfit += values / self.objective.count
        self.objective.attainable.fill_(misfit)
        return {"data": misfit, "residual": float("nan"), "prior": 0.0, "loss": misfit}

    def close(self) -> None:
        """The first guess of the unknowns; what the equation is to hold is left to it."""
        calibrate(self.objective)
        self.objective.roughness *= _TRACE

    def _along(self, i: int, strength: float) -> Tensor:
        """A target's strength along every coordinate that it has."""
        target = self.objective.targets[i]
        grid = self.objective.model.blocks[target.block].grid
        names = self.objective.model.problem.coordinates
        return torch.tensor([strength if n in grid.names else 0.0 for n in names], dtype=torch.float64)

    def state_dict(self) -> dict[str, Any]:
        """Nothing: it is one step."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to take up."""


def _smooth(linearisation: Linearisation, target: Target, i: int) -> tuple[float, Array, float]:
    """Strength, values at the nodes and mean squared misfit of the smoothing spline of one target."""
    objective, data = linearisation.objective, linearisation.data[i]
    block = objective.model.blocks[target.block]
    nodes = block.mollified.layer.nodes
    used = linearisation.roughness.used(target.block)
    order = order_within(used, nodes.shape)
    back = np.argsort(order)[np.count_nonzero(~used) :]
    zero = [np.zeros((len(b.names), b.mollified.layer.nodes.size)) for b in objective.model.blocks]
    parts = linearisation.roughness.rows(target, zero, True).values()
    stacked = sp.vstack([p.fields[target.block, target.channel] for p in parts], format="csr")
    rough = sp.csr_array(stacked)[:, back]
    rows = data.matrix[:, back]
    right = (data.values - float(block.level[target.channel])) * data.share
    square = sp.csr_array(rows.T @ rows) * objective.count
    penalty = sp.csr_array(rough.T @ rough) * objective.count
    slope = rows.T @ right * objective.count
    free = np.prod([1 if a.periodic else min(DIFFERENCE, a.size) for a in nodes])
    rank = len(back) - float(free)

    def at(log: float) -> tuple[BandedCholesky, Array]:
        factor = factored(sp.csr_array(square + np.exp(log) * penalty))
        return factor, factor.solve(slope)

    def along(log: float) -> float:
        factor, x = at(log)
        return -float(slope @ x) + factor.log_determinant - rank * log

    # Half a logarithmic unit is a quarter of one in the width of what is averaged over.
    best = minimise(along, *_ROUGHNESS, looks=_LOOKS, tolerance=0.5)[0]
    x = at(best)[1]
    return float(np.exp(best)), np.where(used, x[order], 0.0), float(np.square(rows @ x - right).sum())


class Joint(LevenbergMarquardt):
    """Levenberg-Marquardt steps over states and unknowns together, until the equation holds exactly.

    The equation's weight is raised as the fit settles. At the full weight, what is left of the equation's
    residual is asked for again and again (augmented Lagrangian), so that the limit of an exact equation is
    reached without the ill-conditioning of an infinite weight. Between steps, the strengths of the priors on
    unknown fields that were not given are set to those of greatest marginal likelihood. Where the data's
    misfit at some weight is more than noise explains, and by other priors too, the weight stays there.

    Parameters
    ----------
    objective, steps, tolerance
        As in `LevenbergMarquardt`; the tolerance is not used: convergence is judged by standard errors.
    linearisation
        Of the objective.
    """

    name = "joint"
    outcome: StatusName

    def __init__(
        self, objective: Objective, steps: int, tolerance: float, linearisation: FieldPriors
    ) -> None:
        super().__init__(objective, steps, tolerance)
        self._linearisation = linearisation
        self.layout = Layout(objective.model, linearisation)
        # At first the equation may be off by as much as its terms: the data hold the states, whatever the
        # first guess of the unknowns.
        self.damping, self.weight = _DAMPING, min(_FIRST_WEIGHT, objective.tau**2 / objective.weight)
        self.free = [n for n, u in self.model.problem.unknown_fields.items() if u.smoothness is None]
        self.allowed = True
        self._changed, self._whole = 0.0, np.inf
        # Shapes of priors are sought once strengths keep still: before, the answer may be far away yet.
        self._steady = False
        self._wanted: dict[tuple[int, int], tuple[float, float]] = {}
        self._updates = 0
        self._faded: set[tuple[int, int]] = set()
        self._reach: dict[tuple[int, int], tuple[float, float]] = {}
        self._last: list[Component] | None = None

    @property
    def linearisation(self) -> FieldPriors:
        """The sparse matrices, and the priors of unknown fields."""
        assert isinstance(self._linearisation, FieldPriors)
        return self._linearisation

    @property
    def exact(self) -> bool:
        """Whether the equation is made to hold exactly."""
        return self.weight >= _FULL_WEIGHT

    def _judge(self, before: float, after: float, promised: float) -> None:
        gain = self._whole * self.objective.count
        if before - after > _KEPT * promised:
            self.damping = min(self.damping, _DAMPING)
        if not self.exact and not self.allowed and self.free:
            self.allowed = self._fits()  # by the priors of now
        if not self.exact and self.allowed:
            if not self._fits():
                # The weight is not raised over what may be on its way down still.
                self.allowed = gain > _SMALL
            elif gain < _STEADY * self.layout.border_size + 1 or before - after < _SLOW * before:
                self._raise_weight()
        elif gain < _SMALL and self._changed < _STEADY:
            self._settle()
        elif self.exact:
            self._ask_again()

    def _judge_failure(self, loss: float, promised: float) -> None:
        if not self.exact and self.allowed:
            self.damping = _DAMPING
            self.allowed = self._fits()
            if self.allowed:
                self._raise_weight()
        elif self._whole <= max(self.tolerance * loss, _SMALL / self.objective.count):
            self._settle()
        elif self.damping < _MOST_DAMPING:
            self.damping = max(self.damping, _DAMPING)
        else:
            self.outcome = "stalled"
            self.finished = (
                f"no step lowers the loss, though {self._whole / loss:.1g} of it was promised; the equation "
                "may not be smooth in the unknowns. Bounds or initial values for them usually help"
            )

    def _settle(self) -> None:
        fits = self._fits()
        self.outcome = "converged" if fits else "misfit"
        self.finished = _SETTLED if fits else _CONTRADICTED.format(self.weight)

    def _raise_weight(self) -> None:
        self.weight = min(self.weight * _RAISE, _FULL_WEIGHT)

    def _fits(self) -> bool:
        """Whether noise explains the data's misfit, or a fit without the equation left as much."""
        most = max(1.0, float(self.objective.attainable)) * (1 + _EXCESS * np.sqrt(2 / self.objective.count))
        return self._losses(self.node_values())["data"] <= most

    def _ask_again(self) -> None:
        """Add what is left of the equation to its multipliers."""
        lin, objective = self.linearisation, self.objective
        count = self.model.collocation.grid.size
        env = lin.environment(self.node_values())
        with np.errstate(all="ignore"):
            left = [
                np.broadcast_to(e.evaluate(env), count) / s
                for e, s in zip(objective.equations, objective.sizes.tolist(), strict=True)
            ]
        lin.shifts = [a + b for a, b in zip(lin.shifts or [0.0] * len(left), left, strict=True)]

    def _system(self, nodes: list[Array]) -> System:
        self._changed = self._take_up()
        try:
            system = Bordered(self.linearisation, self.layout, nodes, self.weight)
        except NotPositiveError as error:
            raise NonFiniteLossError("a factor of the normal equations") from error
        if self.weight >= 1.0 and system.finite and self._updates < _UPDATES:
            self._updates += 1
            # Taken up before the next system is formed: this one has the present strengths in it.
            self._wanted = best_roughness(system, self._faded)
        # Below the equation's own weight priors are left alone, unless it is they that keep it there.
        if self.free and (self.weight >= 1.0 or not self.allowed) and system.finite:
            found = self._search(system).improved(system.choices, shapes=self._steady)
            change = max(system.choices[n].distance(found[n]) for n in self.free)
            self._changed, self._steady = max(self._changed, change), change < 1.0
            system.choices = found
            for n in self.free:
                self.linearisation.priors[n].shape = found[n].shape
                self.objective.set_strength(n, found[n].strength)
        # What a step without damping promises: a short one always promises little.
        self._whole = -float(system.gradient @ system.solve(0.0)) if system.finite else np.inf
        return system

    def _take_up(self) -> float:
        """Set the strengths of the states' priors; most change of one, in standard errors of its log."""
        most = 0.0
        for place, (strength, modes) in self._wanted.items():
            before = float(self.objective.roughness[place])
            change = float(np.log(min(strength, _STIFFEST) / before))
            if modes:
                last, reach = self._reach.get(place, (0.0, np.inf))
                if change * last < 0:  # the last one has gone too far
                    reach = min(reach, abs(last)) / 2
                elif last:  # updates creep towards their end: longer ones while they keep their direction
                    reach *= _GROWTH
                    change *= min(max(_GROWTH * abs(last / (change or last)), 1.0), _LONGER)
                change = float(min(np.clip(change, -reach, reach), np.log(_STIFFEST / before)))
                self._reach[place] = change, reach
                most = max(most, abs(change) * min(np.sqrt(modes / 2), 1.0))
            else:
                self._faded.add(place)
            self.objective.roughness[place] = before * np.exp(change)
        self._wanted = {}
        return most

    def close(self) -> None:
        """Keep the posterior of the unknowns."""
        self._last = self.marginal()[0]

    def _set_number(self, name: str, value: float) -> None:
        """Set a number to a value within its bounds."""
        scalar = self.model.scalars[name]

        def at(raw: float) -> float:
            with torch.no_grad():
                return float(scalar.bijection(torch.tensor([raw], dtype=torch.float64))[0])

        high = next(r for r in 10.0 ** np.arange(1, 300) if min(at(-r), at(r)) <= value <= max(at(-r), at(r)))
        low = -high
        rising = at(high) > at(low)
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            low, high = (middle, high) if (at(middle) < value) == rising else (low, middle)
        with torch.no_grad():
            scalar.raw.fill_((low + high) / 2)

    def profile(self, name: str, value: float) -> float:
        """Growth of minus twice the log-likelihood with another value of a number, the rest refitted."""
        shifts, start = self.linearisation.shifts, self.parameters()
        self.linearisation.shifts = None
        best = self._losses(self.node_values())["loss"]
        least = np.inf
        try:
            self._set_number(name, value)
            for _ in range(_FOLLOWING):
                system = Bordered(self.linearisation, self.layout, self.node_values(), self.weight)
                if not system.finite:
                    break
                self.set_parameters(self.parameters() + system.holding(name))
                least = min(least, self._losses(self.node_values())["loss"])
        finally:
            self.set_parameters(start)
            self.linearisation.shifts = shifts
        return (least - best) * self.objective.count

    def marginal(self) -> tuple[list[Component], dict[str, slice]]:
        """The unknowns when the states follow them, over the strengths that the data admit."""
        if self._last is None:
            system = Bordered(self.linearisation, self.layout, self.node_values(), self.weight)
            return self._components(system), self.layout.unknowns
        return self._last, self.layout.unknowns

    def _search(self, system: Bordered) -> PriorSearch:
        """For the priors that were not given."""
        return PriorSearch(system.linear, self.free, self.tuning.priors)

    def _components(self, system: Bordered) -> list[Component]:
        """The unknowns' distribution, averaged over the priors that were not given."""
        found = []
        for weight, choices in self._search(system).mixture(system.choices):
            precision, slope = system.linear.with_priors(choices)
            shift = -solved(precision, slope) if self.free else np.zeros(len(slope))
            found.append(Component(torch.from_numpy(precision), shift, weight))
        return found

    def raw(self, block: Block) -> tuple[Array, sp.csr_array]:
        """An unknown field before its bijection at its nodes, (nodes,), and slopes, (nodes, coefficients)."""
        return raw_values(block)[:, 0].numpy(), spread_of(block)

    def state_dict(self) -> dict[str, Any]:
        """Damping, weight, multipliers of the equations."""
        shifts = self.linearisation.shifts
        kept = None if shifts is None else [torch.from_numpy(np.ascontiguousarray(s)) for s in shifts]
        strengths: dict[str, Any] = {"wanted": self._wanted, "faded": self._faded}
        strengths |= {"reach": self._reach, "updates": self._updates}
        strengths |= {"steady": self._steady}
        strengths["shapes"] = {n: astuple(p.shape) for n, p in self.linearisation.priors.items()}
        return super().state_dict() | {"allowed": self.allowed, "shifts": kept} | strengths

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up a saved state."""
        super().load_state_dict(state)
        self.allowed, self._wanted = state["allowed"], dict(state["wanted"])
        self._faded, self._reach = set(state["faded"]), dict(state["reach"])
        self._updates, self._steady = state["updates"], state["steady"]
        for name, shape in state["shapes"].items():
            self.linearisation.priors[name].shape = Shape(*shape)
        shifts = state["shifts"]
        self.linearisation.shifts = None if shifts is None else [s.numpy() for s in shifts]
