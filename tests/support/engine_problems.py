"""Small problems with known answers, for the tests of the engines."""

from __future__ import annotations

import numpy as np
import xarray as xr

from mollifier.data.observations import Observations
from mollifier.engines.joint.engine import stages_of
from mollifier.engines.joint.settings import JointSettings
from mollifier.engines.joint.stages import Joint
from mollifier.problem.conditions import Condition
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.unknowns import FieldUnknown, ScalarUnknown

# A small network and few nodes: a few seconds a solve.
SMALL = {
    "network": {"width": 8, "depth": 2},
    "training": {"warmup_steps": 150, "steps": 40},
    "collocation": {"max_nodes": 400},
}


def small(**changes):
    """`SMALL` with changes: a mapping is merged into its group, anything else replaces it."""
    merged = {**SMALL}
    for name, value in changes.items():
        merged[name] = {**SMALL.get(name, {}), **value} if isinstance(value, dict) else value
    return merged


def noisy(values, fraction, seed=0):
    rms = np.sqrt(np.mean(np.square(values)))
    return values + fraction * rms * np.random.default_rng(seed).standard_normal(values.shape)


def heat_values(x, t, diffusivity=0.1):
    """An exact solution of u_t = D u_xx with two modes."""
    return np.exp(-9 * diffusivity * t) * np.sin(3 * x) + 0.5 * np.exp(-25 * diffusivity * t) * np.cos(5 * x)


def heat(n=400, noise=0.01, seed=0, diffusivity=0.1, **unknown):
    """Scattered heat equation, D = 0.1."""
    x, t = np.random.default_rng(seed).random((2, n))
    u = noisy(heat_values(x, t, diffusivity), noise, seed + 1)
    data = Observations(values={"u": u}, points={"x": x, "t": t}, noise={"u": noise})
    return InverseProblem("u_t = D*u_xx", data, {"D": ScalarUnknown(**unknown)})


def gridded(function, nx=25, nt=19, noise=0.01, gaps=0.0, seed=0, replicates=0, periodic=False, **known):
    """A dataset over x and t in [0, 1], with gaps, replicates and known coefficients."""
    x, t = np.linspace(0, 1, nx, endpoint=not periodic), np.linspace(0, 1, nt)
    mesh = np.meshgrid(x, t, indexing="ij")
    rng = np.random.default_rng(seed)
    u, dims = noisy(function(*mesh), noise, seed), ("x", "t")
    if replicates:
        u = np.stack([noisy(function(*mesh), noise, seed + i) for i in range(replicates)], -1)
        dims = ("x", "t", "replicate")
    u = np.where(rng.random(u.shape) < gaps, np.nan, u)
    coords = {"x": ("x", x, {"periodic": 1.0} if periodic else {}), "t": t}
    others = {n: (("x", "t"), f(*mesh)) for n, f in known.items()}
    fraction = {"u": noise, **dict.fromkeys(known, 0.0)}
    return Observations.from_dataset(xr.Dataset({"u": (dims, u), **others}, coords), noise=fraction)


def two_fields(n=300, noise=0.01, seed=0):
    """u_t = a*v, v_t = -b*u: a rotation, the same at every x but for its phase; a = 2, b = 1."""
    x, t = np.random.default_rng(seed).random((2, n))
    phase = np.sqrt(2.0) * t + x
    values = {
        "u": noisy(np.sqrt(2.0) * np.sin(phase), noise, 1),
        "v": noisy(np.cos(phase), noise, 2),
    }
    data = Observations(values=values, points={"x": x, "t": t}, noise=noise)
    return InverseProblem("u_t = a*v; v_t = -b*u", data, {"a": ScalarUnknown(), "b": ScalarUnknown()})


def three_coordinates(n=150):
    x, y, t = np.random.default_rng(3).random((3, n))
    u = np.exp(-0.2 * t) * np.sin(x + y)
    data = Observations(values={"u": noisy(u, 0.01)}, points={"x": x, "y": y, "t": t}, noise=0.01)
    return InverseProblem("u_t = D*lap(u)", data, {"D": ScalarUnknown(lower=0.0)})


