"""Figures are made for every number of dimensions, and say what they show."""

import sys
from dataclasses import replace
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr

from made_up_solutions import make_solution
from mollifier.diagnostics.compare.comparison import Comparison
from mollifier.diagnostics.compare.rows import Row
from mollifier.errors import MollifierError
from mollifier.io.files import OutputError
from mollifier.problem.estimate import Estimate
from mollifier.problem.solution import Solution
from mollifier.problem.status import Status
from mollifier.reporting.comparison import comparison_figure, save_comparison
from mollifier.reporting.figures import plot, save_figures, true_field, unknown_figure
from mollifier.reporting.sensitivity import sensitivity_figure
from mollifier.reporting.style import cuts, limits, look

CASES = {
    "curve": (("x",), ("x",)),
    "space-time": (("x", "t"), ("x",)),
    "map": (("x", "y"), ("x", "y")),
    "film": (("x", "y", "t"), ("x", "y")),
    "law in time": (("x", "y", "t"), ("t",)),
    "volume": (("x", "y", "z"), ("x", "y", "z")),
    "volume in time": (("t", "x", "y", "z"), ("x", "y", "z")),
}


def cases(*quick):
    """Names of all cases; those that take long to draw and are not named are slow."""
    return [c if c in quick else pytest.param(c, marks=pytest.mark.slow) for c in CASES]


@pytest.mark.parametrize("case", CASES)
def test_every_figure_is_made(case):
    """Of every number of dimensions, though not drawn."""
    solution, truth = make_solution(*CASES[case])
    for name in ("fit", "k", "residual", "history"):
        assert plot(solution, name, truth).axes


