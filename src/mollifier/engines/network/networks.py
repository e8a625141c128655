"""The networks that represent states and unknown fields."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import torch
from torch import nn

from mollifier.engines.collocated.model import Fields, state_groups
from mollifier.engines.network.settings import NetworkSettings
from mollifier.equations.names import time_coordinate
from mollifier.errors import ConfigurationError
from mollifier.nn.layers import trained
from mollifier.nn.random_features import affordable
from mollifier.nn.registry import make
from mollifier.problem.inverse_problem import InverseProblem


class NetworkMaker:
    """Makes the network of some fields (see `mollifier.engines.collocated.model.Maker`).

    A ``network`` that is given serves the states, as a copy. Raises `ConfigurationError` if it is given for
    states over different coordinates.
    """

    def __init__(
        self, problem: InverseProblem, settings: NetworkSettings, network: nn.Module | None = None
    ) -> None:
        groups = [over for over, _ in state_groups(problem)]
        if network is not None and len(groups) > 1:
            raise ConfigurationError(
                f"One network was given, but the fields depend on different coordinates, {groups}: "
                "leave network out, or solve for fields over the same coordinates."
            )
        self.problem, self.settings, self.network = problem, settings, network
        self.dtype = torch.float32 if settings.training.precision == "float32" else torch.float64

    def __call__(self, fields: Fields) -> nn.Module:
        """The network of some fields: (n, d) -> (n, channels)."""
        width, tuning = self.settings.network.width, self.settings.tuning
        if fields.unknown:
            waves = self._waves(fields, tuning.fewest_features, width or tuning.most_unknown_features)
            network = self._new(fields, waves)
            scale_output(network, tuning.unknown_scale)
        elif self.network is None:
            network = self._new(fields, self._waves(fields, width or self._fewest(fields.names)))
        else:
            network = copy.deepcopy(self.network)
            _check(network, len(fields.grid.names), len(fields.names))
        return network.to(self.dtype)

    def _new(self, fields: Fields, waves: Sequence[float]) -> nn.Module:
        """A new network of the kind in the settings."""
        names = fields.grid.names
        time = time_coordinate(names)
        return make(
            inputs=len(names),
            outputs=len(fields.names),
            periodic=[a.periodic for a in fields.grid],
            along=names.index(time) if time else -1,
            waves=waves,
            **self.settings.network.model_dump(),
        )

    def _waves(self, fields: Fields, fewest: float, most: float = math.inf) -> list[float]:
        """Numbers of waves along each axis, from the shortest features of the states."""
        tuning, lengths = self.settings.tuning, {a.name: a.length or 1.0 for a in fields.grid}
        shortest = fields.collocation.features
        waves = [max(tuning.waves * n / shortest.get(c, n), tuning.least_waves) for c, n in lengths.items()]
        return affordable(waves, most, min(fewest, most))

    def _fewest(self, names: Sequence[str]) -> int:
        """Fewest random features of states: more where there are samples for them.

        With few, the states of a large data set cannot satisfy the equation as closely as the data allow.
        """
        tuning = self.settings.tuning
        samples = min(len(self.problem.data.samples(n).values) for n in names if n in self.problem.fields)
        return min(max(samples // tuning.samples_per_feature, tuning.fewest_features), tuning.enough_features)


def scale_output(network: nn.Module, factor: float) -> None:
    """Scale the last linear layer, and set its bias to zero: an unknown field starts near its level."""
    last = [m for m in network.modules() if isinstance(m, nn.Linear)][-1]
    with torch.no_grad():
        last.weight.mul_(factor)
        if last.bias is not None:
            last.bias.zero_()


def _check(network: nn.Module, inputs: int, outputs: int) -> None:
    """Refuse a user's module without weights, or with other inputs and outputs."""
    if not isinstance(network, nn.Module):
        raise ConfigurationError(f"The network was given as {network!r:.60}; a torch module was expected.")
    if not trained(network):
        raise ConfigurationError("The network given has no weights to train; give one with parameters.")
    like = trained(network)[0]
    try:
        with torch.no_grad():
            found = f"values of shape {tuple(network(torch.zeros(2, inputs).to(like)).shape)}"
    except Exception as error:  # whatever a user's module raises
        found = f"an error ({error})"
    if found != f"values of shape {(2, outputs)}":
        raise ConfigurationError(
            f"The network given maps points of shape (2, {inputs}) to {found}; "
            f"(2, {outputs}) was expected: one column for each of the fields."
        )
