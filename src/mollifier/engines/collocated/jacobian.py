"""First derivatives of a network's values with respect to its weights, point by point."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap

# Points whose Jacobian is formed at a time.
_CHUNK = 8192


def network_jacobian(network: nn.Module, points: Tensor) -> Tensor:
    """dg/dtheta of a network (n, d) -> (n, channels), shape (channels, n, weights), float64 on the CPU.

    Each value may depend on its own point only.

    Examples
    --------
    >>> net = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))
    >>> network_jacobian(net, torch.zeros(5, 2)).shape
    torch.Size([1, 5, 13])
    """
    everything = {n: p.detach() for n, p in network.named_parameters()}
    weights = {n: everything[n] for n, p in network.named_parameters() if p.requires_grad}
    fixed = {**everything, **dict(network.named_buffers())}

    def values(chosen: dict[str, Tensor], x: Tensor) -> Tensor:
        return functional_call(network, {**fixed, **chosen}, (x[None],))[0]

    slopes = vmap(jacrev(values), (None, 0), chunk_size=_CHUNK)(weights, points)
    flat = torch.cat([slopes[n].reshape(*slopes[n].shape[:2], -1) for n in weights], dim=-1)
    return flat.double().movedim(1, 0).contiguous().cpu()