@pytest.mark.parametrize("case", cases("curve"))
@pytest.mark.parametrize("with_truth", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_every_figure_is_written(tmp_path, case, with_truth):
    solution, truth = make_solution(*CASES[case])
    paths = save_figures(solution, tmp_path, truth if with_truth else None)
    assert [p.name for p in paths] == ["fit.png", "unknown_k.png", "residual.png", "history.png"]
    for path in paths:
        content = path.read_bytes()
        assert content.startswith(b"\x89PNG")
        assert len(content) > 10_000
    assert sorted(tmp_path.iterdir()) == sorted(paths)


def make_weak(dims, over, scalars=True, spread=0.001):
    """As `make_solution`, but as the weak engine gives it: a history of radii, a residual with margins."""
    solution, _ = make_solution(dims, over) if over else make_solution(dims, dims[:1])
    tried = np.geomspace(0.4, 0.05, 7)
    names = ["r"] * scalars + ["k"] * bool(over)
    columns = {"stage": ["radius"] * 7 + ["chosen"], "misfit": [*np.geomspace(8, 1, 7), 1.1]}
    columns |= {f"radius_{d}": [*(tried if d != dims[-1] else [0.2] * 7), 0.1] for d in dims}
    columns["tests"] = np.arange(8)
    for n in names:
        columns |= {n: 0.05 + 0.001 * np.arange(8), f"{n}_sd": [spread] * 8}
    inside = np.all([(solution.dataset[d] > 0.3) & (solution.dataset[d] < 0.8) for d in dims[:1]], axis=0)
    residual = solution.dataset["residual"].where(xr.DataArray(inside, dims=dims[:1]))
    gone = [] if over else ["k", "k_sd", "k_ratio"]
    dataset = solution.dataset.assign(residual=residual.transpose(*dims)).drop_vars(
        [*gone, "k_ratio"], errors="ignore"
    )
    history = xr.Dataset({n: ("step", np.asarray(v)) for n, v in columns.items()})
    estimates = {"r": Estimate("r", 0.057, spread, "1/h")} if scalars else {}
    return Solution(solution.status, estimates, dataset, solution.fit, history, {"unknowns": ["k", "r"]})


@pytest.mark.parametrize(
    ("dims", "over", "scalars"),
    [
        (("x",), ("x",), False),
        (("x", "t"), (), True),
        (("x", "y", "t"), ("x",), True),
    ],
)
def test_figures_of_the_weak_engine(monkeypatch, tmp_path, dims, over, scalars):
    monkeypatch.setattr("mollifier.reporting.style.draw", lambda figure, kind, to: to.touch())
    solution = make_weak(dims, over, scalars)
    names = [p.name for p in save_figures(solution, tmp_path)]
    assert names == ["fit.png", *(["unknown_k.png"] if over else []), "residual.png", "sensitivity.png"]
    with look():
        figure = sensitivity_figure(solution)
    rows = scalars + bool(over) + 1
    assert len(figure.axes) == rows * len(dims)
    labels = [ax.get_ylabel() for ax in figure.axes[:: len(dims)]]
    assert labels == [*["r (1/h)"] * scalars, *["mean of k"] * bool(over), "residual / noise"]
    assert figure.axes[-1].get_xlabel().startswith(f"radius along {dims[-1]} (")


def test_radii_that_tell_nothing(tmp_path):
    solution = make_weak(("x", "t"), (), spread=np.nan)
    history = solution.history
    bad = history.assign(r=history["r"] * np.nan, misfit=history["misfit"] * np.nan)
    zero = bad.assign(radius_x=0 * history["radius_x"])
    alone = history.isel(step=[7])
    with look():
        for shown, columns in ((bad, ["t", "x"]), (zero, ["t"]), (alone, ["t", "x"])):
            figure = sensitivity_figure(replace(solution, history=shown))
            figure.savefig(tmp_path / "a.png")
            named = {label for ax in figure.axes if (label := ax.get_xlabel())}
            assert sorted(n.split("along ")[1][0] for n in named) == columns
            assert all(np.isfinite([ax.get_xlim(), ax.get_ylim()]).all() for ax in figure.axes)


def make_comparison(dims, over, scalars=True):
    one, _ = make_solution(dims, over) if over else make_solution(dims, dims[:1])
    if not over:
        one = replace(one, dataset=one.dataset.drop_vars(["k", "k_sd", "k_ratio"]))
    if not scalars:
        one = replace(one, estimates={})
    far = {n: replace(e, value=5.0, sd=None) for n, e in one.estimates.items()}
    coarse = one.dataset.isel({d: slice(None, None, 2) for d in dims})
    solutions = {
        "weak": one,
        "joint": replace(one, dataset=coarse.drop_vars("k_sd", errors="ignore"), status=Status("step limit")),
        "nested": replace(one, estimates=far),
        "network": replace(one, status=Status("undetermined")),
    }
    rows = [
        Row(n, s.status.name, "", s.estimates, seconds=0.1 * 10**i, memory=None if i else 30.0)
        for i, (n, s) in enumerate(solutions.items())
    ]
    return Comparison(solutions, (*rows, Row("taylor", "refused", "it cannot")))


COMPARED = [((), True), (("x",), False), (("x", "y"), True), (("x", "y", "t"), False)]


@pytest.mark.parametrize(
    ("over", "scalars"), [COMPARED[1], *(pytest.param(*c, marks=pytest.mark.slow) for c in COMPARED)]
)
def test_the_figure_of_a_comparison_is_written(tmp_path, over, scalars):
    paths = save_comparison(make_comparison(("x", "y", "t"), over, scalars), tmp_path)
    assert [p.name for p in paths] == ["compare.png", "compare.svg"]
    assert b"<svg" in paths[1].read_bytes()[:1000]


@pytest.mark.parametrize(("over", "scalars"), COMPARED)
def test_the_figure_of_a_comparison(over, scalars):
    comparison = make_comparison(("x", "y", "t"), over, scalars)
    with look():
        figure = comparison_figure(comparison)
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    assert "Time to solve, and peak memory" in titles
    assert any(t.startswith("r, 95 % intervals (hollow") for t in titles) == scalars
    notes = [t.get_text() for ax in figure.axes for t in ax.texts]
    assert ("> 5, beyond the picture" in notes) == scalars
    assert "refused" in notes
    maps = [t for t in titles if t.startswith("k, weak")]
    assert len(maps) == {0: 0, 1: 0, 2: 1, 3: 3}[len(over)]
    if maps:
        meshes = [c for ax in figure.axes for c in ax.collections if hasattr(c, "get_clim")]
        assert (
            len({m.get_clim() for m in meshes if m.get_array() is not None and m.get_array().ndim == 2}) == 1
        )


def test_a_comparison_in_which_no_engine_answered(tmp_path):
    refused = Comparison({}, (Row("weak", "refused", "it cannot"), Row("joint", "failed", "broke")))
    assert len(save_comparison(refused, tmp_path)) == 2
    assert save_comparison(Comparison({}, ()), tmp_path) == []


def test_figures_touch_no_global_state(tmp_path):
    before = dict(mpl.rcParams)
    loaded = "matplotlib.pyplot" in sys.modules
    save_figures(make_solution(("x",), ("x",))[0], tmp_path)
    assert dict(mpl.rcParams) == before
    assert ("matplotlib.pyplot" in sys.modules) == loaded


def _bare(**changes):
    empty = {
        "status": Status("interrupted"),
        "estimates": {},
        "dataset": xr.Dataset(),
        "fit": xr.Dataset(coords={"observation": np.arange(0)}),
        "history": xr.Dataset(coords={"step": np.arange(0)}),
        "provenance": {},
    }
    return Solution(**{**empty, **changes})


def test_a_solution_that_holds_nothing_gives_no_figure(tmp_path):
    assert save_figures(_bare(), tmp_path / "out") == []


def test_values_that_are_all_missing_infinite_or_constant_are_drawn(tmp_path):
    solution, _ = make_solution(("x", "y"), ("x", "y"), steps=1)
    bad = solution.dataset.assign(
        u=solution.dataset["u"] * np.nan,
        k=xr.full_like(solution.dataset["k"], 1.0),
        k_ratio=xr.full_like(solution.dataset["k"], np.inf),
        k_sd=xr.full_like(solution.dataset["k"], 0.0),
        residual=xr.zeros_like(solution.dataset["u"]),
    )
    fit = solution.fit.assign(u_fitted=solution.fit["u_fitted"] * np.nan)
    broken = Solution(
        Status("non-finite loss"),
        {},
        bad,
        fit,
        solution.history.assign(loss=solution.history["loss"] * np.nan, r=solution.history["r"] * np.nan),
        {"unknowns": ["k"]},
    )
    truth = xr.Dataset({"k": ((), 1.0)})
    assert len(save_figures(broken, tmp_path, truth)) == 4


def test_names_and_units_may_hold_a_dollar_sign(tmp_path):
    solution, _ = make_solution(("x",), ("x",))
    solution.dataset["k"].attrs["units"] = "$ per $ x_"
    assert len(save_figures(solution, tmp_path)) == 4


def test_several_variables_one_of_them_not_on_the_grid(tmp_path):
    solution, _ = make_solution(("x", "t"), ("x",))
    extra = {f"w{s}": solution.fit[f"u{s}"] for s in ("", "_sd", "_fitted", "_held_out")}
    both = Solution(
        solution.status,
        {},
        solution.dataset,
        solution.fit.assign(extra),
        solution.history,
        {"unknowns": ["k"]},
    )
    assert both.observed == ("u", "w")
    assert len(save_figures(both, tmp_path)) == 4


def test_truth_on_a_finer_grid_is_compared_on_the_estimate_nodes():
    solution, truth = make_solution(("x", "y"), ("x", "y"))
    clean = true_field(truth["k"], solution.dataset["k"])
    assert clean.dims == ("x", "y")
    same = Solution(
        solution.status,
        {},
        solution.dataset.assign(k=clean),
        solution.fit,
        solution.history,
        {"unknowns": ["k"]},
    )
    with look():
        figure = unknown_figure(same, "k", clean)
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    assert any("relative L2 0\ncorrelation 1" in t for t in titles)
    assert any("ratio read-out" in t for t in titles)


def test_truth_that_cannot_be_compared_says_why():
    estimate = xr.DataArray(np.zeros(3), {"x": [0.0, 0.5, 1.0]}, name="k")
    with pytest.raises(MollifierError, match=r"varies along \['t'\]"):
        true_field(xr.DataArray(np.zeros((3, 2)), dims=("x", "t"), name="k"), estimate)
    with pytest.raises(MollifierError, match="5 nodes along 'x' without positions"):
        true_field(xr.DataArray(np.zeros(5), dims=("x",), name="k"), estimate)
    assert true_field(xr.DataArray(2.0, name="k"), estimate).values.tolist() == [2.0] * 3


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        save_figures(make_solution(("x",), ("x",))[0], tmp_path / "file" / "out")


def test_cuts_and_limits():
    volume = xr.DataArray(np.zeros((5, 7, 9)), dims=("x", "y", "z"))
    assert [c.held for c in cuts(volume)] == [{"z": 4}, {"y": 3}, {"x": 2}]
    thin = xr.DataArray(np.zeros((5, 1, 9)), dims=("x", "y", "t"))
    assert [c.held for c in cuts(thin)] == [{"y": 0}]
    assert [c.held["t"] for c in cuts(xr.DataArray(np.zeros((5, 4, 2)), dims=("x", "y", "t")))] == [0, 1]
    assert limits(np.full(3, 2.0)) == pytest.approx((1.9, 2.1))
    assert limits() == (0.0, 1.0)


def test_plot_shows_in_a_notebook_and_names_what_there_is():
    """The default is the first unknown field; what does not exist is refused with the nearest name."""
    solution, truth = make_solution(("x",), ("x",))
    figure = plot(solution, truth=truth)
    assert figure._repr_png_().startswith(b"\x89PNG")
    assert "relative L2" in figure.axes[0].get_title("left")
    assert plot(solution, "fit").axes
    with pytest.raises(MollifierError, match=r"no figure 'fits'\. Did you mean 'fit'"):
        plot(solution, "fits")
    assert "<pre>Status" in solution._repr_html_()
    assert Estimate("r", 0.5, 0.1)._repr_html_() == "<pre>r = 0.50 ± 0.10</pre>"


@pytest.mark.parametrize(
    ("solution", "what", "truth", "said"),
    [
        (True, 3, None, "no figure '3'"),
        (True, ["fit"], None, "no figure"),
        (True, None, 3, "truth=3 was given; an xarray.Dataset"),
        (False, None, None, "None was given to plot; a Solution was expected"),
    ],
)
def test_plot_names_what_was_given_in_place_of_what_it_takes(solution, what, truth, said):
    """A solution, the name of a figure, and a dataset of true values are expected."""
    given: Any = make_solution(("x",), ("x",))[0] if solution else None
    with pytest.raises(MollifierError, match=said):
        plot(given, what, truth)
