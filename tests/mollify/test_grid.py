"""Axes and grids: nodes, halos, and what they refuse."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from mollifier.errors import GridError
from mollifier.mollify.grid import Axis, Grid, axis_of
from mollifier.mollify.radius import Radius


def test_axis_points_ends():
    """Points include both ends unless periodic."""
    np.testing.assert_array_equal(Axis("x", 0.0, 1.0, 5).points, [0, 0.25, 0.5, 0.75, 1])
    np.testing.assert_array_equal(Axis("x", 0.0, 1.0, 4, periodic=True).points, [0, 0.25, 0.5, 0.75])
    assert Axis("x", 0.0, 1.0, 4, periodic=True).spacing == 0.25
    assert Axis("x", 2.0, 2.0, 1).points.tolist() == [2.0]


def test_grid_coords_order():
    """Coords run through the last axis fastest."""
    coords = Grid(Axis("x", 0.0, 1.0, 2), Axis("t", 0.0, 2.0, 3)).coords()
    assert coords.tolist() == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]]


@given(st.integers(2, 60), st.floats(-1e3, 1e3), st.floats(1e-3, 1e3), st.booleans())
def test_axis_from_even_points(size, lower, length, periodic):
    """Even points are recognised and come back."""
    axis = Axis("x", lower, lower + length, size, periodic=periodic)
    again = Axis.from_points("x", axis.points, periodic=length if periodic else False)
    assert again.uniform
    np.testing.assert_allclose(again.points, axis.points, rtol=1e-12, atol=1e-12 * length)


def test_axis_from_float32_points():
    """Float32 coordinates count as even."""
    assert Axis.from_points("x", np.linspace(0, 1, 1000, dtype=np.float32)).uniform


def test_axis_from_drifting_points():
    """Small steps that drift are not even."""
    # Each step differs from the next by 1e-8 of the extent, yet the middle node is 3 cells off its place.
    x = np.linspace(0, 1, 20_001) + 1.5e-4 * np.sin(np.pi * np.linspace(0, 1, 20_001))
    assert not Axis.from_points("x", x).uniform


def test_axis_periodic_numpy_true():
    """True of NumPy is not a period of one."""
    assert Axis.from_points("x", [0.0, 2.0, 4.0], periodic=np.True_).upper == 6.0


@given(st.integers(2, 40), st.floats(0.01, 3.0), st.booleans())
def test_axis_halo_nodes(size, radius, uneven):
    """Halo has all nodes less than one radius past the ends, none at it, and keeps the nodes."""
    x = np.linspace(0, 1, size)
    axis = Axis.from_points("x", x**1.5 if uneven else x)
    wide = axis.extend(radius)
    first, last = axis.points[1] - axis.points[0], axis.points[-1] - axis.points[-2]
    for reached, gap in ((-wide.points[0], first), (wide.points[-1] - 1, last)):
        assert reached < radius <= (reached + gap) * (1 + 1e-9)
    before = int(np.sum(wide.points < -1e-12))
    np.testing.assert_allclose(wide.points[before : before + size], axis.points, atol=1e-12 * (1 + radius))


def test_axis_halo_periodic():
    """Periodic axes need no halo."""
    axis = Axis("x", 0.0, 1.0, 8, periodic=True)
    assert axis.extend(0.3) is axis


def test_axis_spacing_uneven():
    """Spacing of an uneven axis is its widest gap."""
    assert Axis.from_points("x", [0.0, 1.0, 3.0]).spacing == 2.0
    assert Axis.from_points("x", [0.0, 1.0, 3.0], periodic=8.0).spacing == 5.0


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Axis("x", 0.0, 1.0, 0), "1 or more"),
        (lambda: Axis("x", 1.0, 0.0, 5), "above the lower"),
        (lambda: Axis("x", 0.0, np.inf, 5), "finite"),
        (lambda: Axis("x", 0.0, 1.0, 3, nodes=(0.0, 1.0)), "from_points"),
        (lambda: Axis.from_points("x", [0.0, 0.0, 1.0]), "repeats at index 1"),
        (lambda: Axis.from_points("x", [0.0, 2.0, 1.0]), "decreases at index 2"),
        (lambda: Axis.from_points("x", [0.0, np.nan]), "1 points that are not finite"),
        (lambda: Axis.from_points("x", [[0.0, 1.0]]), r"shape \(1, 2\)"),
        (lambda: Axis.from_points("x", [0.0, 1.0, 3.0], periodic=True), "give its period"),
        (lambda: Axis.from_points("x", [0.0, 1.0], periodic=0.5), "already span 1"),
        (lambda: Axis.from_points("t", np.array(["2020-01-01", "2020-01-02"], dtype="M8[D]")), "timedelta64"),
        (lambda: Grid(), "different names"),
        (lambda: Grid(Axis("x", 0, 1, 2), Axis("x", 0, 1, 2)), "different names"),
        (lambda: Grid(Axis("time", 0, 1, 2))["tiem"], "Did you mean 'time'"),
        (lambda: Radius(Grid(Axis("x", 0, 1, 2)), -1.0), "positive length"),
        (lambda: Radius(Grid(Axis("x", 0, 1, 2)), float("nan")), "positive length"),
        (lambda: Radius(Grid(Axis("x", 0, 1, 2)), {}), r"No radius was given for \['x'\]"),
        (lambda: Radius(Grid(Axis("x", 0, 1, 2)), {"x": 1.0, "y": 1.0}), "no axis 'y'"),
    ],
)
def test_grid_refusals(make, says):
    with pytest.raises(GridError, match=says):
        make()


def test_axis_of_a_labelled_coordinate():
    """Unit and period are those of the coordinate's attributes."""
    x = xr.DataArray([0.0, 1.0, 2.0], dims="x", name="x", attrs={"units": "m", "periodic": 3.0})
    assert axis_of(x) == Axis("x", 0.0, 3.0, 3, periodic=True, unit="m")
    with pytest.raises(GridError, match=r"dataset.sortby|array.sortby"):
        axis_of(x[::-1])
    with pytest.raises(GridError, match="True, False or a period was expected"):
        axis_of(x.assign_attrs(periodic="yes"))


def test_scaled_grid_of_even_uneven_and_single_nodes():
    """Ends are at -1 and 1, nodes in proportion; a single node is in the middle."""
    uneven = Axis.from_points("t", [1.0, 2.0, 5.0], unit="s")
    scaled = Grid(Axis("x", 0.0, 4.0, 4, periodic=True), uneven, Axis("y", 3.0, 3.0, 1)).scaled
    assert scaled["x"] == Axis("x", -1.0, 1.0, 4, periodic=True)
    assert scaled["t"].points.tolist() == [-1.0, -0.5, 1.0]
    assert scaled["t"].unit == "s"
    assert scaled["y"].points.tolist() == [0.0]