def conductivity_of_x(n=400, noise=0.01):
    """u_t = dx(k(x) u_x), made so that k = 0.2 + 0.1 x and the source is known."""
    x, t = np.random.default_rng(5).random((2, n))

    def source(x, t):
        ux, uxx = 3 * np.exp(-t) * np.cos(3 * x), -9 * np.exp(-t) * np.sin(3 * x)
        return -np.exp(-t) * np.sin(3 * x) - (0.1 * ux + (0.2 + 0.1 * x) * uxx)

    values = {"u": noisy(np.exp(-t) * np.sin(3 * x), noise), "s": source(x, t)}
    data = Observations(values=values, points={"x": x, "t": t}, noise={"u": noise, "s": 0.0})
    unknown = FieldUnknown(over=("x",), lower=0.0)
    return InverseProblem("u_t = dx(k*u_x) + s", data, {"k": unknown})


def waves(x, t):
    return np.sin(3 * x + t) + 0.3 * np.cos(5 * x * t)


def agreement_problems():
    """Name -> problem: every kind of unknown, datum and coordinate that the two ways must agree on."""
    bounded = {
        "a": ScalarUnknown(lower=0.1),
        "b": ScalarUnknown(upper=2.0),
        "c": ScalarUnknown(lower=-1.0, upper=3.0),
    }
    replicated = gridded(waves, gaps=0.2, replicates=2)
    periodic = gridded(lambda x, t: np.sin(2 * np.pi * (x - t)), periodic=True)
    known = gridded(waves, s=lambda x, t: 1 + x * t)
    rates = xr.Dataset(
        {"u": known.dataset["u"], "w": ("t", np.sin(known.dataset["t"].values))},
        {"x": known.dataset["x"], "t": known.dataset["t"]},
    )
    mixed = Observations.from_dataset(rates, noise=0.01)
    field = FieldUnknown(over=("x",), lower=0.0, upper=5.0, smoothness=0.1)
    everywhere = {"k": FieldUnknown(smoothness=0.0), "D": ScalarUnknown()}
    return {
        "scattered": heat(80),
        "two fields in one network": two_fields(80),
        "a field over one coordinate": conductivity_of_x(80),
        "a bounded field": InverseProblem("u_t = dx(k*u_x)", known, {"k": field}),
        "a free field without prior": InverseProblem("u_t = D*u_xx + k*u", replicated, everywhere),
        "bounded numbers": InverseProblem("u_t = a*u_xx + b*u*u_x + c", known, bounded),
        "gaps and replicates": InverseProblem("u_t = D*u_xx", replicated, {"D": ScalarUnknown()}),
        "a periodic axis": InverseProblem("u_t = -c*u_x", periodic, {"c": ScalarUnknown()}),
        "known coefficients": InverseProblem("u_t = D*s*u_xx + x*t", known, {"D": ScalarUnknown()}),
        "nonlinear": InverseProblem("u_t = D*exp(-u)*u_xx + u_x^2", known, {"D": ScalarUnknown()}),
        "fields over unlike coordinates": InverseProblem(
            "u_t = D*u_xx + w_t", mixed, {"D": ScalarUnknown()}, fields=["u", "w"]
        ),
        "three coordinates": three_coordinates(60),
        "conditions at places": InverseProblem(
            "u_t = D*s*u_xx",
            known,
            {"D": ScalarUnknown(), "q": FieldUnknown(over="t")},
            conditions=[
                Condition("-D*u_x = q*s", {"x": "end"}),
                Condition("u_x*u = x", {"x": 0.37}, noise=0.1),
                Condition("u = D", {"x": 0.2, "t": 0.5}),
            ],
        ),
    }


def forced(n=120, noise=0.02, seed=0, wave=2, **unknown):
    """u_t = lam(t) - u, and its truth."""
    t = np.linspace(0, 3, n)
    lam = 1 + np.cos(wave * t)
    u = 1 + (np.cos(wave * t) + wave * np.sin(wave * t)) / (1 + wave**2)
    data = xr.DataArray(noisy(u, noise, seed), {"t": t}, ("t",), "u")
    problem = InverseProblem("u_t = lam - u", data, {"lam": FieldUnknown(over="t", **unknown)})
    return problem, xr.DataArray(lam, {"t": t}, ("t",), "lam")


def settled_stage(problem: InverseProblem, settings: JointSettings) -> Joint:
    """The last stage of engine "joint", after four whole steps at the strengths and priors of the first."""
    *first, joint = stages_of(problem, settings)[1]
    assert isinstance(joint, Joint)
    for stage in first:
        stage.step()
        stage.close()
    joint.weight = 1.0
    for _ in range(4):
        joint.set_parameters(joint.parameters() + joint.bordered().solve(0.0))
    return joint
