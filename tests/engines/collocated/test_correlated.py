"""Standard errors where neighbouring samples may share noise and are too few to show it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import mollifier as mf
from mollifier.engines.collocated.correlated import widening


def autoregressive(rng, shape, rho):
    e = rng.normal(size=shape)
    for i in range(1, shape[-1]):
        e[..., i] = rho * e[..., i - 1] + np.sqrt(1 - rho**2) * e[..., i]
    return e


def of_a_mean(e):
    """Error and widening of the mean of values, (n,), and its variance under white noise."""
    n = len(e)
    apart = np.abs(np.subtract.outer(np.arange(n), np.arange(n))).astype(float)
    mean = np.full((n, n), 1 / n)
    left = e - e.mean()
    return e.mean(), widening(left, np.full((n, 1), 1 / n), mean, apart)[0], left @ left / (n - 1) / n


def shares(n, rho, seeds):
    """Of means that their 95 % intervals hold, under white noise and with the widening, and its mean root."""
    draws = (of_a_mean(autoregressive(np.random.default_rng(seed), (n,), rho)) for seed in seeds)
    error, wider, variance = np.array(list(draws)).T
    white, now = np.abs(error) < 1.96 * np.sqrt([variance, variance * wider])
    return white.mean(), now.mean(), np.sqrt(wider).mean()


@pytest.mark.parametrize(("n", "rho", "least"), [(25, 0.3, 0.88), (25, 0.5, 0.86), (100, 0.5, 0.9)])
def test_mean_of_few_correlated_values_is_held(n, rho, least):
    white, now, _ = shares(n, rho, range(700, 900))
    assert white < 0.87
    assert now > max(least, white + 0.05)


@pytest.mark.parametrize(("n", "most"), [(25, 1.3), (100, 1.06), (300, 1.03)])
def test_white_noise_is_hardly_widened(n, most):
    white, now, wider = shares(n, 0.0, range(900, 1020))
    assert white - 1e-9 <= now < 0.995
    assert 1.0 <= wider < most


def test_correlation_ends_with_a_sensor_and_rows_without_a_sample_do_not_count():
    e = autoregressive(np.random.default_rng(1), (40,), 0.6)
    left, moved, mean = e - e.mean(), np.full((40, 1), 1 / 40), np.full((40, 40), 1 / 40)
    apart = np.abs(np.subtract.outer(np.arange(40), np.arange(40))).astype(float)
    found = widening(left, moved, mean, apart)
    assert found[0] > 1.5
    alone = np.where(np.eye(40) > 0, 0.0, np.inf)
    assert widening(left, moved, mean, alone) == pytest.approx(1.0)
    there = np.r_[np.arange(10), np.arange(12, 42)]
    padded = [np.zeros(42), np.zeros((42, 1)), np.zeros((42, 42)), np.full((42, 42), np.nan)]
    padded[0][there], padded[1][there] = left, moved
    padded[2][np.ix_(there, there)], padded[3][np.ix_(there, there)] = mean, apart
    assert widening(*padded) == pytest.approx(found)


def test_exchanger_by_25_values_with_correlated_noise():
    """Of 24 numbers 19 were held (rms score 1.6), as 25 residuals do not show a correlation of one half."""
    scores = []
    for seed in range(60, 72):
        rng, x = np.random.default_rng(seed), np.linspace(0, 1, 25)
        k = rng.uniform(1.1, 1.7), rng.uniform(0.7, 1.1)
        clean = solve_ivp(
            lambda t, y, k=k: np.multiply(k, y[1] - y[0]), (0, 1), [90, 40], t_eval=x, rtol=1e-8
        )
        a, b = clean.y + 0.5 * autoregressive(rng, (2, 25), 0.5)
        unknowns = {"k1": mf.ScalarUnknown(), "k2": mf.ScalarUnknown()}
        data = mf.Observations({"a": a, "b": b}, {"x": x})
        problem = mf.InverseProblem(["a_x = -k1*(a - b)", "b_x = -k2*(a - b)"], data, unknowns)
        found = mf.solve(problem, "joint").estimates
        scores += [(found[n].value - v) / found[n].sd for n, v in zip(("k1", "k2"), k, strict=True)]
    assert np.mean(np.abs(scores) < 1.96) > 0.85
    assert np.sqrt(np.mean(np.square(scores))) < 1.35
