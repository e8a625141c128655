"""Random numbers: what users give as ``rng`` (SPEC 7 of Scientific Python), as a generator or as a seed."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import TypeAlias

import numpy as np

from mollifier.errors import ConfigurationError

Rng: TypeAlias = (
    int | Sequence[int] | np.random.SeedSequence | np.random.BitGenerator | np.random.Generator | None
)


def generator(rng: Rng) -> np.random.Generator:
    """The generator that ``rng`` stands for: itself, one of that seed, or a fresh one for None.

    Raises `ConfigurationError` if it is nothing that `numpy.random.default_rng` takes.
    """
    try:
        if isinstance(rng, bool):
            raise TypeError
        return np.random.default_rng(rng)
    except (TypeError, ValueError):
        raise ConfigurationError(
            f"rng={rng!r} was given; a whole number of 0 or more, a numpy.random.Generator, or None for "
            "fresh draws was expected."
        ) from None


def seed_of(rng: Rng) -> int:
    """The seed of a run that can be repeated: the number given, one drawn from a generator, or a fresh one.

    Raises `ConfigurationError` as `generator` does, or if a number has more than 63 bits.

    >>> seed_of(7), seed_of(np.random.default_rng(0)) == seed_of(np.random.default_rng(0))
    (7, True)
    >>> seed_of(-1)
    Traceback (most recent call last):
    mollifier.errors.ConfigurationError: rng=-1 was given; a whole number of 0 or more, a
    numpy.random.Generator, or None for fresh draws was expected.
    """
    drawn = generator(rng)
    if not isinstance(rng, Integral):
        return int(drawn.integers(2**63))
    if int(rng) >= 2**63:
        raise ConfigurationError(f"rng={rng!r} was given; a seed below 2**63 was expected.")
    return int(rng)
