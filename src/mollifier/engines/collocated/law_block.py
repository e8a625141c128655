"""A law of the state: a mollified field over the values of states, which the equations take at the states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp
from torch import Tensor

from mollifier.engines.collocated.block import Block, sparse_tensor
from mollifier.engines.splines.basis import spline_taps
from mollifier.mollify.arrays import Array, Index
from mollifier.mollify.grid import Axis, Grid
from mollifier.mollify.kernels import BSpline
from mollifier.mollify.matrices import product_taps, taps_matrix
from mollifier.mollify.orders import Derivative
from mollifier.nn.differentiation.mollifier import Mollified
from mollifier.problem.collocation import Collocation
from mollifier.problem.inverse_problem import InverseProblem

_DEGREE = 5  # Degree of the kernel: slopes of a law along its state are smooth enough for Gauss-Newton steps.
# Share of the range of the measured values by which splines reach beyond it: states may overshoot.
_MARGIN = 0.02


class LawBlock(Block):
    """An unknown law: a block over the values of its states, and rows at the present states.

    Nodes, curvatures, measurements and prior are those of a field on the grid of values. The equations take
    the same function at the states, so that its matrices change with them.
    """

    def __init__(self, states: tuple[str, ...], *parts: Any) -> None:
        super().__init__(*parts)
        self.states = states  #: Those that the law varies over.
        self._axes = tuple(self.grid)

    def forward(
        self, grid: Grid | None = None, backend: Any = None
    ) -> tuple[dict[str, Tensor], Tensor | None, list[Tensor]]:
        """As that of `Block`, on the grid of values, whatever the grid of the equations."""
        return super().forward()

    def rows(self, env: Mapping[str, Array], grid: Grid) -> dict[Derivative, sp.csr_array]:
        """Each derivative on a grid, by the states in an environment, shape (grid.size, nodes).

        Beyond the ends of the grid of values a law is constant.
        """
        inner = dict(zip(grid.names, grid.coords().T, strict=True))
        places = inner | {c: np.reshape(env[c], -1) for c in self.states}
        found = {}
        for d in self.needed[self.names[0]]:
            along = zip(self._axes, self.mollified.lattice, strict=True)
            taps = [_taps(a, nodes, places[a.name], d.along(a.name)) for a, nodes in along]
            weights, index = product_taps(taps, self.mollified.lattice.shape)
            found[d] = taps_matrix(weights * self.factor(d), index, self.mollified.lattice.size)
        return found

    def at(self, env: Mapping[str, Tensor], grid: Grid) -> dict[str, Tensor]:
        """Derivatives on a grid by the states in an environment, with gradients by law and states."""
        here = {c: env[c].expand(grid.shape) for c in self.states}
        rows = self.rows({c: u.detach().cpu().numpy() for c, u in here.items()}, grid)
        g = self.network(self.nodes()).double()
        found = {d: (sparse_tensor(m).to(g.device) @ g).reshape(grid.shape) for d, m in rows.items()}
        values = {}
        for d, value in found.items():
            moved = [(u, found.get(d.differentiate(c))) for c, u in here.items() if u.requires_grad]
            steps = [slope.detach() * (u - u.detach()) for u, slope in moved if slope is not None]
            values[d.name] = sum(steps, value)
        return values

    def show(self, grid: Grid) -> None:
        """Read the law out on another grid within its own, from now on."""
        onto = {b.name: a.scaled(b.points) for a, b in zip(self._axes, grid, strict=True)}
        old = self.mollified
        options = law_options(old.layer.grid)
        self.backend = Mollified(old.layer.grid, old.orders, old.observed, onto=onto, **options)
        self.grid = grid


def law_grid(problem: InverseProblem, collocation: Collocation, name: str, cells: Sequence[int]) -> Grid:
    """The grid of values of a law: a little more than the measured range of its states, and coordinates.

    ``cells`` are those along each axis, by the number of axes.
    """
    over = problem.unknown_fields[name].over or ()
    count = cells[min(len(over), len(cells)) - 1]
    axes = []
    for c in over:
        if c in problem.laws[name]:
            low, high = problem.extent(c)
            more = _MARGIN * (high - low)
            axes.append(Axis(c, low - more, high + more, count + 1))
        else:
            of = collocation.grid[c]
            axes.append(Axis(c, of.lower, of.upper, count + (not of.periodic), of.periodic, of.unit))
    return Grid(*axes)


def law_options(scaled: Grid) -> dict[str, Any]:
    """Kernel and radius of a law on its scaled grid: B-splines, without correction."""
    return {"kernel": BSpline(_DEGREE), "radius": {a.name: (_DEGREE + 1) / 2 * a.spacing for a in scaled}}


def law_derivatives(needed: Sequence[Derivative], states: Sequence[str]) -> tuple[Derivative, ...]:
    """The derivatives of a law that equations name, and those by which they change with the states.

    >>> [d.name for d in law_derivatives([Derivative("D"), Derivative.of("D", {"u": 1})], ["u"])]
    ['D', 'D_u', 'D_uu']
    """
    found = {*needed, *(d.differentiate(c) for d in needed for c in states)}
    return tuple(sorted(found, key=lambda d: (d.total, d.orders)))


def _taps(axis: Axis, nodes: Axis, x: Array, order: int) -> tuple[Array, Index]:
    """Weights and index of the nodes in a derivative at places (n,), shape (n, degree + 1)."""
    x = axis.scaled(x)
    beyond = np.zeros(x.shape, bool) if axis.periodic else np.abs(x) > 1.0
    x = np.where(beyond, np.sign(x), x)
    weights, index = spline_taps((x - nodes.lower) / nodes.spacing, _DEGREE, order)
    weights = weights / nodes.spacing**order
    if order:
        weights[beyond] = 0.0
    return weights, index % nodes.size if axis.periodic else np.clip(index, 0, nodes.size - 1)
