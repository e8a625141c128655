"""Networks as fields of the problem: jets on the collocation grid, values at the data, in physical units."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mollifier.engines.collocated.bijection import Bijection, Scalar
from mollifier.engines.collocated.places import Places
from mollifier.engines.collocated.settings import CollocatedSettings
from mollifier.engines.network.settings import NetworkSettings
from mollifier.equations.names import time_coordinate
from mollifier.errors import ConfigurationError
from mollifier.mollify.grid import Grid
from mollifier.mollify.orders import Derivative
from mollifier.nn.differentiation import registry as derivatives
from mollifier.nn.differentiation.mollifier import Mollified
from mollifier.nn.layers import trained
from mollifier.nn.random_features import affordable
from mollifier.nn.registry import make
from mollifier.problem.collocation import Collocation
from mollifier.problem.inverse_problem import InverseProblem

Array = NDArray[np.float64]

# The coordinate that networks take as the time, if there is one.
# Standard deviation of the number of waves that a field has along an axis, for each of its shortest features
# (the range over the steepest slope) that fit in, and the least; fewest and most random features of
# unknowns. States have as many as the former, and up to more than the latter where there are data for them:
# with 150 that of a plate does not obey its equation as closely as 4,000 readings ask.
_WAVES, _LEAST_WAVES = 0.6, 0.2
_FEWEST, _MOST_UNKNOWN = 150, 300
_PER_FEATURE, _ENOUGH = 4, 400

Maker = Callable[[derivatives.Derivatives, int, bool], nn.Module]
"""Backend, channels, whether it stands for an unknown -> module (n, d) -> (n, channels), float64."""


class Block(nn.Module):
    """One network and the fields that are its channels, over the same coordinates.

    Attributes
    ----------
    names
        Fields, one a channel.
    needed
        Derivatives of each field that the equations name.
    network
        Scaled coordinates (n, d) -> values (n, channels) in units of the scale.
    backend
        How derivatives are taken, on the scaled grid.
    bijection
        What keeps an unknown field within its bounds: the last part of its network. None for a state.
    curvatures
        Second derivatives that the smoothness prior takes: none for a state.
    level, scale
        Buffers of shape (channels,): a state is ``level + scale * network``.
    """

    def __init__(
        self,
        names: Sequence[str],
        grid: Grid,
        needed: Mapping[str, Sequence[Derivative]],
        network: nn.Module,
        backend: derivatives.Derivatives,
        whole: Grid,
        bijection: Bijection | None = None,
    ) -> None:
        super().__init__()
        self.names = tuple(names)
        self.grid = grid
        self.needed = {n: tuple(needed[n]) for n in names}
        self.network = network if bijection is None else nn.Sequential(network, bijection)
        self.bijection = bijection
        self.backend = backend
        self.curvatures = () if bijection is None else curvature_orders(grid)
        self.broadcast = tuple(a.size if a.name in grid.names else 1 for a in whole)
        self._half_lengths = {a.name: (a.length or 1.0) / 2 for a in grid}
        self.level: Tensor
        self.scale: Tensor
        self.register_buffer("level", torch.zeros(len(self.names), dtype=torch.float64))
        self.register_buffer("scale", torch.ones(len(self.names), dtype=torch.float64))

    @property
    def mollified(self) -> Mollified:
        """The backend, where it is the mollifier.

        Raises
        ------
        ConfigurationError
            If it is another.
        """
        if not isinstance(self.backend, Mollified):
            raise ConfigurationError(
                "Gauss-Newton takes derivatives by the mollifier layer; with derivatives 'nested' or "
                "'taylor' set training.optimiser to 'lbfgs' or leave it 'auto'."
            )
        return self.backend

    def nodes(self) -> Tensor:
        """Where the network is evaluated for the mollifier, scaled, (n, d)."""
        return self.mollified.nodes(self.network)

    def factor(self, derivative: Derivative) -> float:
        """What turns a derivative along scaled coordinates into one along physical ones."""
        return float(np.prod([self._half_lengths[c] ** -n for c, n in derivative.orders]))

    def physical(self, values: Tensor) -> Tensor:
        """Values (channels, ...) in units of the scale as physical ones, (channels, n)."""
        return values.flatten(1) * self.scale[:, None] + self.level[:, None]

    def forward(self) -> tuple[dict[str, Tensor], Tensor | None, list[Tensor]]:
        """The block's part of the environment, what is observed of it, and its curvatures.

        Returns
        -------
        environment
            Physical derivatives by name, each of the whole grid's shape or broadcastable to it.
        observed
            Physical values (channels, places), or None where nothing is observed.
        curvatures
            Along scaled coordinates, in units of the scale.
        """
        jet, observed = self.backend(self.network)
        env: dict[str, Tensor] = {}
        for channel, name in enumerate(self.names):
            for d in self.needed[name]:
                value = jet[Derivative("u", d.orders).name][channel] * (self.scale[channel] * self.factor(d))
                if not d.total:
                    value = value + self.level[channel]
                env[d.name] = value.reshape(self.broadcast)
        if observed is not None:
            observed = self.physical(observed)
        return env, observed, [jet[d.name] for d in self.curvatures]


def curvature_orders(grid: Grid) -> tuple[Derivative, ...]:
    """Every second derivative of a field u on a grid."""
    names = [a.name for a in grid if a.size > 2]
    pairs = [(a, b) for i, a in enumerate(names) for b in names[i:]]
    return tuple(Derivative("u").differentiate(a).differentiate(b) for a, b in pairs)


class Model(nn.Module):
    """Every field and number of the problem.

    Calling it gives the environment that the equations are evaluated in: names -> tensors broadcastable to
    the collocation grid, in physical units and float64; and the observed fields at their places.

    Attributes
    ----------
    places
        Where each block is observed, by its number among the blocks: states by the data, unknown fields by
        their readings.
    state_blocks
        Networks of the observed fields, by the coordinates they depend on.
    unknown_blocks
        Unknown field -> its network.
    scalars
        Unknown number -> its parameter.

    Parameters
    ----------
    problem, collocation, settings
        The question, where the equation is imposed, the choices of the run.
    network
        A module that stands for the states, copied; one of the kind in the settings where it is not given.
    maker
        What makes the modules that stand for states and unknown fields; networks where it is not given.
    """

    def __init__(
        self,
        problem: InverseProblem,
        collocation: Collocation,
        settings: CollocatedSettings,
        network: nn.Module | None = None,
        maker: Maker | None = None,
    ) -> None:
        super().__init__()
        self.problem = problem
        self.collocation = collocation
        groups = _groups(problem)
        if network is not None and len(groups) > 1:
            raise ConfigurationError(
                f"One network was given, but the fields depend on different coordinates, {list(groups)}: "
                "leave network out, or solve for fields over the same coordinates."
            )
        self.places = {b: Places.of(problem.data, names) for b, names in enumerate(groups.values())}
        for i, name in enumerate(problem.unknown_fields):
            if name in problem.readings:
                self.places[len(groups) + i] = Places.at(problem.readings[name])
        states = [
            _state_block(self, names, over, self.places[b], settings, network, maker)
            for b, (over, names) in enumerate(groups.items())
        ]
        self.state_blocks = states
        self.unknown_blocks = {n: _unknown_block(self, n, settings, maker) for n in problem.unknown_fields}
        self.scalars = {n: Scalar(u) for n, u in problem.scalars.items()}
        # Lists, not dictionaries: an unknown may bear the name of one of a module's methods.
        self._states = nn.ModuleList(states)
        self._fields = nn.ModuleList(self.unknown_blocks.values())
        self._numbers = nn.ModuleList(self.scalars.values())
        known = _known(problem, collocation.grid)
        self._known_names = tuple(known)
        for name, value in known.items():
            self.register_buffer(f"known_{name}", torch.as_tensor(value), persistent=False)

    @property
    def blocks(self) -> list[Block]:
        """State blocks, then unknown fields."""
        return [*self.state_blocks, *self.unknown_blocks.values()]

    @property
    def known(self) -> dict[str, Tensor]:
        """Coordinates and known coefficients that the equations name, broadcastable to the grid."""
        return {n: self.get_buffer(f"known_{n}") for n in self._known_names}

    def forward(self) -> tuple[dict[str, Tensor], dict[int, Tensor], dict[str, list[Tensor]]]:
        """Environment, observed values (channels, places) by block, curvatures by unknown field."""
        env: dict[str, Tensor] = self.known | {n: s() for n, s in self.scalars.items()}
        observed: dict[int, Tensor] = {}
        curvatures = {}
        for b, block in enumerate(self.blocks):
            values, seen, bends = block()
            env |= values
            if seen is not None:
                observed[b] = seen
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


def _state_block(
    model: Model,
    names: Sequence[str],
    over: Sequence[str],
    places: Places,
    settings: CollocatedSettings,
    network: nn.Module | None,
    maker: Maker | None,
) -> Block:
    collocation, needed = model.collocation, model.problem.system.derivatives
    grid = collocation.grid.subgrid(over)
    orders = {Derivative("u", d.orders) for n in names for d in needed[n]} | {Derivative("u")}
    backend = _backend(collocation, settings, over, orders, places.scaled(grid))
    if maker is not None:
        return Block(names, grid, needed, maker(backend, len(names), False), backend, collocation.grid)
    assert isinstance(settings, NetworkSettings)
    if network is None:
        fewest = settings.network.width or _fewest(model.problem, names)
        module = _network(settings, grid, len(names), _waves(collocation, grid, fewest))
    else:
        module = _fitting(copy.deepcopy(network), len(over), len(names))
    return Block(names, grid, needed, module.to(_dtype(settings)), backend, collocation.grid)


def _unknown_block(model: Model, name: str, settings: CollocatedSettings, maker: Maker | None) -> Block:
    collocation, needed = model.collocation, model.problem.system.derivatives
    unknown = model.problem.unknown_fields[name]
    over = unknown.over or ()
    grid = collocation.grid.subgrid(over)
    orders = {Derivative("u", d.orders) for d in needed[name]} | {Derivative("u"), *curvature_orders(grid)}
    places = model.places.get(len(model.state_blocks) + list(model.problem.unknown_fields).index(name))
    backend = _backend(collocation, settings, over, orders, None if places is None else places.scaled(grid))
    if maker is not None:
        module, dtype = maker(backend, 1, True), torch.float64
    else:
        assert isinstance(settings, NetworkSettings)
        most = settings.network.width or _MOST_UNKNOWN
        module = _network(settings, grid, 1, _waves(collocation, grid, _FEWEST, most))
        dtype = _dtype(settings)
        _shrink(module)
    bounds = Bijection(unknown).to(dtype)
    return Block([name], grid, needed, module.to(dtype), backend, collocation.grid, bounds)


def _dtype(settings: NetworkSettings) -> torch.dtype:
    return torch.float32 if settings.training.precision == "float32" else torch.float64


def _backend(
    collocation: Collocation,
    settings: CollocatedSettings,
    over: Sequence[str],
    orders: set[Derivative],
    observed: Any,
) -> derivatives.Derivatives:
    options: dict[str, Any] = {}
    kind = settings.derivatives if isinstance(settings, NetworkSettings) else "mollifier"
    if kind == "mollifier":
        options = {
            "kernel": collocation.kernel,
            "radius": {c: collocation.scaled_radius[c] for c in over},
            "accuracy": collocation.accuracy,
        }
    grid = collocation.scaled_grid.subgrid(over)
    return derivatives.make(kind, grid, sorted(orders), observed, **options)


def _waves(collocation: Collocation, grid: Grid, fewest: float, most: float = math.inf) -> list[float]:
    """Waves along each axis, by the states' shortest features, that so many random features can fill."""
    lengths = {a.name: a.length or 1.0 for a in grid}
    waves = [max(_WAVES * lengths[c] / collocation.features[c], _LEAST_WAVES) for c in grid.names]
    return affordable(waves, most, min(fewest, most))


