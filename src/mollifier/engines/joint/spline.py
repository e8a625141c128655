"""Fields without networks: states as values at the kernel's nodes, unknown fields as splines."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import astuple
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor, nn

from mollifier.engines.collocated.block import Block, sparse_tensor
from mollifier.engines.collocated.laplace import unit_of
from mollifier.engines.collocated.linearise import Linearisation
from mollifier.engines.collocated.model import Fields, Maker
from mollifier.engines.collocated.objective import Objective
from mollifier.engines.collocated.residuals import Residuals
from mollifier.engines.joint.tuning import JointTuning
from mollifier.engines.priors.field_prior import EdgePrior, field_prior
from mollifier.engines.priors.lattice_prior import LatticePrior
from mollifier.engines.priors.shapes import Shape
from mollifier.engines.splines.basis import spline_taps
from mollifier.mollify.arrays import Array
from mollifier.mollify.grid import Axis, Grid
from mollifier.mollify.matrices import kron, taps_matrix
from mollifier.nn.differentiation.mollifier import Mollified


class Values(nn.Module):
    """Module from nodes (n, d) to values (n, channels), linear in its coefficients.

    Its values are at the nodes, whatever the points that it is given.
    """

    def __init__(self, lattice: Grid, channels: int, spread: sp.csr_array | None = None) -> None:
        super().__init__()
        self.lattice = lattice  #: The p places of the coefficients, in scaled coordinates.
        #: Matrix from coefficients to values at the nodes, shape (n, p); None for the identity.
        self.spread = spread
        #: Shape (p, channels), zero at first.
        self.coefficients = nn.Parameter(torch.zeros(lattice.size, channels, dtype=torch.float64))
        self._spread = None if spread is None else sparse_tensor(spread)

    def forward(self, points: Tensor) -> Tensor:
        """Values at the nodes, shape (n, channels); the points are ignored."""
        return self.coefficients if self._spread is None else self._spread @ self.coefficients


def values_maker(cells: dict[str, int] | None, tuning: JointTuning, edged: Collection[str] = ()) -> Maker:
    """A maker of states as values at the kernel's nodes, and of unknown fields as splines.

    ``cells`` are those of the splines by coordinate, by default ``tuning.field_cells``; where they are as
    many as those of the collocation grid, or more, the coefficients are the values at the kernel's nodes.
    Splines are cubic, those of ``edged`` fields linear with ``edge_cells``.
    """

    def make(fields: Fields) -> nn.Module:
        backend = fields.backend
        assert isinstance(backend, Mollified)
        nodes = backend.lattice
        if not fields.unknown:
            return Values(nodes, len(fields.names))
        edge = fields.names[0] in edged
        defaults = tuning.edge_cells if edge else tuning.field_cells
        default = defaults[min(len(nodes.axes), len(defaults)) - 1]
        count = {a.name: (cells or {}).get(a.name, default) for a in nodes}
        along = [
            _spline(axis, domain, count[axis.name], 1 if edge else 3)
            for axis, domain in zip(nodes, backend.grid, strict=True)
        ]
        return Values(Grid(*(a for a, _ in along)), 1, kron([m for _, m in along]))

    return make


def slopes_of(block: Block, mean: Array | None = None) -> sp.csr_array:
    """Slopes of a block's values at its nodes with respect to the coefficients, shape (nodes, p).

    ``mean`` are slopes (nodes,) that take the place of those of the bijection.
    """
    if block.bijection is None:
        return spread_of(block)
    slope = block.bijection.slopes(raw_values(block)[:, 0].numpy()) if mean is None else mean
    return sp.csr_array(spread_of(block).multiply(slope[:, None]))


def spread_of(block: Block) -> sp.csr_array:
    """Slopes of a block's values before the bijection with respect to the coefficients, shape (nodes, p)."""
    module = coefficients_of(block)
    if module.spread is not None:
        return module.spread
    return sp.csr_array(sp.eye_array(len(module.coefficients), format="csr"))


def raw_values(block: Block) -> Tensor:
    """Values at a block's nodes before the bijection, shape (nodes, channels)."""
    with torch.no_grad():
        return coefficients_of(block)(block.nodes()).detach()


def coefficients_of(block: Block) -> Values:
    """The module that holds a block's coefficients."""
    assert isinstance(block.inner, Values)
    return block.inner


def _spline(nodes: Axis, domain: Axis, cells: int, degree: int) -> tuple[Axis, sp.csr_array]:
    """A spline of an odd degree with ``cells`` cells over the domain, along one axis.

    Returns the places of those p coefficients that affect values at the nodes, which reach beyond the domain,
    and the matrix from coefficients to these values, shape (nodes, p).
    """
    grid_cells = domain.size if domain.periodic else domain.size - 1
    if cells >= grid_cells or domain.discrete:
        return nodes, sp.csr_array(sp.eye_array(nodes.size, format="csr"))
    cell = domain.length / cells
    weights, index = spline_taps((nodes.points - domain.lower) / cell, degree)
    if domain.periodic:
        index = index % cells
        lattice = Axis(nodes.name, domain.lower, domain.upper, cells, periodic=True)
    else:
        first, last = int(index.min()), int(index.max())
        index = index - first
        ends = domain.lower + first * cell, domain.lower + last * cell
        lattice = Axis(nodes.name, *ends, last - first + 1)
    return lattice, taps_matrix(weights, index, lattice.size)


