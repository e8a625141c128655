"""Networks by name; listing the names does not load torch."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mollifier.errors import ConfigurationError, check_known
from mollifier.io.registry import Registry

if TYPE_CHECKING:
    from torch import nn

#: Kind -> class, whose constructor takes ``inputs`` and ``outputs``, then its options, all with defaults. An
#: instance maps points (n, inputs), scaled to [-1, 1], to values (n, outputs).
NETWORKS: Registry[type[nn.Module]] = Registry(
    "network",
    {
        "mlp": "mollifier.nn.mlp:MLP",
        "modified-mlp": "mollifier.nn.gated:ModifiedMLP",
        "piratenet": "mollifier.nn.gated:PirateNet",
        "pinnsformer": "mollifier.nn.pinnsformer:PINNsFormer",
        "siren": "mollifier.nn.siren:SIREN",
        "separable": "mollifier.nn.separable:Separable",
        "random-features": "mollifier.nn.random_features:RandomFeatures",
    },
)

# Arguments of constructors that follow from the problem and are no options.
_FROM_PROBLEM = ("inputs", "outputs", "along", "periodic", "waves")


def options(kind: str) -> tuple[str, ...]:
    """Names of the options of a kind of network, read from the signature of its class.

    Raises `ConfigurationError` if the kind is not registered.

    >>> options("siren")
    ('width', 'depth', 'frequency')
    """
    return tuple(n for n in inspect.signature(NETWORKS[kind]).parameters if n not in _FROM_PROBLEM)


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

    Coordinates are scaled to [-1, 1]. Those that are ``periodic`` have the period 2; a class without an
    argument of this name gets their sine and cosine (`PeriodicInputs`). ``along`` is the coordinate that is
    the time, for networks that treat it differently, by default the last, and ``waves`` the standard
    deviation of the field's number of waves along each coordinate, for networks that use it. Options
    ``chosen`` that are None keep their defaults. Raises `ConfigurationError` if the kind is not registered,
    has no such option, or a value is not valid.

    >>> import torch
    >>> net = make("piratenet", 2, 1, periodic=[True, False], width=8)
    >>> ends = net(torch.tensor([[-1.0, 0.2], [1.0, 0.2]]))
    >>> torch.allclose(ends[0], ends[1], atol=1e-5)
    True
    >>> make("piratnet", 2, 1)
    Traceback (most recent call last):
    mollifier.errors.ConfigurationError: There is no network 'piratnet'. Did you mean 'piratenet'?
    """
    from mollifier.nn.periodic import with_periodic_inputs

    given = {n: v for n, v in chosen.items() if v is not None}
    known = options(kind)
    check_known(given, known, ConfigurationError, f"The network '{kind}' has no option '{{}}'.")
    network = NETWORKS[kind]
    accepted = inspect.signature(network).parameters
    given |= {n: v for n, v in {"along": along, "waves": waves}.items() if n in accepted}
    if "periodic" in accepted:
        return network(inputs, outputs, periodic=periodic, **given)
    return with_periodic_inputs(inputs, periodic, lambda columns: network(columns, outputs, **given))
