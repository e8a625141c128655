"""Moment-exact rows: polynomials, trigonometric functions, orders of convergence, noise."""

import re
from math import factorial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.polynomial import Chebyshev

from mollifier.errors import GridError
from mollifier.mollify.grid import Axis
from mollifier.mollify.kernels import BSpline, Bump, Polynomial
from mollifier.mollify.radius import least_radius
from mollifier.mollify.stencils import degree_for, moment_error, rows

KERNELS = [Polynomial(8), BSpline(7), Bump()]


def uneven(size: int, seed: int = 0, spread: float = 0.6) -> Axis:
    """Gaps between 1 - spread and 1 + spread of the mean, about."""
    gaps = np.random.default_rng(seed).uniform(1 - spread, 1 + spread, size - 1)
    return Axis.from_points("x", np.concatenate([[0.0], np.cumsum(gaps)]) / gaps.sum())


def polynomials(degree: int) -> list[Chebyshev]:
    """A basis of the polynomials to a degree on [0, 1], none of them small anywhere for long."""
    return [Chebyshev.basis(m, domain=[0, 1]) for m in range(degree + 1)]


def polynomial_errors(r, axis: Axis) -> tuple[float, float]:
    """Largest error on polynomials to the degree promised, relative to sum |w||p|, and to max |p^(k)|."""
    by_row, by_derivative = 0.0, 0.0
    for p in polynomials(r.degree):
        values = p(axis.points)[r.index]
        exact = p.deriv(r.order)(r.centres) if r.order else p(r.centres)
        error = np.abs((r.weights * values).sum(-1) - exact)
        by_row = max(by_row, float((error / np.abs(r.weights * values).sum(-1)).max()))
        if np.abs(exact).max() > 0:
            by_derivative = max(by_derivative, float(error.max() / np.abs(exact).max()))
    return by_row, by_derivative


def size(r) -> float:
    """Sum of |w| R^k of the largest row: moments are sums of such terms that cancel to 1 or 0."""
    reach = np.abs(np.where(r.weights != 0, r.offsets, 0)).max(-1)
    return max(1.0, float((np.abs(r.weights).sum(-1) * reach**r.order).max()))


@pytest.mark.parametrize("accuracy", [1, 2, 4])
@pytest.mark.parametrize("order", range(7))
@pytest.mark.parametrize("kernel", KERNELS, ids=str)
@pytest.mark.parametrize("even", [True, False], ids=["even", "uneven"])
def test_rows_exact_on_polynomials(kernel, order, accuracy, even):
    """At every node, ends included, and at points between nodes."""
    axis = Axis("x", 0.0, 1.0, 48) if even else uneven(48)
    radius = 9.5 * axis.spacing if even else 0.22
    between = np.random.default_rng(1).uniform(0, 1, 40)
    for centres in (axis.points, between):
        r = rows(axis, centres, kernel, radius, order, accuracy)
        by_row, _ = polynomial_errors(r, axis)
        assert by_row < 1e-12
        assert r.moment_error < 1e-14 * size(r)


@pytest.mark.parametrize("accuracy", [1, 2, 4])
@pytest.mark.parametrize("order", range(7))
@pytest.mark.parametrize("size", [24, 40])
def test_rows_on_a_window_sized_grid(order, accuracy, size):
    """Where the radius is a third of the axis, errors are also small beside the derivative itself."""
    for axis in (Axis("x", 0.0, 1.0, size), uneven(size, spread=0.3)):
        r = rows(axis, axis.points, Polynomial(8), 0.34, order, accuracy)
        assert polynomial_errors(r, axis)[1] < 1e-9


