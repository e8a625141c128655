"""Truncated Taylor series in place of tensors: they pass through a network's functions, one rule for each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from mollifier.errors import ConfigurationError
from mollifier.nn.differentiation import series
from mollifier.nn.differentiation.series import Carrier, Function, Series, less, mapped, total_of, value

_ELSE = "Take derivatives 'nested' or 'mollifier', which work with any module."


def through(carrier: Carrier, module: nn.Module, x: Series) -> Series:
    """The series after a module, whatever it is made of.

    Raises `ConfigurationError` if it calls a function without a rule.
    """
    return module(Traced(carrier, x)).series


class Traced:
    """A series that torch's functions and a tensor's methods and operators take for a tensor (n, ...).

    Methods that take dimensions take them from the last, as -1, and indices begin with an ellipsis: before
    the points, a coefficient has a dimension of directions.
    """

    def __init__(self, carrier: Carrier, x: Series) -> None:
        self.carrier, self.series = carrier, x

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Traced:
        return _called(func.__name__.strip("_"), *args, **(kwargs or {}))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return partial(_called, name, self)

    def __getitem__(self, key: Any) -> Traced:
        return _called("getitem", self, key)

    def __add__(self, other: Any) -> Traced:
        return _called("add", self, other)

    def __sub__(self, other: Any) -> Traced:
        return _called("sub", self, other)

    def __rsub__(self, other: Any) -> Traced:
        return -1.0 * self + other

    def __mul__(self, other: Any) -> Traced:
        return _called("mul", self, other)

    def __truediv__(self, other: Any) -> Traced:
        return _called("div", self, other)

    def __rtruediv__(self, other: Any) -> Traced:
        return torch.reciprocal(self) * other  # type: ignore[arg-type]

    def __matmul__(self, other: Any) -> Traced:
        return _called("matmul", self, other)

    def __neg__(self) -> Traced:
        return -1.0 * self

    __radd__, __rmul__ = __add__, __mul__


def _called(name: str, *args: Any, **kwargs: Any) -> Traced:
    """A function of series and tensors by its name in torch."""
    if name not in _RULES:
        raise ConfigurationError(
            f"Taylor mode has no rule for the function '{name}'; there are rules for "
            f"{', '.join(sorted(_RULES))}. {_ELSE}"
        )
    some = [a for a in (*args, *kwargs.values()) if isinstance(a, Traced)]
    some += [a for arg in args if isinstance(arg, list | tuple) for a in arg if isinstance(a, Traced)]
    found = _RULES[name](*args, **kwargs)
    return found if isinstance(found, Traced) else Traced(some[0].carrier, found)


def _whole(x: Traced) -> Series:
    """Coefficients that are as wide as the value along all dimensions but the points'."""
    rest = value(x.series).shape[2:]
    return mapped(lambda c: c.expand(*c.shape[:2], *rest), x.series)


def _entrywise(function: Function) -> Callable[[Traced], Series]:
    return lambda x, **_: x.carrier.apply(function, x.series)


def _along(name: str, dimensions: int) -> Callable[..., Series]:
    """A tensor's method that is linear in it, and whose first arguments are dimensions."""

    def rule(x: Traced, *args: Any, **kwargs: Any) -> Series:
        given = [d for a in args[:dimensions] for d in (a if isinstance(a, tuple | list) else [a])]
        given += [kwargs["dim"]] if "dim" in kwargs else []
        if not given or max(given) >= 0:
            raise ConfigurationError(
                f"Taylor mode takes '{name}' along dimensions counted from the last, as -1. {_ELSE}"
            )
        return mapped(lambda c: getattr(c, name)(*args, **kwargs), _whole(x))

    return rule


def _getitem(x: Traced, key: Any) -> Series:
    if not (isinstance(key, tuple) and key and key[0] is Ellipsis):
        raise ConfigurationError(
            f"Taylor mode takes indices that begin with an ellipsis, as x[..., 0]. {_ELSE}"
        )
    return mapped(lambda c: c[key], _whole(x))


