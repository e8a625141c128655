"""Units of the terms of equations."""

import numpy as np
import pytest
import xarray as xr

import mollifier as mf
from mollifier.equations.names import Names
from mollifier.equations.system import parse
from mollifier.equations.units import units_of

NAMES = Names(
    ("x", "y", "t"),
    {"u": ("x", "y", "t")},
    {"k": ("x", "y"), "D": ("u",), "r": (), "K": ()},
    constants={"c": 1.0, "n": 2.0},
)
CELLS = {"u": "cells/um^2", "x": "um", "y": "um", "t": "h"}
HEAT = {"u": "degC", "x": "m", "y": "m", "t": "d"}


def units(equation, names=NAMES, **given):
    return units_of(parse(equation, names).equations, given)


@pytest.mark.parametrize(
    ("equation", "given", "found"),
    [
        ("u_t = div(k*grad(u)) + r*u*(1 - u/K)", CELLS, {"k": "um^2/h", "r": "1/h", "K": "cells/um^2"}),
        ("u_t = div(D*grad(u)) + r*u", CELLS, {"D": "um^2/h", "r": "1/h"}),
        ("u_t = c*lap(u)", CELLS, {"c": "um^2/h"}),
        ("u_t = k*lap(u) + r*u^n", CELLS, {"k": "um^2/h", "r": "um^2/(cells h)"}),
        ("u_t = k*lap(u) + tanh((x - 1)/3)*r*u", CELLS, {"k": "um^2/h", "r": "1/h"}),
        ("u_t = k*bilap(u) + r*(u - 20)", HEAT, {"k": "m^4/d", "r": "1/d"}),
        ("u_t = r*sqrt(u)", {"u": "m", "t": "s"}, {"r": "m^0.5/s"}),
        ("u_t = k*lap(u) - r*u", {"t": "s"}, {"r": "1/s"}),
        ("u_t = r*u", {"t": "s", "u": "a.u. (8-bit)"}, {"r": "1/s"}),
        ("u_t = 0.1*lap(u)", CELLS, {}),
        ("0 = div(k*grad(u)) + 1", {**HEAT, "k": "W m-1 K-1"}, {}),
        (
            "u_t = max(u, 0)*r + abs(u)*sign(u)*r + heaviside(u - K)*r*u",
            CELLS,
            {"r": "1/h", "K": "cells/um^2"},
        ),
    ],
)
def test_units_that_follow(equation, given, found):
    """What has no unit is given the one that makes the terms agree, and no other is made up."""
    said = units(equation, **given)
    assert said.conflicts == ()
    assert dict(said.found) == found


@pytest.mark.parametrize(
    ("equation", "given", "text"),
    [
        ("u_t = lap(u)", CELLS, "u_t is cells/(h um^2) and u_xx is cells/um^4."),
        ("u_t = r*u_x", {**CELLS, "r": "mm/h"}, "which is 1000 times as large."),
        ("u_t = k*lap(u)", {**CELLS, "y": "mm"}, "u_yy is cells/(um^2 mm^2), which is 1e-06 times"),
        ("u_t = r*exp(-u)", CELLS, "exp(-u) is of cells/um^2; a number was expected."),
        (
            "u_t = k*lap(u)",
            {"x": "m", "y": "m", "t": "s", "k": "m2 s-2"},
            "u_t is [u]/s and k*(u_xx + u_yy) is [u]/s^2.",
        ),
    ],
)
def test_units_that_differ(equation, given, text):
    """Terms of different units, in kind or in size, are named with their units; nothing follows then."""
    said = units(equation, **given)
    assert text in said.conflicts[0]
    assert not said.found


def test_units_of_geographical_coordinates():
    """The radius of the Earth and degrees are numbers of the geometry, not of the user."""
    names = Names(("lon", "lat", "t"), {"T": ("lon", "lat", "t")}, {"k": (), "r": ()}, system="lonlat")
    given = {"T": "K", "lon": "degrees_east", "lat": "degrees_north", "t": "d"}
    said = units("T_t = k*lap(T) - r*T", names, **given)
    assert (said.conflicts, said.found["r"]) == ((), "1/d")


def test_units_of_decibels_count_as_missing():
    """A logarithmic unit is no multiple of another."""
    said = units("u_t = r*u", u="dB", t="s")
    assert (said.conflicts, said.found["r"]) == ((), "1/s")


def rod(unknown):
    """Heat in a rod, with x in mm and t in s."""
    x, t = np.linspace(0, 3, 40), np.linspace(0, 1, 30)
    u = xr.DataArray(np.exp(-0.1 * t) * np.sin(x[:, None]), {"x": x, "t": t}, ("x", "t"), "u")
    data = mf.Observations.from_dataset(u, units={"u": "K", "x": "mm", "t": "s"}).add_noise(0.01)
    return mf.InverseProblem("u_t = k*u_xx", data, {"k": unknown})


def test_units_that_follow_are_shown_by_check():
    """As information, and among the numbers."""
    found = mf.check(rod(mf.ScalarUnknown()))
    assert "k in mm^2/s" in str(found)
    assert found.numbers["units"] == {"k": "mm^2/s"}


@pytest.mark.parametrize("unknown", [mf.ScalarUnknown(), mf.FieldUnknown(over="x")])
def test_units_that_follow_are_those_of_the_answer(unknown):
    """Of an estimate, and of a field and its standard error."""
    solution = mf.solve(rod(unknown), "weak")
    found = [e.unit for e in solution.estimates.values()]
    found += [solution.dataset[n].attrs["units"] for n in ("k", "k_sd") if n in solution.dataset]
    assert set(found) == {"mm^2/s"}


def test_units_that_differ_are_a_warning():
    """Check warns, the solution keeps a note, and neither is an error."""
    problem = rod(mf.ScalarUnknown(unit="m^2/s"))
    assert [f.topic for f in mf.check(problem).warnings] == ["units"]
    solution = mf.solve(problem, "weak")
    assert solution.estimates["k"].unit == "m^2/s"
    assert "Units     In 'u_t = k*u_xx', u_t is K/s and k*u_xx" in solution.summary()
