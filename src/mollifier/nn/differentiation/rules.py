"""Rules of modules for truncated Taylor series (`mollifier.nn.differentiation.series`)."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import reduce
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from mollifier.errors import ConfigurationError
from mollifier.nn.differentiation import series
from mollifier.nn.differentiation.series import Carrier, Function, Series, mapped, scaled, total_of, value
from mollifier.nn.gated import Gates, ModifiedMLP, PirateBlock, PirateNet
from mollifier.nn.layers import Affine, FactorisedLinear, FourierFeatures, Layered, Sine, Wavelet
from mollifier.nn.periodic import PeriodicInputs
from mollifier.nn.pinnsformer import Attention, AttentionBlock, PINNsFormer
from mollifier.nn.separable import Separable


def through(carrier: Carrier, module: nn.Module, x: Series) -> Series:
    """The series after a module.

    Raises
    ------
    ConfigurationError
        If there is no rule for the module.
    """
    kind = _known_kind(module)
    if kind in _FUNCTIONS:
        return carrier.apply(_FUNCTIONS[kind], x)
    if kind not in _RULES:
        known = sorted(t.__name__ for t in (*_RULES, *_FUNCTIONS))
        raise ConfigurationError(
            f"Taylor mode has no rule for the module {type(module).__name__}; there are rules for "
            f"{', '.join(known)}. Take derivatives 'nested' or 'mollifier', which work with any module."
        )
    return _RULES[kind](carrier, module, x)


def _known_kind(module: nn.Module) -> type[nn.Module]:
    """The class whose rule applies: the module's, or a base class whose ``forward`` it inherits."""
    own = type(module)
    kinds = (k for k in own.__mro__ if k in _RULES or k in _FUNCTIONS)
    return next((k for k in kinds if own.forward is k.forward), own)


def _linear(carrier: Carrier, module: nn.Linear, x: Series) -> Series:
    weight = module.product if isinstance(module, FactorisedLinear) else module.weight
    head = functional.linear(value(x), weight, module.bias)
    return [head, *mapped(lambda c: functional.linear(c, weight), x[1:])]


def _affine(carrier: Carrier, module: Affine, x: Series) -> Series:
    return [module(value(x)), *mapped(lambda c: c * module.scale, x[1:])]


def _sequential(carrier: Carrier, module: nn.Sequential, x: Series) -> Series:
    return reduce(lambda y, part: through(carrier, part, y), module, x)


def _wavelet(carrier: Carrier, module: Wavelet, x: Series) -> Series:
    def function(x: Series, carrier: Carrier) -> tuple[Series, Tensor]:
        s, c = series.sine_cosine(x, carrier)
        waves = (mapped(lambda a: module.sine * a, s), mapped(lambda a: module.cosine * a, c))
        return _added(*waves), module.sine * value(c) - module.cosine * value(s)

    return carrier.apply(function, x)


def _fourier(carrier: Carrier, module: FourierFeatures, x: Series) -> Series:
    phase = mapped(lambda c: functional.linear(c, module.frequencies), x)
    s, c = carrier.apply(series.sine, phase), carrier.apply(series.cosine, phase)
    return [None if a is None or b is None else torch.cat([a, b], -1) for a, b in zip(s, c, strict=True)]


def _periodic(carrier: Carrier, module: PeriodicInputs, x: Series) -> Series:
    phase: Series = [scaled(c, math.pi) for c in x]
    sine, cosine = carrier.apply(series.sine, phase), carrier.apply(series.cosine, phase)
    result: Series = []
    for plain, s, c in zip(x, sine, cosine, strict=True):
        if s is None or c is None:
            result.append(None)
            continue
        plain = torch.zeros_like(s) if plain is None else plain.expand_as(s)
        columns = [((s, i), (c, i)) if p else ((plain, i),) for i, p in enumerate(module.periodic)]
        result.append(torch.stack([source[..., i] for group in columns for source, i in group], -1))
    return result


def _layer_norm(carrier: Carrier, module: nn.LayerNorm, x: Series) -> Series:
    over = tuple(range(-len(module.normalized_shape), 0))
    centred = mapped(lambda c: c - c.mean(over, keepdim=True), x)
    variance = mapped(lambda c: c.mean(over, keepdim=True), carrier.bilinear(centred, centred))
    variance[0] = value(variance) + module.eps
    normal = carrier.bilinear(centred, carrier.apply(series.reciprocal_root, variance))
    if module.weight is not None:
        normal = mapped(lambda c: c * module.weight, normal)
    if module.bias is not None:
        normal[0] = value(normal) + module.bias
    return normal


def _added(x: Series, y: Series) -> Series:
    return [total_of([a, b]) for a, b in zip(x, y, strict=True)]


def _between(carrier: Carrier, x: Series, y: Series, share: Series) -> Series:
    """``x + share (y - x)``."""
    step: Series = [series.less(b, a) for a, b in zip(x, y, strict=True)]
    return _added(x, carrier.bilinear(share, step))


