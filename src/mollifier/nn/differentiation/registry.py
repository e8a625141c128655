"""Methods to differentiate a network on a grid, by name."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from mollifier.errors import ConfigurationError, check_known
from mollifier.io.registry import Registry
from mollifier.mollify.arrays import Array
from mollifier.mollify.grid import Grid
from mollifier.mollify.orders import Derivative
from mollifier.nn.differentiation.base import Derivatives, Observed

#: Name -> class, whose constructor takes grid, orders and observed as `Derivatives`, then its options.
BACKENDS: Registry[type[Derivatives]] = Registry(
    "derivative backend",
    {
        "mollifier": "mollifier.nn.differentiation.mollifier:Mollified",
        "nested": "mollifier.nn.differentiation.nested:Nested",
        "taylor": "mollifier.nn.differentiation.taylor:Taylor",
    },
)


def make(
    kind: str,
    grid: Grid,
    orders: Sequence[Derivative | str | Mapping[str, int]],
    observed: Observed | None = None,
    onto: Mapping[str, Array] | None = None,
    **options: Any,
) -> Derivatives:
    """A derivative backend by name.

    Of its options `Mollified` has kernel, radius, boundary and accuracy, the others have none. Raises
    `ConfigurationError` if the kind is not registered, or has no such option.

    >>> from mollifier.mollify.grid import Axis
    >>> type(make("taylor", Grid(Axis("x", 0.0, 1.0, 5)), ["u_x"])).__name__
    'Taylor'
    >>> make("tailor", Grid(Axis("x", 0.0, 1.0, 5)), ["u_x"])
    Traceback (most recent call last):
    mollifier.errors.ConfigurationError: There is no derivative backend 'tailor'. Did you mean 'taylor'?
    """
    backend = BACKENDS[kind]
    own = ("grid", "orders", "observed", "onto")
    known = [n for n in inspect.signature(backend).parameters if n not in own]
    check_known(options, known, ConfigurationError, f"The {kind} backend has no option '{{}}'.")
    return backend(grid, orders, observed, onto=onto, **options)
