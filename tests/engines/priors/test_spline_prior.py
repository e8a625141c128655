"""Priors of splines: their quadratic forms, and the search for the greatest evidence."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from mollifier.engines.priors.spline_prior import Prior, Seminorm, maximise, prior
from mollifier.engines.splines.basis import AxisSplines, Basis
from mollifier.mollify.grid import Axis, Grid


def line(size=12, degree=3):
    axis = Axis("x", 0.0, 1.0, 40)
    return Basis("k", {"x": AxisSplines(axis, size, degree)}, Grid(axis))


def test_maximise_two_maxima():
    def evidence(hypers):
        far, near = hypers[0].strength + 5.0, hypers[0].strength - 4.0
        return float(np.logaddexp(50 - far**2, 20 - near**2))

    (found,), value = maximise(evidence, [Prior("k", line(), orders=(2,))])
    assert found.strength == pytest.approx(-5.0, abs=0.3)
    assert value == pytest.approx(50.0, abs=0.3)


def basis(degree=1):
    x, y = Axis("x", 0.0, 2.0, 20), Axis("y", 1.0, 4.0, 18)
    splines = {"x": AxisSplines(x, 8, degree), "y": AxisSplines(y, 7, degree)}
    return Basis("k", splines, Grid(x, y, Axis("t", 0.0, 1.0, 10)))


def test_total_variation_before_an_iterate_is_h1():
    b = basis()
    tv, h1 = prior("k", b, "tv"), prior("k", b, "h1")
    np.testing.assert_allclose(tv.precision(1, 0.7), h1.precision(1, 0.7), atol=1e-12)


def test_total_variation_of_a_slope_and_of_a_level():
    """Of f = 3x + 2y, per half-lengths 1 and 1.5, the gradient is (3, 3): weights are all 1, but for eps."""
    b = basis()
    knots = 2 * np.arange(8) / 7, 1 + 3 * np.arange(7) / 6
    field = (3 * knots[0][:, None] + 2 * knots[1]).ravel()
    tv = prior("k", b, "tv")
    about = tv.about(field)
    assert field @ about.precision(1, 0.7) @ field == pytest.approx(18, rel=0.01)
    assert tv.about(np.full(b.size, 2.0)).precision(1, 0.7) == pytest.approx(tv.precision(1, 0.7))


def test_total_variation_counts_a_step_as_a_slope():
    """Over one coordinate: a step of one cell costs what a slope over all cells to the same height costs."""
    x = Axis("x", 0.0, 2.0, 20)
    b = Basis("k", {"x": AxisSplines(x, 11, 1)}, Grid(x))
    step, slope = np.where(np.arange(11) > 4, 1.0, 0.0), np.arange(11) / 10

    def cost(field, kind):
        about = prior("k", b, kind).about(field)
        return field @ about.precision(1, 0.7) @ field / np.sqrt(field @ b.penalty(1) @ field)

    assert cost(step, "tv") == pytest.approx(cost(slope, "tv"), rel=0.02)
    assert cost(step, "h1") > 3 * cost(slope, "h1")


def test_unlike_priors_together():
    """A choice of order is shared by those that leave it; a length is found for those that have one."""
    b = basis(degree=9)
    both = [prior("k", b, "auto"), prior("q", b, "h2"), prior("r", b, "h1")]
    tried = []

    def evidence(hypers):
        tried.append(hypers)
        return -sum((h.strength + 2.2) ** 2 + (h.length + 0.5) ** 2 + (h.order - 4) ** 2 for h in hypers)

    found, _ = maximise(evidence, both)
    assert [h.order for h in found] == [4, 2, 1]
    assert [h.length for h in found[1:]] == [0.7, 0.7]
    assert {h[0].order for h in tried} == {1, 2, 4, 8}
    assert found[0].length == pytest.approx(-0.5, abs=0.3)
    alone, _ = maximise(lambda h: -((h[0].strength + 2.2) ** 2), [both[1]])
    assert (alone[0].order, alone[0].length) == (2, 0.7)
    assert alone[0].strength == pytest.approx(-2.2, abs=0.3)


def test_a_seminorm_leaves_its_null_space():
    b = Basis("k", {"x": AxisSplines(Axis("x", 0.0, 2.0, 20), 9, 1)}, Grid(Axis("x", 0.0, 2.0, 20)))
    flat = Seminorm("k", b, (1,)).precision(1, 0.0)
    ones = np.ones(9)
    assert ones @ flat @ ones == pytest.approx(1e-6)
    values = np.linalg.eigvalsh(flat)
    assert all(one <= two for one, two in pairwise(values))
    assert values[1] > 1e-3


@pytest.mark.parametrize("length", [0.5, 1.0])
def test_prior_spread_mean_variance(length):
    basis = line()
    one = Prior("k", basis, orders=(1, 2))
    held = np.linalg.inv(one.precision(2, np.log10(length).round(1), free=False))
    assert one.spread(2, np.log10(length)) == pytest.approx(
        basis.mean_variance(np.asarray(held, dtype=np.float64)), rel=1e-6
    )