@pytest.mark.parametrize("order", range(7))
@pytest.mark.parametrize("even", [True, False], ids=["even", "uneven"])
def test_rows_periodic(order, even):
    """On a circle polynomials are no test; waves are, and their error falls as h^accuracy."""
    errors = []
    for size in (48, 96):
        x = np.arange(size) / size
        x = x if even else x + 0.2 / size * np.sin(2 * np.pi * x)
        axis = Axis.from_points("x", x, periodic=1.0)
        assert axis.uniform == even
        centres = np.concatenate([x, [-0.37, 1.2, 7.003]])
        r = rows(axis, centres, Polynomial(8), 9 / size, order, 4)
        got = (r.weights * np.cos(2 * np.pi * x + 0.3)[r.index]).sum(-1)
        exact = (2 * np.pi) ** order * np.cos(2 * np.pi * centres + 0.3 + order * np.pi / 2)
        errors.append(np.abs(got - exact).max() / (2 * np.pi) ** order)
        assert np.abs(r.weights.sum(-1) - (order == 0)).max() < 1e-13 * np.abs(r.weights).sum(-1).max()
    assert errors[1] < errors[0] / 2**3.7


def slope(kernel, order: int, accuracy: int, where: str) -> float:
    """Order of convergence in h, at a radius r of 9.5 cells, of the derivative of exp(ifx).

    The modulus of its error is the same at every whole row, whatever the phase of the wave. Grids have f r
    from 0.5 to 1.1: the truncation error is about (f r)^accuracy / 100 and round-off about
    1e-16 * (10 / (f r))^order, at least a hundred times smaller there. Of larger f r higher terms bend the
    slope.
    """
    errors, spacings = [], []
    sizes = (97, 145, 217)
    frequency = 0.5 * (sizes[-1] - 1) / 9.5
    for size in sizes:
        axis = Axis("x", 0.0, 1.0, size)
        centres = {
            "middle": axis.points[size // 2 - size // 8 : size // 2 + size // 8],
            "off-node": np.linspace(0.35, 0.65, 31) + 0.37 * axis.spacing,
            "end": axis.points[:3],
        }[where]
        r = rows(axis, centres, kernel, 9.5 * axis.spacing, order, accuracy)
        got = (r.weights * np.exp(1j * frequency * axis.points)[r.index]).sum(-1)
        exact = (1j * frequency) ** order * np.exp(1j * frequency * centres)
        errors.append(np.abs(got - exact).max())
        spacings.append(axis.spacing)
    return float(np.polyfit(np.log(spacings), np.log(errors), 1)[0])


@pytest.mark.parametrize("accuracy", [1, 2, 3, 4])
@pytest.mark.parametrize("order", range(7))
@pytest.mark.parametrize("where", ["middle", "off-node", "end"])
def test_convergence_order_is_the_accuracy(order, accuracy, where):
    """Whole rows on nodes are even or odd, which lends odd accuracies one order more; no others are."""
    found = slope(Polynomial(8), order, accuracy, where)
    parity = 1 if where == "middle" and accuracy % 2 else 0
    assert found > accuracy + parity - 0.1, found
    if where != "off-node":  # there the symmetry is nearly kept
        assert found < accuracy + parity + 0.1, found


def test_rows_uncorrected_moment_error():
    """The narrow bump's fourth derivative is wrong by factors, as its moments show; corrected it is exact."""
    axis = Axis("x", 0.0, 1.0, 101)
    inside = axis.points[20:81]
    plain = rows(axis, inside, Bump(), 8 * axis.spacing, 4, accuracy=None)
    assert plain.degree == -1
    assert plain.moment_error > 1e2
    got = plain.dense() @ axis.points**4 / factorial(4)
    assert np.abs(got - 1).max() > 10
    assert rows(axis, inside, Bump(), 8 * axis.spacing, 4).moment_error < 1e-9
    # A smooth polynomial kernel is off by a few percent at that radius, and by less the wider it is.
    errors = [rows(axis, inside, Polynomial(8), c * axis.spacing, 4, None).moment_error for c in (6, 8, 12)]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 1e-2 < errors[1] < 0.1


@pytest.mark.parametrize("degree", [3, 5, 7, 9])
def test_rows_bspline_without_correction(degree):
    """At a radius of (p + 1)/2 cells the sampled spline meets its moments to degree p (Strang-Fix)."""
    axis = Axis("x", 0.0, 60.0, 61)
    for centre in (30.0, 30.5, 30.213):
        for order in range(degree):
            r = rows(axis, np.array([centre]), BSpline(degree), (degree + 1) / 2, order, None)
            assert moment_error(r.weights, r.offsets, order, order) < 1e-13 * size(r)
            if centre == 30.0 and order + 2 <= degree:  # sum w x^(k+1) = 0 by parity
                assert moment_error(r.weights, r.offsets, order, order + 1) < 1e-13 * size(r)
                corrected = rows(axis, np.array([centre]), BSpline(degree), (degree + 1) / 2, order, 1)
                np.testing.assert_allclose(corrected.weights, r.weights, atol=1e-10)


@pytest.mark.parametrize("order", [0, 2, 4])
def test_noise_gain_is_the_spread_of_the_result(order):
    axis = Axis("x", 0.0, 1.0, 60)
    r = rows(axis, axis.points, Polynomial(8), 0.2, order, 2)
    noise = np.random.default_rng(0).standard_normal((20_000, 60))
    spread = (noise @ r.dense().T).std(0)
    # The sd of a sample sd from 20,000 draws is 0.5 %; 60 rows: 4 of those.
    np.testing.assert_allclose(spread, r.noise_gain, rtol=0.02)


def test_noise_gain_falls_with_the_radius_as_it_should():
    """White noise through the k-th derivative at radius r: h^(1/2) r^-(k + 1/2)."""
    axis = Axis("x", 0.0, 1.0, 801)
    for order in (0, 1, 2, 4):
        gains = [rows(axis, axis.points[400:402], Polynomial(8), r, order).noise_gain[0] for r in (0.1, 0.4)]
        assert np.log(gains[1] / gains[0]) / np.log(4) == pytest.approx(-(order + 0.5), abs=0.02)


def test_rows_windows_at_odd_places():
    one = Axis("x", 2.0, 2.0, 1)
    r = rows(one, np.array([2.0, 2.0]), Polynomial(8), 1.0, 0)
    assert r.dense().tolist() == [[1.0], [1.0]]
    with pytest.raises(GridError, match="has one point"):
        rows(one, np.array([2.0]), Polynomial(8), 1.0, 1)
    # A radius beyond the whole axis: every row sees every node, one-sided, and is still exact.
    axis = Axis("x", 0.0, 1.0, 9)
    r = rows(axis, axis.points, Polynomial(8), 30.0, 2, 2)
    assert not r.whole.any()
    assert polynomial_errors(r, axis)[1] < 1e-12
    # No centres at all, and centres half a cell past the last node (cell-centred data).
    assert rows(axis, np.zeros(0), Polynomial(8), 0.6, 1).dense().shape == (0, 9)
    past = rows(axis, np.array([-0.0625, 1.0625]), Polynomial(8), 0.6, 1, 2)
    np.testing.assert_allclose(past.dense() @ axis.points**2, [-0.125, 2.125], atol=1e-12)
    # Half the period is the widest radius of a circle.
    circle = Axis("x", 0.0, 1.0, 16, periodic=True)
    assert rows(circle, circle.points, Polynomial(8), 0.5, 2).invariant == slice(0, 16)


def test_rows_shared_equal_single():
    """Rows that share a stencil equal rows made one by one."""
    axis = Axis("x", 0.0, 1.0, 41)
    r = rows(axis, axis.points, Polynomial(8), 0.2, 2)
    assert r.invariant == slice(7, 34)
    single = np.concatenate(
        [rows(axis, axis.points[i : i + 1], Polynomial(8), 0.2, 2).dense() for i in range(41)]
    )
    np.testing.assert_allclose(r.dense(), single, atol=1e-11 * np.abs(single).max())
    assert r.whole[7:34].all()
    assert not r.whole[[0, 6, 34, 40]].any()


def test_rows_of_a_long_axis_hold_one_stencil():
    """A million rows cost the memory of those at the ends."""
    axis = Axis("x", 0.0, 1.0, 1_000_000)
    r = rows(axis, axis.points, Polynomial(8), 30 * axis.spacing, 2)
    assert r.distinct.weights.shape == (59, 61)
    assert r.span(slice(0, 29)) == (0, 61)


@settings(deadline=None, max_examples=60)
@given(
    st.integers(12, 50),
    st.integers(0, 6),
    st.integers(1, 4),
    st.floats(1.0, 12.0),
    st.sampled_from([*KERNELS, Polynomial(20), BSpline(9)]),
    st.integers(0, 99),
)
def test_rows_are_exact_or_refused(size, order, accuracy, cells, kernel, seed):
    """Whatever the grid: either the moments hold, or an error that names a radius with which they do."""
    axis = uneven(size, seed) if seed % 2 else Axis("x", 0.0, 1.0, size)
    radius = cells * axis.spacing
    centres = np.random.default_rng(seed).uniform(0, 1, 12)
    for _ in range(2):
        try:
            r = rows(axis, centres, kernel, radius, order, accuracy)
        except GridError as error:
            cure = re.search(r"a radius of (\S+) would do|no radius on this axis would do", str(error))
            if cure is None:
                raise
            if cure[1] is None:
                return
            radius, centres = float(cure[1]), axis.points
        else:
            # Sums of terms w p: what a float64 sum of them can hold after weights of 1e-5 beside 1.
            assert polynomial_errors(r, axis)[0] < 1e-9
            return
    pytest.fail(f"the radius named, {radius}, was refused too")


@pytest.mark.parametrize("kernel", [*KERNELS, Polynomial(20)], ids=str)
@pytest.mark.parametrize("degree", [1, 3, 7])
def test_least_radius_is_enough(kernel, degree):
    """The least radius is enough anywhere."""
    axis = Axis("x", 0.0, 40.0, 41)
    radius = least_radius(kernel, 1.0, degree)
    r = rows(axis, 20 + np.linspace(0, 1, 21), kernel, radius, degree, 1)
    assert polynomial_errors(r, axis)[0] < 1e-9
    with pytest.raises(GridError, match="nodes under the kernel"):
        rows(axis, 20 + np.linspace(0, 1, 21), kernel, 0.7 * radius, degree, 1)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (
            lambda a: rows(a, a.points, Polynomial(8), 0.1, 4),
            r"order 4 exact to degree 5 needs 6 nodes .* radius of",
        ),
        (lambda a: rows(a, a.points, Polynomial(8), 5.0, 8, 6), "no radius on this axis would do"),
        (lambda a: rows(a, a.points, Polynomial(3), 5.0, 4), "take a higher degree"),
        (lambda a: rows(a, a.points, Polynomial(8), 0.5, 1, 0), "accuracy=0"),
        (lambda a: rows(a, a.points, Polynomial(8), 0.5, 1, None), "has no one-sided rows"),
        (
            lambda a: rows(a, np.array([0.5, 1.3]), Polynomial(8), 0.5, 1),
            "1 of 2 points lie more than half a cell",
        ),
        (lambda a: rows(a, np.array([0.5, np.nan]), Polynomial(8), 0.5, 1), "1 of 2 points .* not finite"),
        (lambda a: rows(a, np.zeros((2, 2)), Polynomial(8), 0.5, 1), r"shape \(2, 2\)"),
        (
            lambda a: rows(Axis("x", 0, 1, 10, periodic=True), a.points, Polynomial(8), 0.6, 1),
            "more than half its period",
        ),
    ],
)
def test_rows_refusals(make, says):
    with pytest.raises(GridError, match=says):
        make(Axis("x", 0.0, 1.0, 12))


def test_degree_for_accuracy():
    """The degree of an accuracy."""
    assert [degree_for(k, a) for k, a in ((0, 1), (0, 2), (4, 2))] == [0, 1, 5]