def _fewest(problem: InverseProblem, names: Sequence[str]) -> int:
    """Random features that states have at least."""
    samples = min(len(problem.data.samples(n).values) for n in names)
    return min(max(samples // _PER_FEATURE, _FEWEST), _ENOUGH)


def _network(settings: NetworkSettings, grid: Grid, outputs: int, waves: Sequence[float]) -> nn.Module:
    """A new network of the kind asked for, on the scaled coordinates of a grid."""
    time = time_coordinate(grid.names)
    along = grid.names.index(time) if time else -1
    return make(
        inputs=len(grid.names),
        outputs=outputs,
        periodic=[a.periodic for a in grid],
        along=along,
        waves=waves,
        **settings.network.model_dump(),
    )


def _fitting(network: nn.Module, inputs: int, outputs: int) -> nn.Module:
    """A module given by the user, if it takes and gives what is wanted."""
    if not trained(network):
        raise ConfigurationError("The network given has no weights to train; give one with parameters.")
    like = trained(network)[0]
    with torch.no_grad():
        shape = tuple(network(torch.zeros(2, inputs).to(like)).shape)
    if shape != (2, outputs):
        raise ConfigurationError(
            f"The network given turns points of shape (2, {inputs}) into values of shape {shape}; "
            f"(2, {outputs}) was wanted: one column for each of the fields."
        )
    return network


def _shrink(network: nn.Module) -> None:
    """Start an unknown field near its level: the last linear layer is made small."""
    last = [m for m in network.modules() if isinstance(m, nn.Linear)][-1]
    with torch.no_grad():
        last.weight.mul_(0.1)
        if last.bias is not None:
            last.bias.zero_()


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
