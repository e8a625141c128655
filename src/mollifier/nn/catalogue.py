"""Networks by name."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from torch import nn

from mollifier.errors import ConfigurationError, did_you_mean
from mollifier.nn.gated import ModifiedMLP, PirateNet
from mollifier.nn.mlp import MLP, FourierMLP
from mollifier.nn.periodic import PeriodicInputs
from mollifier.nn.pinnsformer import PINNsFormer
from mollifier.nn.random_features import RandomFeatures
from mollifier.nn.separable import Separable
from mollifier.nn.siren import SIREN

KINDS: dict[str, type[nn.Module]] = {
    "mlp": MLP,
    "fourier": FourierMLP,
    "modified-mlp": ModifiedMLP,
    "piratenet": PirateNet,
    "pinnsformer": PINNsFormer,
    "siren": SIREN,
    "separable": Separable,
    "random-features": RandomFeatures,
}
# Not a user's choice: they follow from the problem.
_GIVEN = ("inputs", "outputs", "along", "periodic", "waves")


def options(kind: str) -> tuple[str, ...]:
    """Names of the options of a kind of network.

    Raises
    ------
    ConfigurationError
        If the kind is not known.

    Examples
    --------
    >>> options("siren")
    ('width', 'depth', 'frequency')
    """
    if kind not in KINDS:
        raise ConfigurationError(f"There is no network '{kind}'.{did_you_mean(kind, KINDS)}")
    return tuple(n for n in inspect.signature(KINDS[kind]).parameters if n not in _GIVEN)


def make(
    kind: str,
    inputs: int,
    outputs: int,
    periodic: Sequence[bool] | None = None,
    along: int = -1,
    waves: Sequence[float] | None = None,
    **chosen: Any,
) -> nn.Module:
    """A network by name.

    Parameters
    ----------
    kind
        Of `KINDS`.
    inputs, outputs
        Coordinates in, scaled to [-1, 1], and channels out.
    periodic
        Which coordinates repeat after 2, from -1 to 1; none by default.
    along
        The coordinate that is the time, for networks to which it is more than one among others; the last by
        default.
    waves
        Numbers of waves that the field has along each coordinate, for networks that are made for them.
    **chosen
        Options of the kind; those that are None keep their defaults.

    Raises
    ------
    ConfigurationError
        If the kind is not known, has no such option, or a value makes no sense.

    Examples
    --------
    >>> import torch
    >>> net = make("piratenet", 2, 1, periodic=[True, False], width=8)
    >>> ends = net(torch.tensor([[-1.0, 0.2], [1.0, 0.2]]))
    >>> torch.allclose(ends[0], ends[1], atol=1e-5)
    True
    >>> make("piratnet", 2, 1)
    Traceback (most recent call last):
    mollifier.errors.ConfigurationError: There is no network 'piratnet'. Did you mean 'piratenet'?
    """
    known, given = options(kind), {n: v for n, v in chosen.items() if v is not None}
    for name in given:
        if name not in known:
            raise ConfigurationError(
                f"The network '{kind}' has no option '{name}'.{did_you_mean(name, known)}"
            )
    own = inspect.signature(KINDS[kind]).parameters
    periodic = (False,) * inputs if periodic is None else tuple(periodic)
    if "along" in own:
        given["along"] = along
    if "waves" in own:
        given["waves"] = waves
    if "periodic" in own:
        return KINDS[kind](inputs, outputs, periodic=periodic, **given)
    before = PeriodicInputs(periodic)
    network = KINDS[kind](before.outputs, outputs, **given)
    return nn.Sequential(before, network) if any(periodic) else network


def count(network: nn.Module) -> int:
    """Number of weights that are trained.

    Examples
    --------
    >>> count(make("mlp", 2, 1))
    881
    """
    return sum(p.numel() for p in network.parameters() if p.requires_grad)
