"""All fields and numbers of a problem: derivatives on the collocation grid, values at the data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mollifier.engines.collocated.bijection import Bijection, Scalar
from mollifier.engines.collocated.block import Block, curvature_orders
from mollifier.engines.collocated.bounds import imposed
from mollifier.engines.collocated.law_block import LawBlock, law_derivatives, law_grid, law_options
from mollifier.engines.collocated.part import Part
from mollifier.engines.collocated.places import ObservedPlaces
from mollifier.engines.collocated.shared_noise import SharedNoise
from mollifier.engines.identifiability.structure import gauges
from mollifier.engines.visits import value_axes
from mollifier.mollify.arrays import Array, Mask
from mollifier.mollify.grid import Grid
from mollifier.mollify.orders import Derivative
from mollifier.nn.differentiation import registry as derivatives
from mollifier.nn.layers import count
from mollifier.nn.random_features import RandomFeatures
from mollifier.problem.collocation import Collocation
from mollifier.problem.inverse_problem import InverseProblem


@dataclass(frozen=True)
class Fields:
    """Fields over the same coordinates that one module represents."""

    names: Sequence[str]  #: Of the fields, one a channel.
    unknown: bool  #: Whether it is an unknown field, not states.
    grid: Grid  #: The part of the collocation grid over their coordinates, physical.
    backend: derivatives.Derivatives  #: Derivatives on the scaled grid.
    collocation: Collocation  #: The whole grid, the kernel, and the shortest features of the states.


# Most cells of a radius over which values are extrapolated; a wider kernel smooths values that alternate.
_EXTRAPOLATED = 4.5

#: Makes the module (n, d) -> (n, channels), on coordinates scaled to [-1, 1], that represents fields.
Maker = Callable[[Fields], nn.Module]


class Model(nn.Module):
    """Every field and number of the problem.

    Calling it gives the environment in which the equations are evaluated (names -> tensors broadcastable to
    the collocation grid, in physical units and float64) and the observed fields at their places.

    ``make`` makes the modules of states and unknown fields, and ``method`` names the derivative backend. With
    ``free_values`` states are values, not networks: with a narrow kernel there are as many beside those on
    the collocation grid as the equation has orders, see `Mollified`. Unknown fields with one bound then vary
    by ratios: their prior is on their coefficients, that of networks on the field's values. ``law_cells`` are
    cells along each axis of a law of the state, by the number of axes; ``most_effects`` limits the random
    effects of a field's noise.
    """

    def __init__(
        self,
        problem: InverseProblem,
        collocation: Collocation,
        make: Maker,
        method: str = "mollifier",
        free_values: bool = False,
        law_cells: Sequence[int] = (24, 12),
        most_effects: int = 3_000,
    ) -> None:
        super().__init__()
        self.problem, self._law_cells = problem, law_cells
        self.collocation = collocation
        #: Unknown fields that the equations leave open up to a function of some coordinates.
        self.gauges = gauges(problem)
        self._make, self._method, self._free_values = make, method, free_values
        groups = state_groups(problem)
        seen = ([n for n in names if n in problem.fields] for _, names in groups)
        #: Where each block is observed, by its number among the blocks: states by the data, unknown fields by
        #: their measurements.
        self.places = {b: ObservedPlaces.of(problem.data, names) for b, names in enumerate(seen) if names}
        for b, name in enumerate(problem.unknown_fields, len(groups)):
            if name in problem.measurements:
                self.places[b] = ObservedPlaces.at(problem.measurements[name])
        #: Field -> the declared random effects of its noise, of fields that have some.
        self.noise = {
            f: SharedNoise(f, effects, self.places[b], most_effects)
            for b, (_, names) in enumerate(groups)
            for f in names
            if f in problem.fields and (effects := problem.data.noise_effects(f))
        }
        #: Blocks of the states, by the coordinates they depend on; a hidden state with bounds has its own.
        self.state_blocks = [self._states(b, *group) for b, group in enumerate(groups)]
        #: Unknown field -> its block.
        self.unknown_blocks = {
            n: self._unknown(b, n) for b, n in enumerate(problem.unknown_fields, len(groups))
        }
        self.scalars = {n: Scalar(u) for n, u in problem.scalars.items()}  #: Unknown number -> its parameter.
        # Lists, not dictionaries: an unknown may have the name of one of a module's methods.
        self._modules_of_noise = nn.ModuleList(self.noise.values())
        self._modules_of_states = nn.ModuleList(self.state_blocks)
        self._modules_of_fields = nn.ModuleList(self.unknown_blocks.values())
        self._modules_of_numbers = nn.ModuleList(self.scalars.values())
        #: The collocation grid, and the part of it of each condition.
        self.whole = Part(problem, collocation, self.blocks, [b.backend for b in self.blocks])
        self.parts = [self.part(collocation.part(c.at)) for c in problem.system.conditions]
        self._modules_of_parts = nn.ModuleList(self.parts)

    def _states(self, b: int, over: Sequence[str], names: Sequence[str]) -> Block:
        """The block of states over some coordinates."""
        needed, grid = self.problem.system.derivatives, self.collocation.grid.subgrid(over)
        orders = {Derivative("u", d.orders) for n in names for d in needed[n]} | {Derivative("u")}
        backend = self._backend(b, grid, orders, self._free_values)
        module = self._make(Fields(names, False, grid, backend, self.collocation))
        bounds = None
        if names[0] in self.problem.hidden and imposed(self.problem, names[0]):
            bounds = Bijection(self.problem.states[names[0]]).to(next(module.parameters()).dtype)
        return Block(names, grid, needed, module, backend, bounds)

    def _unknown(self, b: int, name: str) -> Block:
        """The block of an unknown field."""
        if name in self.problem.laws:
            return self._law(b, name)
        needed, unknown = self.problem.system.derivatives, self.problem.unknown_fields[name]
        grid = self.collocation.grid.subgrid(unknown.over or ())
        orders = {Derivative("u", d.orders) for d in needed[name]} | {Derivative("u")}
        backend = self._backend(b, grid, orders | {*curvature_orders(grid)})
        module = self._make(Fields([name], True, grid, backend, self.collocation))
        bounds = Bijection(unknown, self._free_values).to(next(module.parameters()).dtype)
        return Block([name], grid, needed, module, backend, bounds, curvature_orders(grid))

    def _law(self, b: int, name: str) -> LawBlock:
        """The block of a law of the state."""
        problem, states = self.problem, self.problem.laws[name]
        grid = law_grid(problem, self.collocation, name, self._law_cells)
        needed = law_derivatives(problem.system.derivatives[name], states)
        curvatures = curvature_orders(grid)
        orders = {Derivative("u"), *curvatures, *(Derivative("u", d.orders) for d in needed)}
        observed, scaled = self.places[b].scaled(grid) if b in self.places else None, grid.scaled
        backend = derivatives.make("mollifier", scaled, sorted(orders), observed, **law_options(scaled))
        module = self._make(Fields([name], True, grid, backend, self.collocation))
        bounds = Bijection(problem.unknown_fields[name], self._free_values)
        bounds = bounds.to(next(module.parameters()).dtype)
        return LawBlock(states, [name], grid, {name: needed}, module, backend, bounds, curvatures)

    def states_inside(self, env: Mapping[str, Tensor]) -> dict[str, Array]:
        """States that laws vary over, in the measured region of the whole grid."""
        varied = (f for states in self.problem.laws.values() for f in states)
        return {f: self.whole.within(env[f].detach()).cpu().numpy() for f in varied}

    def show_laws(self) -> None:
        """Read laws out over the values that their states take, from now on."""
        with torch.no_grad():
            seen = self.states_inside(self()[0])
        axes = {a.name: a for a in (*self.collocation.grid, *value_axes(self.problem, seen))}
        for block in self.unknown_blocks.values():
            if isinstance(block, LawBlock):
                block.show(Grid(*(axes[a.name] for a in block.grid)))

    def part(self, place: Collocation) -> Part:
        """The fields on another grid over the same coordinates."""
        backends = []
        for block in self.blocks:
            if isinstance(block, LawBlock):
                backends.append(block.backend)
                continue
            grid = place.grid.subgrid(block.grid.names)
            onto = ObservedPlaces(grid.names, tuple(a.points for a in grid), None).scaled(block.grid)
            free = block.names[0] in self.problem.all_states and self._free_values
            backends.append(self._backend(None, block.grid, {*block.backend.orders}, free, onto))
        return Part(self.problem, place, self.blocks, backends)

    def _backend(
        self,
        b: int | None,
        grid: Grid,
        orders: set[Derivative],
        free_values: bool = False,
        onto: Mapping[str, Array] | None = None,
    ) -> derivatives.Derivatives:
        """Derivatives of a block on the scaled grid or onto a part of it, and its values where observed."""
        collocation, places = self.collocation, None if b is None else self.places.get(b)
        options: dict[str, Any] = {}
        if self._method == "mollifier":
            options = {
                "kernel": collocation.kernel,
                "radius": {c: collocation.scaled_radius[c] for c in grid.names},
                "accuracy": collocation.accuracy,
            }
            if free_values and max(collocation.radius.cells.values()) <= _EXTRAPOLATED:
                options["free"] = {c: max(d.along(c) for d in orders) for c in grid.names}
        observed = None if places is None else places.scaled(grid)
        scaled = collocation.scaled_grid.subgrid(grid.names)
        return derivatives.make(self._method, scaled, sorted(orders), observed, onto, **options)

    @property
    def blocks(self) -> list[Block]:
        """State blocks, then unknown fields."""
        return [*self.state_blocks, *self.unknown_blocks.values()]

    @property
    def nuisances(self) -> int:
        """Number of the first parameters: those of the noise, and after them those of states."""
        return sum(map(count, (*self.noise.values(), *(b.network for b in self.state_blocks))))

    def forward(self) -> tuple[dict[str, Tensor], dict[int, Tensor], dict[str, list[Tensor]]]:
        """Environment, observed values (channels, places) by block, curvatures by unknown field."""
        env: dict[str, Tensor] = self.whole.known | self.numbers()
        observed: dict[int, Tensor] = {}
        curvatures = {}
        for b, block in enumerate(self.blocks):
            values, seen, bends = block(self.collocation.grid)
            env |= block.at(env, self.collocation.grid) if isinstance(block, LawBlock) else values
            if seen is not None:
                observed[b] = seen
            if bends:
                curvatures[block.names[0]] = bends
        return env, observed, curvatures

    def node_values(self) -> list[Array]:
        """Values (channels, nodes) of every block; weights (channels, weights) of one linear in them."""
        with torch.no_grad():
            parts = [
                b.network.last.weight if isinstance(b.network, RandomFeatures) else b.network(b.nodes()).T
                for b in self.blocks
            ]
        return [part.detach().double().cpu().numpy() for part in parts]

    def numbers(self) -> dict[str, Tensor]:
        """Current values of the scalar unknowns, as tensors."""
        return {n: s() for n, s in self.scalars.items()}

    def gauge_fixed(self, name: str, values: Array) -> Array:
        """A field on its grid, (*grid.shape, ...), its mean zero where `gauges` leave it open."""
        if name not in self.gauges:
            return values
        grid, inside = self.grid_of(name), self.measured(name)
        inside = inside.reshape(*inside.shape, *[1] * (values.ndim - inside.ndim))
        axes = tuple(i for i, c in enumerate(grid.names) if c not in self.gauges[name])
        count = np.maximum(inside.sum(axis=axes, keepdims=True), 1)
        return np.asarray(values - np.where(inside, values, 0.0).sum(axis=axes, keepdims=True) / count)

    def grid_of(self, name: str) -> Grid:
        """The grid of a state or an unknown field."""
        return next(block.grid for block in self.blocks if name in block.names)

    def measured(self, name: str) -> Mask:
        """Which nodes of its grid lie in the measured region; of a law, all."""
        grid = self.grid_of(name)
        return np.ones(grid.shape, bool) if name in self.problem.laws else self.collocation.within(grid.names)

    def values(self) -> dict[str, float]:
        """Current values of the scalar unknowns."""
        return {n: float(s().detach()) for n, s in self.scalars.items()}

    def levels(self) -> dict[str, float]:
        """Current values of the scalar unknowns, and means of the unknown fields."""
        with torch.no_grad():
            means = {n: float(b()[0][n].mean()) for n, b in self.unknown_blocks.items()}
        return self.values() | means


def state_groups(problem: InverseProblem) -> list[tuple[tuple[str, ...], list[str]]]:
    """Coordinates, and the states that depend on them; hidden states kept within bounds each apart."""
    bounded = [n for n in problem.hidden if imposed(problem, n)]
    groups: dict[tuple[str, ...], list[str]] = {}
    for name in problem.all_states:
        if name not in bounded:
            groups.setdefault(problem.coordinates_of(name), []).append(name)
    return [*groups.items(), *((problem.coordinates_of(n), [n]) for n in bounded)]
