"""Which engine for which data: every line of the table on the page of engines, and what is just beside it."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from torch import nn

import mollifier as mf
from mollifier.data.observations import Observations
from mollifier.engines.choose import choose
from mollifier.errors import ConfigurationError
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.unknowns import FieldUnknown, ScalarUnknown


def values(points):
    """Smooth, and of all coordinates."""
    return sum(np.sin((i + 1) * p + 0.3) for i, p in enumerate(points))


def gridded(sizes, equation="u_t = D*u_xx", missing=0, unknowns=None, **more):
    """A problem on a grid, so many of its nodes left out; further variables by their coordinates."""
    axes = {n: np.linspace(0, 1, size) for n, size in sizes.items()}
    u = values(np.meshgrid(*axes.values(), indexing="ij"))
    u.flat[np.linspace(0, u.size - 1, missing).astype(int)] = np.nan
    variables = {"u": (tuple(axes), u)}
    variables |= {
        n: (over, values(np.meshgrid(*(axes[c] for c in over), indexing="ij"))) for n, over in more.items()
    }
    data = Observations.from_dataset(xr.Dataset(variables, axes), noise=0.01)
    return InverseProblem(equation, data, unknowns or {"D": ScalarUnknown()})


def scattered(coordinates, equation, n=200):
    points = np.random.default_rng(0).random((len(coordinates), n))
    data = Observations({"u": values(points)}, dict(zip(coordinates, points, strict=True)), noise=0.01)
    return InverseProblem(equation, data, {"D": ScalarUnknown()})


DENSE = {"x": 60, "t": 50}
FULL = "the data fill a grid of {} nodes and every derivative moves onto a test function"


@pytest.mark.parametrize(
    ("sizes", "nodes"),
    [(DENSE, "3,000"), ({"x": 50, "t": 40}, "2,000"), ({"x": 20, "y": 20, "t": 10}, "4,000")],
)
def test_a_dense_grid_goes_to_the_weak_engine(sizes, nodes):
    assert choose(gridded(sizes)) == ("weak", FULL.format(nodes))


def test_a_grid_below_2000_nodes_goes_to_the_joint_engine():
    assert choose(gridded({"x": 41, "t": 48})) == ("joint", "the grid has 1,968 nodes only")
    assert choose(gridded({"x": 1999}, "D*u_xx + u = 0")) == ("joint", "the grid has 1,999 nodes only")
    assert choose(gridded({"x": 2000}, "D*u_xx + u = 0")) == ("weak", FULL.format("2,000"))


def test_a_grid_below_10000_nodes_with_an_unknown_field_goes_to_the_joint_engine():
    """Along one of two coordinates, and in equations of low order, where its nodes are cheap."""
    unknowns = {"k": FieldUnknown(over=("x",))}
    second, third = "u_t = div(k*grad(u))", "u_t = k*u_xxx"
    assert choose(gridded({"x": 99, "t": 101}, second, unknowns=unknowns))[0] == "joint"
    assert choose(gridded({"x": 100, "t": 100}, second, unknowns=unknowns))[0] == "weak"
    assert choose(gridded({"x": 99, "t": 101}, third, unknowns=unknowns))[0] == "weak"
    assert choose(gridded({"x": 20, "y": 20, "t": 10}, second, unknowns=unknowns))[0] == "weak"


@pytest.mark.parametrize(
    ("prior", "engine"), [("auto", "joint"), ("h2", "joint"), ("h1", "joint"), ("tv", "weak")]
)
def test_a_prior_that_only_the_weak_engine_has(prior, engine):
    unknowns = {"k": FieldUnknown(over=("x",), prior=prior)}
    assert choose(gridded({"x": 40, "t": 30}, "u_t = k*u", unknowns=unknowns))[0] == engine


@pytest.mark.parametrize(("share", "engine"), [(0.0, "weak"), (0.19, "weak"), (0.2, "weak"), (0.21, "joint")])
def test_gaps(share, engine):
    found, reason = choose(gridded(DENSE, missing=round(3000 * share)))
    assert found == engine
    assert reason == (FULL.format("3,000") if engine == "weak" else "21 % of the grid are missing")


def test_the_field_with_most_gaps_counts():
    problem = gridded(DENSE, "u_t = D*u_xx + w_t", w=("x", "t"))
    assert choose(problem)[0] == "weak"
    dataset = problem.data.dataset.copy(deep=True)
    dataset["w"].values[:, :11] = np.nan
    data = Observations.from_dataset(dataset, noise=0.01)
    worse = InverseProblem("u_t = D*u_xx + w_t", data, {"D": ScalarUnknown()})
    assert choose(worse) == ("joint", "22 % of the grid are missing")


@pytest.mark.parametrize(
    ("equation", "engine"),
    [
        ("u_t = D*u_xx + u_x^2", "joint"),
        ("u_t = D*u_x*u_xx", "joint"),
        ("u_t = D*u_xx - u*u_x", "weak"),
        ("u_t = D*dx(u^2*u_x)", "weak"),
        ("u_t*u_x = D*u", "joint"),
    ],
)
def test_an_equation_without_weak_form(equation, engine):
    found, reason = choose(gridded(DENSE, equation))
    assert found == engine
    if engine == "joint":
        assert reason == "the equation holds products of derivatives, which have no weak form"


@pytest.mark.parametrize(
    ("size", "equation", "engine"),
    [
        (4, "u_t = D*u_xx", "joint"),
        (5, "u_t = D*u_xx", "weak"),
        (8, "u_t = D*u_xxxx", "joint"),
        (9, "u_t = D*u_xxxx", "weak"),
    ],
)
def test_a_short_axis(size, equation, engine):
    """An order n wants 2 n + 1 nodes along its axis."""
    found, reason = choose(gridded({"x": size, "t": 600}, equation))
    assert found == engine
    if engine == "joint":
        assert reason == "there are too few nodes along x for the orders of the equation"


def test_every_short_axis_is_named():
    problem = gridded({"x": 3, "y": 400, "t": 2}, "u_t = D*(u_xx + u_yy)")
    assert choose(problem) == ("joint", "there are too few nodes along x, t for the orders of the equation")


def test_a_field_over_part_of_the_coordinates():
    problem = gridded(DENSE, "u_t = D*u_xx + w_t", w=("t",))
    assert choose(problem) == ("joint", "'w' is measured over t only")


def test_a_known_coefficient_may_be_over_part_of_them():
    assert choose(gridded(DENSE, "u_t = D*s*u_xx", s=("x",)))[0] == "weak"


def test_a_field_over_all_coordinates_is_left_to_the_joint_engine():
    unknown = {"k": FieldUnknown(over=("x", "t"))}
    engine, reason = choose(gridded({"x": 100, "t": 100}, "u_t = dx(k*u_x)", unknowns=unknown))
    assert engine == "joint"
    assert reason == "'k' varies over all coordinates, so that no sum over the grid takes its noise away"


def test_a_field_over_a_part_does_not_decide():
    unknown = {"k": FieldUnknown(over=("x",))}
    problem = gridded({"x": 100, "t": 100}, "u_t = dx(k*u_x)", unknowns=unknown)
    assert choose(problem) == ("weak", FULL.format("10,000"))


@pytest.mark.parametrize(
    ("names", "equation", "expected"),
    [
        ("x", "D*u_xx + u = 0", ("joint", "the data are scattered over x")),
        ("xt", "u_t = D*u_xx", ("joint", "the data are scattered over x, t")),
        ("xyt", "u_t = D*lap(u)", ("joint", "the data are scattered over x, y, t")),
        (
            "xyzt",
            "u_t = D*lap(u)",
            ("network", "the data are scattered over x, y, z, t, and nodes cannot fill 4 coordinates"),
        ),
    ],
)
def test_scattered_data_by_their_coordinates(names, equation, expected):
    assert choose(scattered(names, equation)) == expected


def test_four_coordinates_on_a_grid():
    sizes = {"x": 7, "y": 7, "z": 7, "t": 7}
    assert choose(gridded(sizes, "u_t = D*lap(u)")) == ("weak", FULL.format("2,401"))
    engine, reason = choose(gridded(sizes, "u_t = D*lap(u) + u_x^2"))
    assert engine == "network"
    assert reason == (
        "the equation holds products of derivatives, which have no weak form, and nodes cannot fill 4 "
        "coordinates"
    )
    few = gridded({**sizes, "t": 5}, "u_t = D*lap(u)")
    assert choose(few) == ("network", "the grid has 1,715 nodes only, and nodes cannot fill 4 coordinates")


def test_a_network_given_to_solve_is_used():
    network = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1))
    few = {"training": {"warmup_steps": 2, "steps": 1}, "collocation": {"max_nodes": 100}}
    found = mf.solve(gridded(DENSE), network=network, settings=few)
    assert found.provenance["engine"] == "network"
    assert found.provenance["chosen_because"] == "a network was given"


def test_solve_takes_the_engine_that_was_chosen_and_says_why():
    problem = scattered("xt", "u_t = D*u_xx", 60)
    found = mf.solve(problem, settings={"collocation": {"max_nodes": 200}, "training": {"steps": 2}})
    assert (found.provenance["engine"], found.provenance["chosen_because"]) == choose(problem)
    named = mf.solve(problem, "joint", settings={"training": {"steps": 1}, "collocation": {"max_nodes": 200}})
    assert "chosen_because" not in named.provenance


def test_check_judges_by_the_engine_that_solve_takes():
    """A plain grid, one with gaps, and a field over all coordinates, on which two rules once differed."""
    rng = np.random.default_rng(0)
    x, t = np.linspace(0, 1, 60), np.linspace(0, 1, 50)
    u = np.exp(-t) * np.sin(3 * x)[:, None] + 0.5 * np.exp(-2.5 * t) * np.cos(5 * x)[:, None]
    u = u + 0.01 * rng.standard_normal(u.shape)
    gaps = np.where(rng.random(u.shape) < 0.4, np.nan, u)
    number, field = {"D": ScalarUnknown()}, {"k": FieldUnknown(lower=0.0)}
    for values, equation, unknowns in [
        (u, "u_t = D*u_xx", number),
        (gaps, "u_t = D*u_xx", number),
        (u, "u_t = dx(k*u_x)", field),
    ]:
        data = Observations.from_dataset(
            xr.Dataset({"u": (("x", "t"), values)}, {"x": x, "t": t}), noise=0.01
        )
        problem = InverseProblem(equation, data, unknowns)
        engine = choose(problem)[0]
        found = mf.check(problem).numbers
        assert found["engine"] == engine
        assert found["cost"][engine]["serves"]


@pytest.mark.parametrize(
    ("missing", "unknowns", "equation"),
    [(0, None, "u_t = D*u_xx"), (1200, None, "u_t = D*u_xx"), (0, {"k": FieldUnknown()}, "u_t = dx(k*u_x)")],
)
def test_check_names_the_engine_that_auto_takes(missing, unknowns, equation):
    problem = gridded(DENSE, equation, missing, unknowns)
    found = mf.check(problem)
    assert found.numbers["engine"] == choose(problem)[0]
    suited = [n for n, c in found.numbers["cost"].items() if c["serves"]]
    assert suited[0] == found.numbers["engine"]


@pytest.mark.parametrize(
    ("engine", "settings", "message"),
    [
        (
            "weak",
            {"training": {"steps": 1}},
            "'training.steps' was given to engine 'weak', .* do: joint, network",
        ),
        ("weak", {"held_out": 0.5}, "'held_out' was given to engine 'weak'"),
        ("weak", {"collocation": {"nodes": {"x": 9}}}, "'collocation.nodes' was given to engine 'weak'"),
        ("joint", {"network": {"width": 3}}, "'network' was given to engine 'joint', .* that do: network"),
        ("network", {"joint": {"cells": 4}}, "'joint' was given to engine 'network', .* that do: joint"),
        ("auto", {"network": {"width": 3}}, r"'network' .* 'weak' \(chosen because the data fill a grid"),
        ("weak", {"tuning": {"densty": 2}}, "Unknown key 'tuning.densty'. Did you mean 'density'"),
        (None, {}, "There is no engine None"),
    ],
)
def test_engine_refuses_settings_that_it_does_not_use(engine, settings, message):
    with pytest.raises(ConfigurationError, match=message):
        mf.solve(gridded(DENSE), engine, settings=settings)


def test_weak_engine_takes_no_resume_and_numpy_seeds_are_taken(tmp_path):
    with pytest.raises(ConfigurationError, match=r"'resume' was given to engine 'weak', .* joint, network"):
        mf.solve(gridded(DENSE), "weak", folder=tmp_path, resume=True)
    assert mf.solve(gridded(DENSE), "weak", rng=np.int64(3)).provenance["seed"] == 3
