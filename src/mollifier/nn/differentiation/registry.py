"""Ways to differentiate a network on a grid, behind one protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mollifier.errors import ConfigurationError, did_you_mean
from mollifier.mollify.grid import Grid
from mollifier.mollify.orders import Derivative
from mollifier.nn.differentiation.base import Derivatives, Observed
from mollifier.nn.differentiation.finite_difference import FiniteDifference
from mollifier.nn.differentiation.mollifier import Mollified
from mollifier.nn.differentiation.nested import Nested
from mollifier.nn.differentiation.taylor import Taylor, TaylorOperator

KINDS: dict[str, type[Derivatives]] = {
    "mollifier": Mollified,
    "nested": Nested,
    "taylor": Taylor,
    "finite-difference": FiniteDifference,
}

__all__ = [
    "KINDS",
    "Derivatives",
    "FiniteDifference",
    "Mollified",
    "Nested",
    "Taylor",
    "TaylorOperator",
    "make",
]


def make(
    kind: str,
    grid: Grid,
    orders: Sequence[Derivative | str | Mapping[str, int]],
    observed: Observed | None = None,
    **options: Any,
) -> Derivatives:
    """A derivative backend by name.

    Parameters
    ----------
    kind
        "mollifier", "nested", "taylor" or "finite-difference".
    grid, orders, observed
        As in `Derivatives`.
    **options
        Of the backend: kernel, radius, boundary and accuracy of `Mollified`; the others take none.

    Raises
    ------
    ConfigurationError
        If the kind is not known, or has no such option.

    Examples
    --------
    >>> from mollifier.mollify.grid import Axis
    >>> type(make("taylor", Grid(Axis("x", 0.0, 1.0, 5)), ["u_x"])).__name__
    'Taylor'
    >>> make("tailor", Grid(Axis("x", 0.0, 1.0, 5)), ["u_x"])
    Traceback (most recent call last):
    mollifier.errors.ConfigurationError: There is no derivative backend 'tailor'. Did you mean 'taylor'?
    """
    if kind not in KINDS:
        raise ConfigurationError(f"There is no derivative backend '{kind}'.{did_you_mean(kind, KINDS)}")
    known = ("kernel", "radius", "boundary", "accuracy") if kind == "mollifier" else ()
    for name in options:
        if name not in known:
            takes = did_you_mean(name, known) or " It takes none."
            raise ConfigurationError(f"The {kind} backend has no option '{name}'.{takes}")
    return KINDS[kind](grid, orders, observed, **options)
