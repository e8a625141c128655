"""Unknowns as sums of splines: their basis, their priors, and the bounds of their values."""

from mollifier.splines.basis import AxisSplines, Basis
from mollifier.splines.limits import Limits
from mollifier.splines.prior import Hyper, Prior, Seminorm, TotalVariation, degree, maximise, mixture, prior

__all__ = [
    "AxisSplines",
    "Basis",
    "Hyper",
    "Limits",
    "Prior",
    "Seminorm",
    "TotalVariation",
    "degree",
    "maximise",
    "mixture",
    "prior",
]
