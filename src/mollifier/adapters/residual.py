"""Equations on the layer: values at its nodes in, fields and residuals on the grid out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mollifier.equations.names import Names
from mollifier.equations.system import EquationLike, parse
from mollifier.errors import GridError
from mollifier.mollify.grid import Grid
from mollifier.mollify.layer import MollifierLayer
from mollifier.mollify.orders import Derivative
from mollifier.mollify.precision import Weights


class ResidualLayer(nn.Module):
    """A mollifier layer that holds the derivatives its equations need, and evaluates them.

    Parameters
    ----------
    equations
        Text, as in problem files, or a callable on a mapping of names, as in
        ``lambda j: j["u_t"] - j["k"] * j["u_xx"]``; a sequence for several.
    grid
        Where the equations hold.
    fields
        Names of the network's outputs, in their order.
    unknowns
        Names of the scalar parameters.
    **options
        Of `MollifierLayer`: ``radius``, ``kernel``, ``boundary``, ...

    Raises
    ------
    EquationError
        If an equation cannot be read.
    GridError
        If the grid cannot carry an order at this radius.

    Examples
    --------
    >>> from mollifier.mollify.grid import Axis
    >>> grid = Grid(Axis("x", 0.0, 1.0, 41), Axis("t", 0.0, 1.0, 21))
    >>> layer = ResidualLayer("u_t = k*u_xx", grid, unknowns=["k"], radius=0.2)
    >>> x, t = layer.coords().T
    >>> fields, residuals = layer(x**2 + 2 * t, {"k": 1.0})
    >>> fields.shape, residuals.shape, bool(residuals.abs().max() < 1e-3)
    (torch.Size([1, 41, 21]), torch.Size([1, 41, 21]), True)
    """

    def __init__(
        self,
        equations: EquationLike | Sequence[EquationLike],
        grid: Grid,
        fields: Sequence[str] = ("u",),
        unknowns: Sequence[str] = (),
        **options: Any,
    ) -> None:
        super().__init__()
        self.fields, self.unknowns = tuple(fields), tuple(unknowns)
        over = dict.fromkeys(self.fields, grid.names)
        self.system = parse(equations, Names(grid.names, over, dict.fromkeys(self.unknowns, ())))
        used = self.system.derivatives
        # Every order is taken of every channel, as the first field's.
        self._needed = [d for f in self.fields for d in used.get(f, ())]
        orders = [self._first(d) for d in self._needed]
        self.layer = MollifierLayer(grid, [Derivative(self.fields[0]), *orders], **options)
        self.grid = self.layer.result or grid  # where results lie: inside the grid given if trimmed
        points = self.grid.coords().T.reshape(len(grid.names), *self.grid.shape)
        self._points = Weights(dict(zip(grid.names, points, strict=True)))

    def coords(self) -> Tensor:
        """Where to evaluate the network, shape (n_points, d): the grid and its halo."""
        return self.layer.coords()

    def forward(self, g: Tensor, unknowns: Mapping[str, Any] | None = None) -> tuple[Tensor, Tensor]:
        """The fields (n_fields, *grid.shape) and the residuals (n_equations, *grid.shape).

        Parameters
        ----------
        g
            The network's values at `coords`, (n_points, n_fields) or (n_points,) for one field.
        unknowns
            Value of each unknown.

        Raises
        ------
        GridError
            If the values are not of that shape.
        """
        channels = self.channels(g)
        jet = self.layer(channels)
        env = {d.name: jet[self._first(d).name][self.fields.index(d.field)] for d in self._needed}
        env |= {n: p.to(jet[self.fields[0]].dtype) for n, p in self._points.tensors().items()}
        env |= dict(unknowns or {})
        shape = jet[self.fields[0]].shape[1:]
        found = [torch.as_tensor(e.evaluate(env)).expand(shape) for e in self.system.equations]
        return jet[self.fields[0]], torch.stack(found)

    def channels(self, g: Tensor) -> Tensor:
        """The network's values as (n_fields, n_points)."""
        count, n = self.layer.nodes.size, len(self.fields)
        if tuple(g.shape) not in ((count, n), (count,) if n == 1 else ()):
            raise GridError(
                f"The network gave values of shape {tuple(g.shape)}; ({count}, {n}) was expected, a row for "
                f"each point of coords() and a column for each of {', '.join(self.fields)}."
            )
        return g.reshape(count, n).movedim(-1, 0)

    def sampler(self, points: Any) -> Any:
        """A module (n_fields, n_points) -> jet of the fields alone at scattered points (n, d)."""
        return self.layer.sampler(points, [Derivative(self.fields[0])])

    def _first(self, d: Derivative) -> Derivative:
        return Derivative(self.fields[0], d.orders)
