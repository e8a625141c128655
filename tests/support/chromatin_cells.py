"""Simulated cells for the tests of studies."""

import numpy as np
import xarray as xr

from mollifier.chromatin.domains import clusters, domains_from_clusters
from mollifier.chromatin.localizations import Localizations
from mollifier.chromatin.settings import DomainRule


def discs(centres: np.ndarray, radius: float, count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    r = radius * np.sqrt(rng.random((len(centres), count)))
    angle = 2 * np.pi * rng.random((len(centres), count))
    return (centres[:, :1] + r * np.cos(angle)).ravel(), (centres[:, 1:] + r * np.sin(angle)).ravel()


def cell(seed: int = 0, count: int = 60_000, radius: float = 900.0) -> Localizations:
    """A round nucleus with a ring of dense domains."""
    rng = np.random.default_rng(seed)
    angle = np.linspace(0, 2 * np.pi, 5, endpoint=False)
    centres = 0.5 * radius * np.stack([np.cos(angle), np.sin(angle)], 1)
    x, y = discs(centres, 150.0, count // 10, seed)
    a, b = discs(np.zeros((1, 2)), radius, count // 2, seed + 1)
    place = np.stack([np.append(x, a), np.append(y, b)])
    order = rng.permutation(place.shape[1])
    x, y = place[:, order] + 5 * rng.standard_normal(place.shape)
    return Localizations(x, y, precision=np.full(x.size, 5.0))


def round_mask(radius: float = 950.0, pixel: float = 20.0) -> xr.DataArray:
    place = pixel * (np.arange(-55, 55) + 0.5)
    return xr.DataArray(
        np.hypot(place[:, None], place) < radius, {"x": place, "y": place}, ("x", "y"), "inside"
    )


def domains_of(locs, mask, phi_h=None, rule=None):
    """The domains of the clusters of localisations."""
    rule = rule or DomainRule()
    return domains_from_clusters(clusters(locs, mask, phi_h, rule), mask, rule)
