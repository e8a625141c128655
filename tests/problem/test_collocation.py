"""Grid, kernel and radius from the data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from mollifier.data.observations import Observations
from mollifier.errors import ConfigurationError
from mollifier.mollify.bandwidth import feature_lengths
from mollifier.mollify.kernels import BSpline, Bump, Polynomial, kernel_for
from mollifier.problem.collocation import collocate
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.settings import CollocationSettings
from mollifier.problem.unknowns import ScalarUnknown

BURGERS = Path(__file__).parents[3] / "shared" / "data" / "burgers_shock.mat"


def front(width=0.05, noise=0.001, n=2000):
    """A front of a given width along x, slow along t, scattered."""
    x, t = np.random.default_rng(0).random((2, n))
    u = np.tanh((x - 0.4 - 0.2 * t) / width)
    u = u + noise * np.random.default_rng(1).standard_normal(n)
    return Observations(values={"u": u}, points={"x": x, "t": t}, noise={"u": noise})


def problem_of(data, equation="u_t = D*u_xx"):
    return InverseProblem(equation, data, {"D": ScalarUnknown()})


@pytest.fixture(scope="module")
def problem():
    return problem_of(front())


@pytest.mark.parametrize(
    ("equation", "degree", "cells"),
    [("u_t = D*u_x", 5, 3.0), ("u_t = D*u_xx", 5, 3.0), ("u_t = D*u_xxxx", 7, 4.0)],
)
def test_the_radius_is_what_the_kernel_needs_in_cells(equation, degree, cells):
    found = collocate(problem_of(front(n=300), equation))
    assert found.kernel == BSpline(degree)
    assert found.radius.cells == pytest.approx({"x": cells, "t": cells})


@pytest.mark.parametrize(("name", "kind"), [("polynomial", Polynomial), ("bump", Bump)])
def test_other_kernels_are_wider(name, kind, problem):
    found = collocate(problem, CollocationSettings(kernel=name))
    assert isinstance(found.kernel, kind)
    assert found.radius.cells["x"] == pytest.approx(4.5)


def test_nodes_carry_a_front_that_the_samples_straddle():
    """Nodes are those of the front, within the limit; a wave of the same samples needs none of them."""
    found = collocate(problem_of(front(width=0.002, noise=0.01, n=1500)))
    assert found.fronts["x"].places >= 5
    assert found.grid["x"].size == found.fronts["x"].nodes(found.grid["x"].length) >= 257
    few = collocate(problem_of(front(width=0.002, noise=0.01, n=1500)), CollocationSettings(max_nodes=3000))
    assert few.grid.size <= 3000 < np.prod(list(few.needed.values()))
    assert not collocate(problem_of(front(width=0.3))).fronts


def test_nodes_resolve_the_shortest_feature(problem):
    found = collocate(problem)
    assert found.features["x"] < found.features["t"] / 2
    assert found.features["x"] == pytest.approx(2 * 0.05, rel=0.5)
    spacing = {a.name: a.spacing for a in found.grid}
    assert spacing["x"] <= found.features["x"] / 3.9
    assert found.grid.shape == tuple(found.needed[n] for n in ("x", "t"))
    sharper = collocate(problem_of(front(width=0.02, n=6000)))
    assert sharper.grid["x"].size > 1.5 * found.grid["x"].size


def test_noise_is_no_feature():
    x, t = np.random.default_rng(0).random((2, 1500))
    noise = np.random.default_rng(1).standard_normal(1500)
    points = np.stack([x, t], -1)
    lengths = feature_lengths(points, np.sin(3 * x) + 0.1 * noise, np.full(1500, 0.1))
    assert (lengths > 0.2).all()
    assert np.isinf(feature_lengths(points, noise, np.full(1500, 2.0))).all()


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e5])
def test_features_follow_the_units(scale):
    data = front().samples("u")
    lengths = feature_lengths(data.points * [scale, 1.0], data.values, data.sd)
    exact = feature_lengths(data.points, data.values, data.sd)
    np.testing.assert_allclose(lengths, exact * [scale, 1.0], rtol=1e-6)


def test_most_nodes_are_kept_to(problem):
    found = collocate(problem, CollocationSettings(max_nodes=500))
    assert found.grid.size <= 500
    assert min(found.grid.shape) >= 8
    assert found.needed["x"] * found.needed["t"] > 500
    tight = collocate(problem, CollocationSettings(max_nodes=16))
    assert max(tight.grid.shape) <= 9


def test_nodes_and_radius_that_are_given_are_kept(problem):
    found = collocate(problem, CollocationSettings(nodes={"x": 37}, max_nodes=37 * 20))
    assert found.grid["x"].size == 37
    assert found.grid["t"].size <= 20
    found = collocate(problem, CollocationSettings(radius={"x": 0.1}, nodes={"t": 11}))
    assert found.radius["x"] == 0.1
    assert found.radius.cells["x"] == pytest.approx(3.0, rel=0.05)
    assert found.grid["t"].size == 11
    found = collocate(problem, CollocationSettings(radius=0.2))
    assert found.radius == {"x": 0.2, "t": 0.2}
    found = collocate(problem, CollocationSettings(radius={"x": 0.3}, nodes={"x": 41, "t": 11}))
    assert found.radius.cells["x"] == pytest.approx(0.3 / found.grid["x"].spacing)


def test_periodic_axes_span_one_period():
    x, t = np.arange(16) / 16 + 2.0, np.linspace(0, 1, 12)
    u = np.sin(2 * np.pi * (x[:, None] - t))
    values = xr.Dataset({"u": (("x", "t"), u)}, {"x": ("x", x, {"periodic": 1.0}), "t": t})
    found = collocate(problem_of(Observations.from_dataset(values, noise=0.01)))
    axis = found.grid["x"]
    assert axis.periodic
    assert (axis.lower, axis.upper) == (2.0, 3.0)
    assert axis.length == pytest.approx(1.0)
    assert axis.points[-1] == pytest.approx(3.0 - axis.spacing)
    scaled = found.scaled_grid["x"]
    assert scaled.periodic
    assert scaled.length == pytest.approx(2.0)


def test_scaled_coordinates_run_from_minus_one_to_one(problem):
    found = collocate(problem)
    for a in found.scaled_grid:
        assert (a.points[0], a.points[-1]) == pytest.approx((-1.0, 1.0))
        original = found.grid[a.name]
        assert found.scaled_radius[a.name] / a.spacing == pytest.approx(
            found.radius[a.name] / original.spacing
        )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"nodes": {"y": 10}}, "names 'y', not a coordinate"),
        ({"radius": {"tt": 0.1}}, "names 'tt', not a coordinate. Did you mean 't'"),
        ({"radius": 1e-8}, "more than can be held"),
    ],
)
def test_what_is_wrong_is_said(given, message, problem):
    with pytest.raises(ConfigurationError, match=message):
        collocate(problem, CollocationSettings(**given))


def test_spline_kernels_are_odd_and_smooth_enough():
    for order in range(7):
        kernel, cells = kernel_for("bspline", order)
        assert kernel.degree % 2 == 1
        assert kernel.degree >= order + 3
        assert cells == (kernel.degree + 1) / 2


@pytest.mark.skipif(not BURGERS.exists(), reason="the data are not here")
def test_the_burgers_shock_is_resolved():
    """u_t + u u_x = nu u_xx with nu = 0.01/pi: the shock is about 4 nu = 0.013 wide, of a range of 2."""
    from scipy.io import loadmat

    content = loadmat(BURGERS)
    names = {k.lower(): v for k, v in content.items() if not k.startswith("__")}
    x, t, u = names["x"].ravel(), names["t"].ravel(), names["usol"]
    data = Observations.from_dataset(xr.Dataset({"u": (("x", "t"), u)}, {"x": x, "t": t}), noise=0.01)
    found = collocate(problem_of(data, "u_t = D*u_xx - u*u_x"))
    assert 0.008 < found.features["x"] < 0.08
    assert found.features["t"] > 3 * found.features["x"]
    assert found.grid["x"].size > 2 * found.grid["t"].size
    assert found.grid.size <= 40_000
