"""Benchmark problems that carry their equation, truth, noise, source and when they fail."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks.cases import (
    advection_diffusion,
    allen_cahn,
    burgers,
    chromatin,
    fisher_kpp,
    inverse_heat,
    inverse_poisson,
    kdv,
    kuramoto_sivashinsky,
    langevin,
    plate,
    reaction_rate,
    vorticity,
)
from benchmarks.cases.base import Case
from benchmarks.cases.burgers import read_burgers
from mollifier.errors import ConfigurationError, did_you_mean

CASES: dict[str, Callable[..., Case]] = {
    "advection_diffusion": advection_diffusion.build,
    "allen_cahn": allen_cahn.build,
    "burgers": burgers.build,
    "chromatin": chromatin.build,
    "chromatin_line": partial(chromatin.build, dimensions=1),
    "fisher_kpp": fisher_kpp.build,
    "inverse_heat": inverse_heat.build,
    "inverse_poisson": inverse_poisson.build,
    "kdv": kdv.build,
    "kuramoto_sivashinsky": kuramoto_sivashinsky.build,
    "langevin": langevin.build,
    "heat": plate.build,
    "heat_laplacian": partial(plate.build, laplacian=True),
    "reaction_rate": reaction_rate.build,
    "vorticity": vorticity.build,
}


def case(name: str, **sizes: Any) -> Case:
    """A case by name; a simulation runs at first use, and only once (see `store`).

    Parameters
    ----------
    name
        One of `CASES`.
    sizes
        Keywords of the case's own function, such as ``nodes`` and ``frames``.

    Raises
    ------
    ConfigurationError
        If there is no such case.

    Examples
    --------
    >>> case("burger")
    Traceback (most recent call last):
    mollifier.errors.ConfigurationError: There is no case 'burger'. Did you mean 'burgers'?
    """
    if name not in CASES:
        raise ConfigurationError(f"There is no case '{name}'.{did_you_mean(name, CASES)}")
    return CASES[name](**sizes)


__all__ = ["CASES", "Case", "case", "read_burgers"]
