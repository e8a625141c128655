"""Chromatin as a mixture of three phases whose marks are added and removed: free energy and equation.

Volume fractions of nucleoplasm, euchromatin and heterochromatin add up to one, ``phi_n + phi_e + phi_h = 1``;
with ``phi_d = phi_h - phi_e`` and Gamma_ac, Gamma_me the rates of acetylation and methylation,

    phi_d_t = D lap(mu_d) + 2 Gamma_ac (lam phi_e - phi_h),   lam = Gamma_me / Gamma_ac,
    phi_e = (1 - phi_n - phi_d)/2,   phi_h = (1 - phi_n + phi_d)/2,

the model of Kant et al. (Nat Commun 15:4338, 2024). The chemical potential mu_d is the derivative of the free
energy (`FreeEnergy`) by phi_d at fixed phi_n. Its parameters are assumptions: an image does not show them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from mollifier.chromatin.ranges import named, require
from mollifier.errors import ConfigurationError

RATE = "lam"  #: The unknown's name in the equation's text: methylation over acetylation.


@dataclass(frozen=True)
class FreeEnergy:
    """Free energy of the mixture, in the units in which D is measured:

        F = integral  well phi_h^2 (packed - phi_h)^2 + mixing phi_e^2
                      + interface^2/2 |grad phi_d|^2 - adhesion phi_h exp(-d/reach)

    with d the distance from the nuclear edge. Raises `ConfigurationError` if a strength is negative or not
    finite, or a length or ``packed`` is not positive.
    """

    well: float = 6.0  #: Depth of the double well of heterochromatin between 0 and ``packed``.
    mixing: float = 1.0  #: Energy of dilution in euchromatin.
    packed: float = 1.0  #: Volume fraction of heterochromatin at its densest packing.
    #: Length scale of the gradient energy, about the width of an interface; nm in physical units.
    interface: float = 45.0
    adhesion: float = 0.0  #: Attraction of heterochromatin by the lamina; 0 for none.
    reach: float = 50.0  #: Range of the attraction by the lamina; nm in physical units.

    def __post_init__(self) -> None:
        require(named("", self, "well", "mixing", "adhesion"))
        require(named("", self, "packed", "interface", "reach"), above=True)


@dataclass(frozen=True)
class ChromatinModel:
    """The equation with its parameters, in nm and s unless it was `scaled`.

    Raises `ConfigurationError` if a parameter is not a positive number.

    >>> model = ChromatinModel(diffusion=80.0, acetylation=2e-3)
    >>> model.length, model.time
    (200.0, 500.0)
    >>> scaled = model.scaled()
    >>> scaled.diffusion, scaled.acetylation, scaled.energy.interface
    (1.0, 1.0, 0.225)
    >>> print(scaled.equation())
    2*phi_h_t = lap(12.0*phi_h^3 - 18.0*phi_h^2 + 7.0*phi_h) - 0.10125*bilap(phi_h) + 2.0*(lam*(chromatin -
    phi_h) - phi_h) + source
    """

    energy: FreeEnergy = field(default_factory=FreeEnergy)  #: The free energy.
    diffusion: float = 80.0  #: D, nm^2/s.
    acetylation: float = 2e-3  #: Gamma_ac, 1/s.

    def __post_init__(self) -> None:
        require(named("", self, "diffusion", "acetylation"), above=True)

    @property
    def length(self) -> float:
        """Diffusion length of a mark in its lifetime, ``sqrt(D/Gamma_ac)``: the unit of scaled lengths."""
        return math.sqrt(self.diffusion / self.acetylation)

    @property
    def time(self) -> float:
        """``1/Gamma_ac``, the unit of scaled times."""
        return 1 / self.acetylation

    def scaled(self) -> ChromatinModel:
        """In units of `length` and `time`: D and Gamma_ac are 1."""
        lengths = {n: getattr(self.energy, n) / self.length for n in ("interface", "reach")}
        return ChromatinModel(replace(self.energy, **lengths), 1.0, 1.0)

    def bulk_potential(self, phi_h: Any, phi_e: Any) -> Any:
        """Derivative of the bulk energy by phi_d, ``(f_h - f_e)/2``, for arrays that broadcast."""
        e = self.energy
        return e.well * phi_h * (e.packed - phi_h) * (e.packed - 2 * phi_h) - e.mixing * phi_e

    def lamina_potential(self, depth: Any) -> Any:
        """Half the attraction by the lamina, at distances from the nuclear edge."""
        return self.energy.adhesion / 2 * np.exp(-depth / self.energy.reach)

    def bulk_slopes(self, phi_h: Any) -> tuple[Any, Any, float]:
        """First to third derivative of `bulk_potential` by phi_d at fixed phi_n; the third is a number.

        >>> model, step = ChromatinModel(), 1e-4
        >>> low, high = (model.bulk_potential(0.3 + d / 2, 0.6 - d / 2) for d in (-step, step))
        >>> bool(abs((high - low) / (2 * step) - model.bulk_slopes(0.3)[0]) < 1e-6)
        True
        """
        e = self.energy
        first = e.well / 2 * (e.packed**2 - 6 * e.packed * phi_h + 6 * phi_h**2) + e.mixing / 2
        return first, e.well * (3 * phi_h - 1.5 * e.packed), 1.5 * e.well

    def equation(self, still: bool = False) -> str:
        """The equation's text, written for phi_h: phi_d is ``2 phi_h - chromatin``.

        ``chromatin`` is 1 - phi_n, and ``source`` the terms of a known phi_n(x, y, t) and of the lamina that
        do not depend on phi_h, zero where phi_n is one number and the lamina does not attract,

            D lap(interface^2 lap(q) - mixing q - adhesion/2 exp(-d/reach)) + q_t,   q = 1 - phi_n.

        A ``still`` equation is that of a steady state.
        """
        e, D = self.energy, self.diffusion
        cubic, square = 2 * D * e.well, 3 * D * e.well * e.packed
        terms = [
            f"lap({cubic!r}*phi_h^3 - {square!r}*phi_h^2 + {D * (e.well * e.packed**2 + e.mixing)!r}*phi_h)",
            f"- {2 * D * e.interface**2:.12g}*bilap(phi_h)",
            f"+ {2 * self.acetylation!r}*({RATE}*(chromatin - phi_h) - phi_h) + source",
        ]
        return f"{'0' if still else '2*phi_h_t'} = {' '.join(terms)}"


def geometric_rate(radius: float, spacing: float) -> float:
    """lam from the radius of domains and the spacing of their centres in one unit, ``1/((d/R)^2 - 1)``.

    The balance of a round domain between diffusion into it and acetylation within it (after Kant et al.,
    2024): an estimate to compare with a map; it has no standard error. Raises `ConfigurationError` if the
    domains would overlap or a length is not positive.

    >>> round(geometric_rate(100.0, 300.0), 3)
    0.125
    """
    require({"radius": radius}, above=True)
    if not (math.isfinite(spacing) and spacing > radius):
        raise ConfigurationError(
            f"A spacing of {spacing} was given for domains of radius {radius}; a larger one was expected."
        )
    return 1 / ((spacing / radius) ** 2 - 1)