class FieldPriors(Linearisation):
    """A linearisation whose priors of the unknown fields are on the coefficients before the bijection.

    Priors on the values would have no effect close to a bound, where the slope of the bijection vanishes.
    ``kinds`` of priors by unknown field take the place of those that were given.
    """

    # Strengths are chosen for the full weight of the equation; they do not scale with its weight.
    tied = False
    entries = True

    def __init__(self, objective: Objective, kinds: Mapping[str, str] | None = None) -> None:
        super().__init__(objective)
        unknowns = objective.model.problem.unknown_fields
        #: Prior of each unknown field, by name.
        self.priors = {
            n: field_prior(
                coefficients_of(b).lattice,
                (kinds or {}).get(n, unknowns[n].prior),
                unknowns[n].smoothness is not None,
                objective.tuning.priors,
            )
            for n, b in objective.model.unknown_blocks.items()
        }

        #: Number -> slope along its parameter of the logarithm of the unknown fields' volume, and the
        #: parameter at which it was found (`mollifier.engines.joint.volume`); empty before.
        self.volume_slopes: dict[str, tuple[float, float]] = {}

    @property
    def tuning(self) -> JointTuning:
        """Numbers that steer the engine."""
        assert isinstance(self.objective.tuning, JointTuning)
        return self.objective.tuning

    def volume_loss(self) -> float:
        """What the volume of unknown fields has added to the loss since its slopes were found."""
        raw = {n: float(s.raw.detach()) for n, s in self.objective.model.scalars.items()}
        grown = sum(s * (raw[n] - first) for n, (s, first) in self.volume_slopes.items())
        return -2 * grown / self.objective.count

    def expand(self) -> None:
        """Expand priors that are not quadratic about the present fields."""
        for name, prior in self.priors.items():
            prior.about(self._coefficients(name)[0])

    def place_sd(self, name: str) -> Array:
        """Standard error of a field's raw values at its nodes by the place of its edges, shape (nodes,).

        Between two levels, all that the field changes over a cell is an edge at any place within it.
        """
        block = self.objective.model.unknown_blocks[name]
        nodes, lattice = block.mollified.lattice, coefficients_of(block).lattice
        raw = raw_values(block)[:, 0].numpy()
        if not isinstance(self.priors[name], EdgePrior):
            return np.zeros_like(raw)
        slopes = [
            np.gradient(raw.reshape(nodes.shape), a.spacing, axis=i) * max(a.spacing, cell.spacing)
            for i, (a, cell) in enumerate(zip(nodes, lattice, strict=True))
            if a.size > 1 and not a.discrete
        ]
        return np.sqrt(np.sum(np.square(slopes), axis=0) / 12).ravel()

    def chosen(self) -> dict[str, Any]:
        """Multipliers of the equations, and shapes, strengths and volumes of the priors, to be saved."""
        local = {n: torch.from_numpy(p.local) for n, p in self.priors.items() if p.local is not None}
        edged = {n: p.variance for n, p in self.priors.items() if isinstance(p, EdgePrior)}
        variances = {n: torch.from_numpy(v) for n, v in edged.items() if v is not None}
        shapes = {n: astuple(p.shape) for n, p in self.priors.items()}
        priors = {"shapes": shapes, "local": local, "variances": variances, "volumes": self.volume_slopes}
        shifts = self.shifts and [torch.from_numpy(np.ascontiguousarray(s)) for s in self.shifts]
        return priors | {"shifts": shifts}

    def choose(self, state: Mapping[str, Any]) -> None:
        """Take what `chosen` gave."""
        self.volume_slopes, shifts = dict(state["volumes"]), state["shifts"]
        self.shifts = shifts and [s.numpy() for s in shifts]
        for name, shape in state["shapes"].items():
            self.priors[name].shape = Shape(*shape)
        for name, local in state["local"].items():
            self.priors[name].localise(local.numpy())
        for name, variance in state["variances"].items():
            prior = self.priors[name]
            assert isinstance(prior, EdgePrior)
            prior.variance = variance.numpy()

    def prior_on_coefficients(self, name: str, columns: slice) -> LatticePrior:
        """The prior of a field, expanded about its present coefficients; ``columns`` are their places."""
        x, unit = self._coefficients(name)
        return LatticePrior(columns, self.priors[name], x, unit, self.objective.count)

    def curvature(self, name: str, nodes: list[Array], slopes: bool) -> Residuals:
        """Rows of an unknown field's prior, at a strength of one; ``nodes`` are ignored.

        Only values: slopes with respect to coefficients are in `prior_on_coefficients`.
        """
        assert not slopes
        prior = self.priors[name]
        return Residuals(prior.form(prior.shape).rows(self._coefficients(name)[0]))

    def _coefficients(self, name: str) -> tuple[Array, float]:
        """Coefficients (p,) before the bijection, in units of the field's size, and the factor to it.

        Logarithms are ratios to its size already.
        """
        block = self.objective.model.unknown_blocks[name]
        assert block.bijection is not None
        size = self.objective.field_scale(name)
        unit = 1.0 if block.bijection.logarithmic else unit_of(block.bijection) / size
        return unit * coefficients_of(block).coefficients.detach().numpy()[:, 0], unit
