"""`check` on the questions of `examples/`, and on a twin of each that cannot be answered."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import mollifier as mf
from benchmarks.cases.vorticity import simulate

EXAMPLES = Path(__file__).parents[2] / "examples"
SHARED = EXAMPLES.parents[1] / "shared" / "data"

# Example -> what makes it unanswerable, as of `mollifier check --set`, and words of the reason.
TWINS = {
    "beam": (["conditions=[]"], "little or nothing about EI"),
    "burgers": (
        ["equation=c*u_t + lambda_1*u*u_x - lambda_2*u_xx", "unknowns.c=scalar"],
        "only lambda_2/lambda_1, c/lambda_1",
    ),
    "corner": (["unknowns.k.measurements=null"], "Nothing fixes the scale of k"),
    "disc": (["equation=c*u_t = div(k*grad(u))", "unknowns.c={lower: 0}"], "only c/k"),
    "epidemic": (
        [
            "equation=S_t = -beta*S*I/N; I_t = beta*S*I/N - g*I",
            "unknowns={beta: scalar, N: scalar, g: scalar}",
        ],
        "only N/beta",
    ),
    "functional_response": (
        ["equation=u_t = u*(1 - u) - b*g(u)*v; v_t = c*b*g(u)*v - 0.3*v", "unknowns.b=scalar"],
        "only g*b",
    ),
    "growth": (["equation=size_day = a*r*size*(1 - size/K)", "unknowns.a=scalar"], "only r*a"),
    "growth_law": (
        ["equation=u_t = dx(D(u)*u_x) + f(u) + g(u)", "unknowns.g={over: u}"],
        "f cannot be distinguished",
    ),
    "heat_flux": (
        ["equation=c*u_t = k*u_xx", "constants={}", "unknowns.k=scalar", "unknowns.c=scalar"],
        "only",
    ),
    "layers": (["equation=0 = dx(where(x < a, k1, k2)*u_x)"], "only k2/k1"),
    "lorenz_without_z": (
        [
            "equation=X_t = s*(Y - X); Y_t = X*(r - a*Z) - Y; Z_t = c*X*Y - b*Z",
            "unknowns.a=scalar",
            "unknowns.c=scalar",
        ],
        "only a*c",
    ),
    "pressure": (
        [
            "equation=u_t + dx(u*u) + dy(u*v) = -p_x/rho + nu*lap(u); "
            "v_t + dx(u*v) + dy(v*v) = -p_y/rho + nu*lap(v)",
            "unknowns.rho={lower: 0}",
        ],
        "only",
    ),
    "ring": (["unknowns.k.measurements=null"], "Nothing fixes the scale of k"),
    "separation": (
        [
            "equation=phi_t = M*lap(F(phi) - kappa*phi_xx)",
            "constants={}",
            "unknowns.M={lower: 0}",
            "unknowns.kappa={lower: 0}",
        ],
        "only",
    ),
    "switch": (["unknowns.t0={lower: 60, unit: d}"], "data on both sides of the edge are needed"),
    "subjects": (["equation=u_t = -(renal + hepatic)*u", "unknowns={renal: scalar, hepatic: scalar}"], "be"),
    "vorticity": (
        ["equation=rho*(w_t + u*w_x + v*w_y) = mu*lap(w)", "unknowns={rho: {lower: 0}, mu: {lower: 0}}"],
        "only mu/rho",
    ),
}


# Of these the whole check takes more than two seconds.
SLOW = {"beam", "epidemic", "heat_flux", "layers", "lorenz_without_z", "pressure", "switch", "vorticity"}


@pytest.fixture(scope="module")
def flow(tmp_path_factory):
    """The flow of two galleries, on fewer nodes and with 1 % noise: `out/gallery` is not shipped."""
    data, rng = simulate(nodes=32, frames=11, modes=64, steps=20), np.random.default_rng(0)
    for name in data:
        data[name] = data[name] + 0.01 * data[name].std().item() * rng.normal(size=data[name].shape)
    folder = tmp_path_factory.mktemp("flow")
    data.to_netcdf(folder / "vorticity.nc")
    data[["u", "v"]].to_netcdf(folder / "pressure.nc")
    return folder


def read(name, flow, changes=()):
    """The problem of an example."""
    if name == "burgers" and not SHARED.exists():
        pytest.skip("needs ../shared")
    moved = [f"data.file={flow / name}.nc"] if name in ("pressure", "vorticity") else []
    return mf.load_problem(EXAMPLES / f"{name}.yaml", [*moved, *changes]).problem()


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow if n in SLOW else ()) for n in TWINS]
)
def test_check_of_an_example(name, flow):
    """The question can be answered; of the beam, the prior decides near the free end."""
    found = mf.check(read(name, flow))
    assert found.verdict == ("doubtful" if name == "beam" else "good"), str(found)


@pytest.mark.parametrize("name", TWINS)
def test_check_of_the_twin_of_an_example(name, flow):
    """It cannot be answered, and why is said."""
    changes, words = TWINS[name]
    found = mf.check(read(name, flow, changes))
    assert found.verdict == "cannot be answered", str(found)
    assert any(words in f.text for f in found.findings if f.level == "error"), str(found)


def test_check_of_a_single_wave_with_drag():
    """Its viscous term is proportional to the drag, at the ends of periodic axes as well."""
    x, t = np.arange(32) * np.pi / 16, np.linspace(0, 2, 11)
    a, b, fades = x[:, None, None], x[None, :, None], np.exp(-0.14 * t)
    values = {
        "w": 2 * np.cos(a) * np.cos(b) * fades,
        "u": np.cos(a) * np.sin(b) * fades,
        "v": -np.sin(a) * np.cos(b) * fades,
    }
    rng = np.random.default_rng(0)
    noisy = {n: (("x", "y", "t"), v + 0.01 * v.std() * rng.normal(size=v.shape)) for n, v in values.items()}
    period = {"periodic": 2 * np.pi}
    data = xr.Dataset(noisy, {"x": ("x", x, period), "y": ("y", x, period), "t": t})
    unknowns = {"nu": mf.ScalarUnknown(lower=0.0), "drag": mf.ScalarUnknown(lower=0.0)}
    equation = "w_t + u*w_x + v*w_y = nu*lap(w) - drag*w"
    found = mf.check(mf.InverseProblem(equation, data, unknowns, fields=["w"]))
    assert found.verdict == "cannot be answered", str(found)