def _gates(carrier: Carrier, module: Gates, x: Series) -> tuple[Series, Series]:
    return through(carrier, module.first, x), through(carrier, module.second, x)


def _modified(carrier: Carrier, module: ModifiedMLP, x: Series) -> Series:
    u, v = _gates(carrier, module.gates, x)
    h = through(carrier, module.first, x)
    for layer in module.hidden:
        h = _between(carrier, u, v, through(carrier, layer, h))
    return through(carrier, module.head, h)


def _pirate_block(carrier: Carrier, module: PirateBlock, x: Series, u: Series, v: Series) -> Series:
    first, second, third = module.layers
    h = _between(carrier, v, u, through(carrier, first, x))
    h = _between(carrier, v, u, through(carrier, second, h))
    h = through(carrier, third, h)
    return _added(mapped(lambda c: (1 - module.alpha) * c, x), mapped(lambda c: module.alpha * c, h))


def _piratenet(carrier: Carrier, module: PirateNet, x: Series) -> Series:
    h = through(carrier, module.embedding, x)
    u, v = _gates(carrier, module.gates, h)
    for block in module.blocks:
        assert isinstance(block, PirateBlock)
        h = _pirate_block(carrier, block, h, u, v)
    return through(carrier, module.head, h)


def _separable(carrier: Carrier, module: Separable, x: Series) -> Series:
    factors = [
        through(carrier, part, mapped(lambda c, i=i: c[..., i : i + 1], x))
        for i, part in enumerate(module.parts)
    ]
    return mapped(module.summed, reduce(carrier.bilinear, factors))


def _softmax(carrier: Carrier, x: Series) -> Series:
    """Over the last axis; shifted by the largest value against overflow."""
    shifted: Series = [value(x) - value(x).detach().amax(-1, keepdim=True), *x[1:]]
    powers = carrier.apply(series.exponential, shifted)
    total = mapped(lambda c: c.sum(-1, keepdim=True), powers)
    return carrier.bilinear(powers, carrier.apply(series.reciprocal, total))


def _attention(carrier: Carrier, module: Attention, x: Series, source: Series) -> Series:
    query, key, found = (
        mapped(module.split, _linear(carrier, part, s))
        for part, s in ((module.query, x), (module.key, source), (module.value, source))
    )
    scores = carrier.bilinear(query, key, lambda a, b: module.scale * a @ b.transpose(-1, -2))
    attended = carrier.bilinear(_softmax(carrier, scores), found, torch.matmul)
    return _linear(carrier, module.out, mapped(module.join, attended))


def _attention_block(
    carrier: Carrier, module: AttentionBlock, x: Series, source: Series | None = None
) -> Series:
    y = through(carrier, module.before, x)
    x = _added(x, _attention(carrier, module.attention, y, y if source is None else source))
    return _added(x, through(carrier, module.forth, through(carrier, module.between, x)))


def _pinnsformer(carrier: Carrier, module: PINNsFormer, x: Series) -> Series:
    sequence = mapped(lambda c: c[..., None, :], x)
    sequence[0] = value(sequence) + module.shifts
    mixed = through(carrier, nn.Sequential(module.embedding, module.mixer), sequence)
    source, found = mixed, mapped(lambda c: c[..., :1, :], mixed)
    for block in module.encoder:
        assert isinstance(block, AttentionBlock)
        source = _attention_block(carrier, block, source)
    source = through(carrier, module.encoded, source)
    for block in module.decoder:
        assert isinstance(block, AttentionBlock)
        found = _attention_block(carrier, block, found, source)
    found = through(carrier, nn.Sequential(module.decoded, module.head), found)
    return mapped(lambda c: c[..., 0, :], found)


_FUNCTIONS: dict[type[nn.Module], Function] = {
    nn.Tanh: series.tanh,
    nn.Sigmoid: series.sigmoid,
    nn.SiLU: series.silu,
}
_RULES: dict[type[nn.Module], Callable[[Carrier, Any, Series], Series]] = {
    nn.Identity: lambda carrier, module, x: x,
    nn.Linear: _linear,
    FactorisedLinear: _linear,
    nn.Sequential: _sequential,
    nn.LayerNorm: _layer_norm,
    nn.GELU: lambda carrier, module, x: carrier.apply(
        series.gelu if module.approximate == "none" else series.gelu_tanh, x
    ),
    nn.Softplus: lambda carrier, module, x: carrier.apply(series.softplus(module.beta), x),
    Sine: lambda carrier, module, x: carrier.apply(series.sine, [scaled(c, module.frequency) for c in x]),
    Wavelet: _wavelet,
    Affine: _affine,
    FourierFeatures: _fourier,
    PeriodicInputs: _periodic,
    Layered: lambda carrier, module, x: through(carrier, module.layers, x),
    ModifiedMLP: _modified,
    PirateNet: _piratenet,
    Separable: _separable,
    PINNsFormer: _pinnsformer,
}
