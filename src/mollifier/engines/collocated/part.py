"""Where an equation is imposed: the collocation grid, or the part of it at a condition's place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from mollifier.engines.collocated.block import Block
from mollifier.engines.collocated.law_block import LawBlock
from mollifier.mollify.arrays import Array
from mollifier.mollify.grid import Grid
from mollifier.nn.differentiation.base import Derivatives
from mollifier.problem.collocation import Collocation
from mollifier.problem.inverse_problem import InverseProblem


class Part(nn.Module):
    """The fields and known coefficients of a problem on a part of the collocation grid.

    ``blocks`` are all of the model, ``backends`` their derivatives there.
    """

    def __init__(
        self,
        problem: InverseProblem,
        place: Collocation,
        blocks: Sequence[Block],
        backends: Sequence[Derivatives],
    ) -> None:
        super().__init__()
        self.place, self.backends = place, nn.ModuleList(backends)
        self.blocks = tuple(blocks)  # no modules of its own: they are the model's
        known = _known(problem, place.grid)
        self._known_names = tuple(known)
        for name, value in known.items():
            self.register_buffer(f"known_{name}", torch.as_tensor(value), persistent=False)

    @property
    def known(self) -> dict[str, Tensor]:
        """Coordinates and known coefficients that the equations name, broadcastable to the part."""
        return {n: self.get_buffer(f"known_{n}") for n in self._known_names}

    @property
    def pairs(self) -> list[tuple[Block, Derivatives]]:
        """Every block with its derivatives here."""
        return list(zip(self.blocks, self.backends, strict=True))  # pyrefly: ignore[bad-return]

    @property
    def count(self) -> int:
        """Number of nodes in the measured region."""
        inside = self.place.inside
        return self.place.grid.size if inside is None else int(inside.sum())

    @property
    def independent(self) -> float:
        """Number of places that are farther apart than the shortest feature."""
        lengths = {a.name: a.length for a in self.place.grid if a.size > 1}
        return float(np.prod([max(1.0, x / self.place.features[c]) for c, x in lengths.items()]))

    def environment(self, scalars: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Name -> values in physical units and float64, broadcastable to the part."""
        env = self.known | dict(scalars)
        for block, backend in self.pairs:
            law = isinstance(block, LawBlock)
            env |= block.at(env, self.place.grid) if law else block(self.place.grid, backend)[0]
        return env

    def within(self, value: Tensor) -> Tensor:
        """A value on the part at the nodes in the measured region, flat."""
        inside = self.place.inside
        value = value.expand(self.place.grid.shape)
        return value if inside is None else value[torch.as_tensor(inside, device=value.device)]

    def masked(self, value: object) -> Array:
        """A value on the part at all nodes, flat, zero outside the measured region."""
        flat = np.broadcast_to(np.asarray(value), self.place.grid.size)
        return flat if self.place.inside is None else np.where(self.place.inside.ravel(), flat, 0.0)


def _known(problem: InverseProblem, grid: Grid) -> dict[str, Array]:
    """Coordinates and known coefficients that the equations name, shaped to broadcast on the grid."""
    arrays: dict[str, Array] = {}
    for name in problem.system.symbols:
        if name in problem.coordinates:
            axis = grid[name]
            arrays[name] = axis.points.reshape([axis.size if a.name == name else 1 for a in grid])
        elif name in problem.known:
            over = problem.data.coordinates_of(name)
            sub = grid.subgrid(over) if over else None
            points = dict(zip(sub.names, sub.coords().T, strict=True)) if sub else {}
            values = problem.data.interpolate(name, points, method="cubic")
            arrays[name] = np.asarray(values).reshape([a.size if a.name in over else 1 for a in grid])
    return arrays