def _added(x: Any, y: Any, sign: float = 1.0) -> Series:
    if not isinstance(x, Traced):
        x, y, first = y, x, sign
        return [first * value(x.series) + y, *mapped(lambda c: first * c, x.series[1:])]
    if not isinstance(y, Traced):
        return [value(x.series) + sign * y, *x.series[1:]]
    pairs = zip(x.series, y.series, strict=True)
    return [less(a, b) if sign < 0 else total_of([a, b]) for a, b in pairs]


def _product(of: Callable[[Any, Any], Any], x: Any, y: Any) -> Series:
    """What is linear in either: of two series, or of one and a constant."""
    if not isinstance(x, Traced):
        return mapped(lambda c: of(x, c), y.series)
    if not isinstance(y, Traced):
        return mapped(lambda c: of(c, y), x.series)
    return x.carrier.bilinear(x.series, y.series, of)


def _matmul(x: Any, y: Any) -> Series:
    x, y = (Traced(a.carrier, _whole(a)) if isinstance(a, Traced) else a for a in (x, y))
    return _product(torch.matmul, x, y)


def _linear(x: Traced, weight: Tensor, bias: Tensor | None = None) -> Series:
    head = functional.linear(value(x.series), weight, bias)
    return [head, *mapped(lambda c: functional.linear(c, weight), x.series[1:])]


def _joined(of: Callable[..., Tensor], parts: Sequence[Traced], dim: int = 0) -> Series:
    """Series one beside another along the last dimension, or along a new one."""
    if dim != -1:
        raise ConfigurationError(f"Taylor mode joins along the last dimension, dim=-1. {_ELSE}")
    found: Series = []
    for same in zip(*(p.series for p in parts), strict=True):
        if all(c is None for c in same):
            found.append(None)
            continue
        whole = [
            torch.zeros_like(value(p.series)) if c is None else c for p, c in zip(parts, same, strict=True)
        ]
        lead = torch.broadcast_shapes(*(c.shape[: c.ndim - (of is torch.cat)] for c in whole))
        found.append(of([c.expand(*lead, *c.shape[len(lead) :]) for c in whole], -1))
    return found


def _softmax(x: Traced, dim: int = -1, **_: Any) -> Any:
    """Shifted by the largest value against overflow."""
    powers: Any = torch.exp(x - value(x.series).detach().amax(dim, keepdim=True))  # type: ignore[arg-type]
    return powers / powers.sum(dim, keepdim=True)


def _layer_norm(x: Any, shape: Sequence[int], weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
    over = tuple(range(-len(shape), 0))
    centred = x - x.mean(over, keepdim=True)
    found = centred * torch.rsqrt((centred * centred).mean(over, keepdim=True) + eps)
    found = found if weight is None else found * weight
    return found if bias is None else found + bias


_RULES: dict[str, Callable[..., Any]] = {
    "add": _added,
    "sub": partial(_added, sign=-1.0),
    "mul": partial(_product, torch.mul),
    "div": lambda x, y: x * (torch.reciprocal(y) if isinstance(y, Traced) else 1.0 / y),  # type: ignore
    "matmul": _matmul,
    "linear": _linear,
    "lerp": lambda x, y, weight: x + weight * (y - x),
    "cat": partial(_joined, torch.cat),
    "stack": partial(_joined, torch.stack),
    "getitem": _getitem,
    **{n: _along(n, 1) for n in ("unflatten", "flatten", "sum", "mean", "unsqueeze", "squeeze")},
    "transpose": _along("transpose", 2),
    "softmax": _softmax,
    "layer_norm": _layer_norm,
    "square": lambda x: x * x,
    "tanh": _entrywise(series.tanh),
    "sigmoid": _entrywise(series.sigmoid),
    "silu": _entrywise(series.silu),
    "sin": _entrywise(series.sine),
    "cos": _entrywise(series.cosine),
    "exp": _entrywise(series.exponential),
    "reciprocal": _entrywise(series.reciprocal),
    "rsqrt": _entrywise(series.reciprocal_root),
    "gelu": lambda x, approximate="none": x.carrier.apply(
        series.gelu if approximate == "none" else series.gelu_tanh, x.series
    ),
    "softplus": lambda x, beta=1.0, threshold=20.0: x.carrier.apply(series.softplus(beta), x.series),
}
