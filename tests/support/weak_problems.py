"""Problems with known answers for the tests of the weak engine."""

from __future__ import annotations

import numpy as np
import xarray as xr

from mollifier.data.observations import Observations
from mollifier.engines.solve import solve
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.unknowns import ScalarUnknown

# An estimate further than this many standard errors from the truth comes once in 16,000.
SURE = 4.0
X, T = np.linspace(0, 2, 60), np.linspace(0, 1, 50)
D = {"D": ScalarUnknown()}


def heat(x, t):
    """u_t = 0.1 u_xx."""
    return np.exp(-0.9 * t) * np.sin(3 * x) + 0.5 * np.exp(-2.5 * t) * np.cos(5 * x)


def burgers(x, t):
    """u_t + u u_x = 0.1 u_xx, by the transformation of Cole and Hopf; between -0.5 and 0.5."""
    decay = 0.8 * np.exp(-0.9 * t)
    return 0.6 * decay * np.sin(3 * x) / (1 + decay * np.cos(3 * x))


def observed(fields, axes, noise=0.02, seed=0, known=(), holes=0.0, periodic=None):
    """Functions on a grid, with noise of a fraction of their rms, as observations."""
    mesh = np.meshgrid(*axes.values(), indexing="ij")
    rng = np.random.default_rng(seed)
    variables, fractions = {}, {}
    for n, f in fields.items():
        v = np.broadcast_to(f(*mesh) if callable(f) else f, mesh[0].shape)
        fractions[n] = 0.0 if n in known else noise
        v = v + fractions[n] * np.sqrt(np.mean(v**2)) * rng.standard_normal(v.shape)
        if n not in known and holes:
            v = np.where(rng.random(v.shape) < holes, np.nan, v)
        variables[n] = (tuple(axes), v)
    return Observations.from_dataset(xr.Dataset(variables, dict(axes)), noise=fractions, periodic=periodic)


def weak(equation, data, unknowns, **settings):
    return solve(InverseProblem(equation, data, unknowns), "weak", settings=settings)


def logistic(x, t):
    """u_t = 1.5 u (1 - u)."""
    return 1 / (1 + (9 + 5 * np.sin(3 * x)) * np.exp(-1.5 * t))
