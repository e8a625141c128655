"""States without data and names that a solution needs: declared, checked, refused by the problem."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import mollifier as mf
from mollifier.errors import ConfigurationError, MollifierError
from mollifier.problem.problem_file import load

X, T = np.linspace(0.0, 1.0, 11), np.linspace(0.0, 1.0, 9)
PAIR = ["u_t = -a*u*v", "v_t = u - v"]


def pair(states, values=None) -> mf.InverseProblem:
    data = mf.Observations(values or {"u": np.exp(-T)}, {"t": T}, noise=0.01)
    return mf.InverseProblem(PAIR, data, {"a": mf.ScalarUnknown()}, states=states)


def test_hidden_state_is_no_field():
    """Fields have data; the problem knows the coordinates of both kinds, also when asked of other data."""
    problem = pair({"v": mf.StateUnknown(initial=2.0)})
    again = problem.of(problem.data, problem.unknowns)
    for p in (problem, again):
        assert (p.fields, p.hidden, p.all_states) == (("u",), ("v",), ("u", "v"))
        assert p.coordinates_of("v") == ("t",)
        assert p.states["v"].initial == 2.0
    assert "StateUnknown" in problem.described["states"]["v"]


def test_state_with_some_data_is_measured():
    """One value makes it a field with data; it keeps its declaration."""
    v = np.where(T == 0.0, 1.0, np.nan)
    problem = pair({"v": mf.StateUnknown()}, {"u": np.exp(-T), "v": v})
    assert problem.hidden == ()
    assert set(problem.fields) == {"u", "v"}
    with pytest.raises(mf.MollifierError, match="has data and bounds"):
        pair({"v": mf.StateUnknown(lower=0.0)}, {"u": np.exp(-T), "v": v})


@pytest.mark.parametrize(
    ("states", "said"),
    [
        ({"v": mf.ScalarUnknown()}, "a StateUnknown was expected"),
        (["v"], "a mapping was expected"),
        ({"t": mf.StateUnknown()}, "also a coordinate"),
        ({"v": mf.StateUnknown(over="x")}, "not a coordinate"),
        ({"v": mf.StateUnknown(), "a": mf.StateUnknown()}, "'a' is also a state"),
        ({"v": mf.StateUnknown(), "w": mf.StateUnknown()}, "state 'w' is in no equation.*out of states"),
    ],
)
def test_wrong_states_are_refused(states, said: str):
    """Each message names the state and what was expected."""
    with pytest.raises(MollifierError, match=said):
        pair(states)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"lower": 1.0, "upper": 0.0}, "lower must be below"),
        ({"over": ("t", "t")}, "twice"),
        ({"lower": 0.0, "initial": -1.0}, "strictly between"),
    ],
)
def test_wrong_options_are_refused(options, said: str):
    """As those of unknowns."""
    with pytest.raises(MollifierError, match=said):
        mf.StateUnknown(**options)


def test_states_of_a_problem_file(tmp_path: Path):
    """An entry may be empty; a wrong one is named with its place."""
    np.savetxt(tmp_path / "u.csv", np.column_stack([T, np.exp(-T)]), "%.6f", ",", header="t,u", comments="")
    path = tmp_path / "p.yaml"
    path.write_text(
        "equation: ['u_t = -a*u*v', 'v_t = u - v']\nunknowns: {a: scalar}\n"
        "data: {file: u.csv, coordinates: t, noise: 0.01}\nstates: {v: {lower: 0, over: t, unit: K}}\n"
    )
    problem = load(path).problem()
    assert problem.hidden == ("v",)
    assert problem.states["v"] == mf.StateUnknown(over=("t",), lower=0.0, unit="K")
    with pytest.raises(MollifierError, match=r"p\.yaml: 'states\.v' was given as 3"):
        load(path, ["states.v=3"])
    with pytest.raises(MollifierError, match=r"states\.v.*lowest"):
        load(path, ["states.v={lowest: 0}"])


def problem(field: str, unknown: str, kind) -> mf.InverseProblem:
    data = xr.Dataset({field: (("x", "t"), np.outer(np.sin(X), np.exp(-T)))}, {"x": X, "t": T})
    return mf.InverseProblem(f"{field}_t = {unknown}*{field}_xx", data=data, unknowns={unknown: kind})


@pytest.mark.parametrize(
    ("field", "unknown", "kind"),
    [
        ("u", "residual", mf.ScalarUnknown()),
        ("u", "residual_2", mf.FieldUnknown(over="x")),
        ("residual", "D", mf.ScalarUnknown()),
        ("observation", "D", mf.ScalarUnknown()),
        ("u", "loss", mf.ScalarUnknown()),
        ("u", "u_sd", mf.ScalarUnknown()),
        ("u", "u_visits", mf.ScalarUnknown()),
    ],
)
def test_reserved_name_is_refused(field, unknown, kind):
    with pytest.raises(ConfigurationError, match=r"is reserved for .*; choose another name"):
        problem(field, unknown, kind)


@pytest.mark.parametrize(
    ("field", "unknown"), [("u", "losses"), ("u", "k_eff"), ("residue", "D"), ("loss", "D")]
)
def test_reserved_name_is_not_a_similar_one(field, unknown):
    assert unknown in problem(field, unknown, mf.ScalarUnknown()).unknowns


@pytest.mark.parametrize("unknown", ["u_value", "u_visits"])
def test_reserved_name_beside_a_law_is_refused(unknown):
    """Where a law D(u) is read out: the values of u, and how often u takes them."""
    data = xr.Dataset({"u": (("x", "t"), np.outer(np.sin(X), np.exp(-T)))}, {"x": X, "t": T})
    unknowns = {"D": mf.FieldUnknown(over=("u",)), unknown: mf.ScalarUnknown()}
    with pytest.raises(ConfigurationError, match=f"'{unknown}' is reserved for"):
        mf.InverseProblem(f"u_t = dx(D(u)*u_x) + {unknown}", data=data, unknowns=unknowns)
