"""The objective linearised in the values at the nodes: rows for the equations, the data and the priors.

Derivatives are linear in the values g of a network at the nodes: one sparse matrix W_a per derivative, formed
once, serves every step. The residual of an equation changes by ``sum_a (dr/d u_a) W_a dg`` with its partial
derivatives dr/d u_a. A network adds one dense factor, its Jacobian dg/dtheta, whatever the order of the
equation. A random-feature network is linear in its weights: these replace the values at nodes, and its
matrices are factored by coordinate (`mollifier.engines.collocated.factored`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice

import numpy as np
import scipy.sparse as sp
import sympy
import torch

from mollifier.engines.collocated.block import Block
from mollifier.engines.collocated.data_rows import DataRows
from mollifier.engines.collocated.factored import is_factored
from mollifier.engines.collocated.law_block import LawBlock
from mollifier.engines.collocated.objective import Objective, Target
from mollifier.engines.collocated.operators import (
    derivative_matrices,
    middle,
    observation_matrix,
    weighted_sum,
)
from mollifier.engines.collocated.part import Part
from mollifier.engines.collocated.residuals import Residuals
from mollifier.engines.collocated.roughness import StateRoughness
from mollifier.engines.priors.differences import derivative_rows
from mollifier.engines.priors.field_prior import FieldPrior, thinned
from mollifier.engines.priors.matern import SEMINORMS, matern_weights
from mollifier.engines.priors.shapes import Shape
from mollifier.equations.algebra import differentiate
from mollifier.equations.laws import as_functions, as_symbols, over_fields
from mollifier.equations.lower import ArrayFunction
from mollifier.equations.system import Equation
from mollifier.mollify.arrays import Array
from mollifier.mollify.orders import Derivative

_CURVATURE = Shape(SEMINORMS["h2"])  # The prior of unknown fields before its evidence is known.


class Partials:
    """The partial derivatives of one equation that are not zero, compiled once.

    Laws change with their states.
    """

    def __init__(self, equation: Equation, blocks: Sequence[Block], scalars: Sequence[str]) -> None:
        names, present = equation.names, set(equation.symbols)
        varied = {c for s in present for c in over_fields(names, names.resolve(s).derivative.field)}
        functions = as_functions(equation.residual, names)

        def partial(name: str) -> ArrayFunction:
            if name not in varied:
                return equation.partial(name)
            return ArrayFunction(as_symbols(differentiate(functions, sympy.Symbol(name))))

        present |= varied
        #: (block, channel) -> derivative of that field -> function of the environment.
        self.fields: dict[tuple[int, int], dict[Derivative, ArrayFunction]] = {}
        for b, block in enumerate(blocks):
            for channel, name in enumerate(block.names):
                found = {d: partial(d.name) for d in block.needed[name] if d.name in present}
                if found:
                    self.fields[b, channel] = found
        #: Scalar unknown -> function of the environment.
        self.scalars = {n: equation.partial(n) for n in scalars if n in present}


class PartRows:
    """Matrices of the fields on a part of the grid."""

    def __init__(self, part: Part, entries: bool) -> None:
        grid = part.place.grid
        self.part = part
        #: Of each block: derivative -> matrix from its values at nodes, in units of its scale; of a law, at
        #: the states of the last environment.
        self.rows = [
            {} if isinstance(block, LawBlock) else derivative_matrices(block, backend, grid, entries)
            for block, backend in part.pairs
        ]
        #: Coordinates and known coefficients by name, flat.
        self.known = {n: np.broadcast_to(v.cpu().numpy(), grid.shape).ravel() for n, v in part.known.items()}

    def environment(self, nodes: list[Array]) -> dict[str, Array]:
        """Physical values by name, flat, from values (channels, nodes) of every block."""
        env: dict[str, Array] = {}
        for b, (block, g) in enumerate(zip(self.part.blocks, nodes, strict=True)):
            if isinstance(block, LawBlock):
                self.rows[b] = block.rows(env, self.part.place.grid)
            rows = self.rows[b]
            for channel, name in enumerate(block.names):
                mean = middle(block, g[channel])
                for d in block.needed[name]:
                    scale = float(block.scale[channel])
                    value = (rows[d] @ (g[channel] - mean)) * scale
                    env[d.name] = value if d.total else value + mean * scale + float(block.level[channel])
        return env | self.known


class Linearisation:
    """Matrices of a model whose derivatives are mollified, and its residuals as rows of a linear system."""

    tied = True  #: Whether the priors of unknown fields are scaled with the equation's weight.
    entries = False  #: Whether the entries of matrices are needed; without, products suffice.

    def __init__(self, objective: Objective) -> None:
        self.objective = objective
        model = objective.model
        parts = {id(part): PartRows(part, self.entries) for part in (model.whole, *model.parts)}
        #: Of each equation and condition: where it is imposed, and its partial derivatives (`partials`).
        self.parts = [parts[id(part)] for part in objective.parts]
        seen = [b for b in range(len(model.state_blocks)) if b in model.places]
        self.observe = {b: observation_matrix(model.blocks[b], self.entries) for b in seen}
        self.partials = [Partials(e, model.blocks, tuple(model.scalars)) for e in objective.imposed]
        self.refresh()
        self.measurements = [
            DataRows(objective, t, observation_matrix(model.blocks[t.block], self.entries))
            for t in objective.measurements
        ]
        #: The smoothness prior of states on nodes.
        self.roughness = StateRoughness(
            model,
            [
                [
                    *(m for part in parts.values() for m in part.rows[b].values()),
                    *([self.observe[b]] if b in seen else []),
                ]
                for b in range(len(model.state_blocks))
            ],
            objective.tuning,
        )
        #: Added to the residual of each equation and condition, shape (nodes,): the multipliers of an
        #: augmented Lagrangian. None for zero.
        self.shifts: list[Array] | None = None
        unknowns = model.problem.unknown_fields
        self.lattices = {n: thinned(b.mollified.lattice, b.grid) for n, b in model.unknown_blocks.items()}
        #: Of unknown fields, on a lattice of some of the kernel's nodes.
        self.priors = {
            n: FieldPrior(
                self.lattices[n][0],
                unknowns[n].prior,
                unknowns[n].smoothness is not None,
                objective.tuning.priors,
            )
            for n in model.unknown_blocks
        }
        for prior in self.priors.values():
            prior.shape = _CURVATURE
        self._derivative_rows: dict[tuple[str, int | None], sp.csr_array] = {}

    def prior_rows(self, name: str, shape: Shape) -> sp.csr_array:
        """Rows of a prior of strength one from an unknown field's values at its nodes, shape (m, nodes)."""
        if shape == _CURVATURE:
            return self.derivative_rows(name, None)
        factors = enumerate(matern_weights(shape.order, shape.length).tolist())
        return sp.csr_array(sp.vstack([self.derivative_rows(name, k) * np.sqrt(f) for k, f in factors if f]))

    def derivative_rows(self, name: str, order: int | None) -> sp.csr_array:
        """Rows whose squares add up to an unknown field's mean squared derivatives of an order, (m, nodes).

        On the lattice of its prior; for None, the mollified curvature.
        """
        if (name, order) not in self._derivative_rows:
            block = self.objective.model.unknown_blocks[name]
            if order is None:
                rows = sp.vstack([block.mollified.matrix(d) for d in block.curvatures]) / block.grid.size**0.5
            else:
                lattice, index = self.lattices[name]
                chosen = sp.csr_array(sp.eye_array(block.mollified.lattice.size))[index]
                rows = derivative_rows(lattice, order) @ chosen
            self._derivative_rows[name, order] = sp.csr_array(rows)
        return self._derivative_rows[name, order]

    def environments(self, nodes: list[Array]) -> list[dict[str, Array]]:
        """Where each equation is imposed, names -> values in physical units, flat.

        ``nodes`` are values (channels, nodes) of every block.
        """
        numbers = {n: np.asarray(v) for n, v in self.objective.model.values().items()}
        found = {id(part): part.environment(nodes) | numbers for part in self.parts}
        return [found[id(part)] for part in self.parts]

    def residuals(
        self, nodes: list[Array], weight: float, slopes: bool, curvatures: bool = True
    ) -> Iterator[Residuals]:
        """All residuals at values (channels, nodes) of every block, with derivatives if ``slopes``.

        ``weight`` multiplies the equations' weight, as in `Objective.forward`; without ``curvatures`` the
        smoothness prior of the unknown fields is left out.
        """
        yield from self.equations(nodes, weight, slopes)
        yield from self._data(nodes, slopes)
        yield from self._prior(nodes, slopes, curvatures, weight if self.tied else 1.0)

    def observed(self, target: Target, nodes: list[Array]) -> Array:
        """A state in physical units at all observed places of its block, shape (places,)."""
        b, channel = target.block, target.channel
        block, matrix, g = self.objective.model.blocks[b], self.observe[b], nodes[b][channel]
        mean = middle(block, g)
        return (matrix @ (g - mean) + mean) * float(block.scale[channel]) + float(block.level[channel])

    def measured(self, target: Target, nodes: list[Array]) -> Array:
        """The same with the noise that measurements share."""
        state = torch.from_numpy(self.observed(target, nodes)).to(self.objective.sizes.device)
        return self.objective.measured(target, state).detach().cpu().numpy()

    def reweigh(self, nodes: list[Array], least_scale: float) -> float:
        """As `Objective.reweigh`; rows of the data that have changed are formed again."""
        objective = self.objective
        moved = objective.reweigh([self.observed(t, nodes) for t in objective.targets], least_scale)
        self.refresh()
        return moved

    def refresh(self) -> None:
        """The rows of the data with the present weights."""
        self.data = [DataRows(self.objective, t, self.observe[t.block]) for t in self.objective.targets]

    def fit(self, nodes: list[Array]) -> Iterator[Residuals]:
        """The residuals of a fit of the states to the data alone, with derivatives."""
        yield from self._data(nodes, slopes=True)
        yield from self._shrinkages(nodes, slopes=True)

    def samples(self, nodes: list[Array]) -> Iterator[Residuals]:
        """The residuals of the measurements alone, with derivatives."""
        yield from islice(self._data(nodes, slopes=True), len(self.objective.fitted))

    def equations(self, nodes: list[Array], weight: float, slopes: bool) -> Iterator[Residuals]:
        """The residuals of the equations and conditions, one after another."""
        objective, envs = self.objective, self.environments(nodes)
        for i, (e, partials) in enumerate(zip(objective.imposed, self.partials, strict=True)):
            rows, env, share = self.parts[i].rows, envs[i], objective.share(i, weight)
            masked = self.parts[i].part.masked
            result = Residuals(masked(e.evaluate(env)) * share)
            if self.shifts is not None:
                result.values = result.values + self.shifts[i] * share
            if slopes:
                for (b, channel), present in partials.fields.items():
                    factor = share * float(objective.model.blocks[b].scale[channel])
                    parts = [(masked(f(env)) * factor, d) for d, f in present.items()]
                    result.fields[b, channel] = weighted_sum([(c, rows[b][d]) for c, d in parts])
                for name, f in partials.scalars.items():
                    result.scalars[name] = masked(f(env)) * share
            yield result

    def sourced(self, sources: Array, nodes: list[Array], weight: float) -> Iterator[Residuals]:
        """The rows of the equations, their values k sources (equations, nodes, k) in the equations' units."""
        rows = self.equations(nodes, weight, slopes=True)
        for i, (source, part) in enumerate(zip(sources, rows, strict=False)):
            share = self.objective.share(i, weight) * self.parts[i].part.masked(1.0)
            yield replace(part, values=share[:, None] * source)

    def remeasured(
        self, changes: Mapping[str, sp.csr_array], nodes: list[Array], weight: float
    ) -> Iterator[Residuals]:
        """The rows of the data, their values k changes of the measurements at all places, (places, k)."""
        del weight
        rows = self._data(nodes, slopes=True)
        for target, data, part in zip(self.objective.targets, self.data, rows, strict=False):
            yield replace(part, values=-data.at(changes[target.name]).toarray())

    def left(self, nodes: list[Array]) -> list[Array]:
        """What each equation and condition leaves, flat; zero where it has a standard error."""
        found = zip(self.objective.imposed, self.parts, self.environments(nodes), strict=True)
        return [part.part.masked(0.0 if e.noise else e.evaluate(env)) for e, part, env in found]

    def _data(self, nodes: list[Array], slopes: bool) -> Iterator[Residuals]:
        objective = self.objective
        coefficients = {n: v.coefficients.detach().cpu().numpy() for n, v in objective.model.noise.items()}
        for target, data in zip(objective.fitted, [*self.data, *self.measurements], strict=True):
            block, channel = objective.model.blocks[target.block], target.channel
            g = nodes[target.block][channel]
            mean = middle(block, g)
            offset = mean * float(block.scale[channel]) + float(block.level[channel])
            values = data.fitted(g - mean) + (offset - data.values) * data.share
            alone = data.shared is None
            result = Residuals(values, constant=is_factored(block) and alone, samples=alone)
            if data.shared is not None:
                result.values = values + data.shared @ coefficients[target.name]
                result.shared[target.name] = data.shared
            if slopes:
                result.fields[target.block, channel] = data.matrix
            yield result
        for name, own in coefficients.items():
            share = sp.csr_array(sp.eye_array(len(own)) / np.sqrt(objective.count))
            yield Residuals(share @ own, shared={name: share})

    def _prior(self, nodes: list[Array], slopes: bool, curvatures: bool, share: float) -> Iterator[Residuals]:
        objective = self.objective
        for name in objective.model.unknown_blocks if curvatures else ():
            strength = objective.strength(name)
            if strength:
                yield self.curvature(name, nodes, slopes).scaled(np.sqrt(share * strength))
        yield from self._shrinkages(nodes, slopes)
        for i, state in enumerate(objective.states):
            if not objective.roughness[i].any():
                continue
            for axis, part in self.roughness.rows(state, nodes, slopes).items():
                strength = float(objective.roughness[i, axis])
                if strength:
                    yield part.scaled(np.sqrt(strength))

    def curvature(self, name: str, nodes: list[Array], slopes: bool) -> Residuals:
        """Rows of an unknown field's smoothness prior, at a strength of one."""
        model = self.objective.model
        b = len(model.state_blocks) + list(model.unknown_blocks).index(name)
        rows = self.prior_rows(name, self.priors[name].shape) / self.objective.field_scale(name)
        result = Residuals(rows @ (nodes[b][0] - nodes[b][0].mean()))
        if slopes:
            result.fields[b, 0] = sp.csr_array(rows)
        return result

    def _shrinkages(self, nodes: list[Array], slopes: bool) -> Iterator[Residuals]:
        """The normal prior of random features' weights, with the standard deviation of the field."""
        share = float(1 / np.sqrt(self.objective.count))
        for b, block in enumerate(self.objective.model.state_blocks):
            for channel, weights in enumerate(nodes[b] if is_factored(block) else ()):
                result = Residuals(weights * share, constant=True)
                if slopes:
                    result.fields[b, channel] = share
                yield result
