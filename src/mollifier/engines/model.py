"""Networks as fields of the problem: jets on the collocation grid and values where the data are, in physical units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mollifier import derivatives
from mollifier.collocation import Collocation
from mollifier.data import Observations
from mollifier.engines.bijection import Bijection, Scalar
from mollifier.grid import Grid
from mollifier.networks import MLP
from mollifier.networks.periodic import PeriodicInputs
from mollifier.orders import Derivative
from mollifier.problem import InverseProblem
from mollifier.settings import Settings

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Places:
    """Where the fields are observed: a tensor product of coordinates, or scattered points without repeats."""

    coordinates: tuple[str, ...]
    axes: tuple[Array, ...] | None
    points: Array | None

    @classmethod
    def of(cls, data: Observations, variables: Sequence[str]) -> Places:
        """The places of all samples of some variables, which share their coordinates."""
        coordinates = data.coordinates_of(variables[0])
        if data.gridded:
            return cls(coordinates, tuple(a.points for a in data.grid(coordinates)), None)
        points = np.concatenate([data.samples(v).points for v in variables])
        return cls(coordinates, None, np.unique(points, axis=0))

    @property
    def size(self) -> int:
        """Number of places."""
        return len(self.points) if self.points is not None else int(np.prod([len(x) for x in self.axes or ()]))

    def index(self, points: Array) -> NDArray[np.intp]:
        """Flat index of points (n, d) that are among the places."""
        if self.axes is not None:
            found = [np.searchsorted(x, points[:, i]) for i, x in enumerate(self.axes)]
            return np.ravel_multi_index(found, [len(x) for x in self.axes]).astype(np.intp)
        assert self.points is not None
        order = np.unique(np.concatenate([self.points, points]), axis=0, return_inverse=True)[1].reshape(-1)
        return order[len(self.points) :].astype(np.intp)


class Block(nn.Module):
    """One network and the fields that are its channels, over the same coordinates.

    Attributes
    ----------
    names
        Fields, one a channel.
    needed
        Derivatives of each field that the equations name.
    backend
        How derivatives are taken, on the scaled grid.
    """

    def __init__(
        self,
        names: Sequence[str],
        grid: Grid,
        needed: Mapping[str, Sequence[Derivative]],
        network: nn.Module,
        backend: derivatives.Derivatives,
        whole: Grid,
    ) -> None:
        super().__init__()
        self.names = tuple(names)
        self.grid = grid
        self.needed = {n: tuple(needed[n]) for n in names}
        self.network = network
        self.backend = backend
        self.broadcast = tuple(a.size if a.name in grid.names else 1 for a in whole)
        self.half = {a.name: (a.length or 1.0) / 2 for a in grid}
        self.level: Tensor
        self.scale: Tensor
        self.register_buffer("level", torch.zeros(len(self.names), dtype=torch.float64))
        self.register_buffer("scale", torch.ones(len(self.names), dtype=torch.float64))

    def factor(self, derivative: Derivative) -> float:
        """What turns a derivative along scaled coordinates into one along physical ones."""
        return float(np.prod([self.half[c] ** -n for c, n in derivative.orders]))

    def forward(self) -> tuple[dict[str, Tensor], Tensor | None, list[Tensor]]:
        """Physical derivatives by name, each of the whole grid's shape or broadcastable to it; observed values
        (channels, places) if any; and curvatures along scaled coordinates, in units of the scale."""
        jet, observed = self.backend(self.network)
        env: dict[str, Tensor] = {}
        for channel, name in enumerate(self.names):
            for d in self.needed[name]:
                value = jet[Derivative("u", d.orders).name][channel] * (self.scale[channel] * self.factor(d))
                if not d.total:
                    value = value + self.level[channel]
                env[d.name] = value.reshape(self.broadcast)
        if observed is not None:
            observed = observed.flatten(1) * self.scale[:, None] + self.level[:, None]
        return env, observed, [jet[d.name] for d in self.curvatures]

    @property
    def curvatures(self) -> tuple[Derivative, ...]:
        """Second derivatives that the smoothness prior takes: none for a field that is observed."""
        return getattr(self, "_curvatures", ())

    def penalise(self) -> None:
        """Have curvatures returned."""
        self._curvatures = curvature_orders(self.grid)


def curvature_orders(grid: Grid) -> tuple[Derivative, ...]:
    """Every second derivative of a field u on a grid."""
    names = [a.name for a in grid if a.size > 2]
    pairs = [(a, b) for i, a in enumerate(names) for b in names[i:]]
    return tuple(Derivative("u").differentiate(a).differentiate(b) for a, b in pairs)


class Model(nn.Module):
    """Every field and number of the problem.

    Calling it gives the environment that the equations are evaluated in: names -> tensors broadcastable to the
    collocation grid, in physical units and float64; and the observed fields at their places.
    """

    def __init__(
        self,
        problem: InverseProblem,
        collocation: Collocation,
        settings: Settings,
        network: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.problem = problem
        self.collocation = collocation
        needed = problem.system.derivatives
        self.state_blocks = nn.ModuleList()
        self.places: list[Places] = []
        for over, names in _groups(problem).items():
            places = Places.of(problem.data, names)
            block = _block(names, over, needed, collocation, settings, places, network, None)
            self.state_blocks.append(block)
            self.places.append(places)
        self.unknown_blocks = nn.ModuleDict(
            {
                name: _block([name], u.over or (), needed, collocation, settings, None, None, Bijection(u))
                for name, u in problem.unknown_fields.items()
            }
        )
        self.scalars = nn.ModuleDict({name: Scalar(u) for name, u in problem.scalars.items()})
        known = _known(problem, collocation.grid)
        self.known_names = tuple(known)
        for name, value in known.items():
            self.register_buffer(f"known_{name}", torch.as_tensor(value), persistent=False)

    @property
    def blocks(self) -> list[Block]:
        """State blocks, then unknown fields."""
        return [b for b in (*self.state_blocks, *self.unknown_blocks.values()) if isinstance(b, Block)]

    def forward(self) -> tuple[dict[str, Tensor], list[Tensor], dict[str, list[Tensor]]]:
        """Environment, observed values (channels, places) per state block, and curvatures by unknown field."""
        env: dict[str, Tensor] = {n: getattr(self, f"known_{n}") for n in self.known_names}
        env |= {n: s() for n, s in self.scalars.items()}
        observed, curvatures = [], {}
        for block in self.blocks:
            values, seen, bends = block()
            env |= values
            if seen is not None:
                observed.append(seen)
            if bends:
                curvatures[block.names[0]] = bends
        return env, observed, curvatures

    def values(self) -> dict[str, float]:
        """Current values of the scalar unknowns."""
        return {n: float(s().detach()) for n, s in self.scalars.items()}


def _groups(problem: InverseProblem) -> dict[tuple[str, ...], list[str]]:
    """State fields by the coordinates they depend on."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for f in problem.fields:
        groups.setdefault(problem.data.coordinates_of(f), []).append(f)
    return groups


def _block(
    names: Sequence[str],
    over: Sequence[str],
    needed: Mapping[str, Sequence[Derivative]],
    collocation: Collocation,
    settings: Settings,
    places: Places | None,
    network: nn.Module | None,
    bijection: Bijection | None,
) -> Block:
    grid = collocation.grid.subgrid(over)
    scaled = collocation.scaled_grid.subgrid(over)
    orders = {Derivative("u", d.orders) for n in names for d in needed[n]} | {Derivative("u")}
    if bijection is not None:
        orders |= set(curvature_orders(grid))
    options: dict[str, Any] = {}
    if settings.derivatives == "mollifier":
        options = {
            "kernel": collocation.kernel,
            "radius": {n: collocation.scaled_radius[n] for n in scaled.names},
            "accuracy": collocation.accuracy,
        }
    backend = derivatives.make(
        settings.derivatives, scaled, sorted(orders), _scaled_places(places, grid), **options
    )
    dtype = torch.float32 if settings.training.precision == "float32" else torch.float64
    module = nn.Sequential(network or _network(settings, [a.periodic for a in grid], len(names)))
    if bijection is not None:
        _shrink(module)
        module.append(bijection)
    block = Block(names, grid, needed, module.to(dtype), backend, collocation.grid)
    if bijection is not None:
        block.penalise()
    return block


def _network(settings: Settings, periodic: Sequence[bool], outputs: int) -> nn.Module:
    n = settings.network
    inputs = PeriodicInputs(periodic)
    mlp = MLP(
        inputs.outputs,
        outputs,
        width=n.width,
        depth=n.depth,
        activation=n.activation,
        fourier=n.fourier or None,
        fourier_scale=n.fourier_scale,
    )
    return nn.Sequential(inputs, mlp) if any(periodic) else mlp


def _shrink(network: nn.Module) -> None:
    """Start an unknown field near its level: the last linear layer is made small."""
    last = [m for m in network.modules() if isinstance(m, nn.Linear)][-1]
    with torch.no_grad():
        last.weight.mul_(0.1)
        last.bias.zero_()


def _scaled_places(places: Places | None, grid: Grid) -> Any:
    if places is None:
        return None
    middle = np.array([(a.lower + a.upper) / 2 for a in grid])
    half = np.array([(a.length or 1.0) / 2 for a in grid])
    columns = [places.coordinates.index(a.name) for a in grid]
    if places.axes is not None:
        return {
            a.name: (places.axes[c] - m) / h for a, c, m, h in zip(grid, columns, middle, half, strict=True)
        }
    assert places.points is not None
    return (places.points[:, columns] - middle) / half


def _known(problem: InverseProblem, grid: Grid) -> dict[str, Array]:
    """Coordinates and known coefficients that the equations name, shaped to broadcast on the grid."""
    arrays: dict[str, Array] = {}
    used = problem.system.symbols
    for name in used:
        if name in problem.coordinates:
            axis = grid[name]
            arrays[name] = axis.points.reshape([axis.size if a.name == name else 1 for a in grid])
        elif name in problem.known:
            over = problem.data.coordinates_of(name)
            sub = grid.subgrid(over) if over else None
            points = dict(zip(sub.names, sub.coords().T, strict=True)) if sub else {}
            values = problem.data.interpolate(name, points)
            arrays[name] = np.asarray(values).reshape([a.size if a.name in over else 1 for a in grid])
    return arrays
