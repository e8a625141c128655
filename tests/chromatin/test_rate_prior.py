"""The prior of a rate, and its evidence beside noise of an unknown scale."""

from __future__ import annotations

import numpy as np
import pytest

from mollifier.chromatin.galerkin import RatePrior, RateProblem
from mollifier.engines.priors.evidence import LinearisedProblem
from mollifier.engines.priors.field_prior import field_prior
from mollifier.engines.priors.shapes import Choice, Shape
from mollifier.mollify.grid import Axis, Grid

LATTICE = Grid(Axis("x", -1.0, 1.0, 12))
CHOICES = [{"lam": Choice(Shape(2), strength)} for strength in (0.01, 0.1, 1.0)]


def problem(sd: float, rows: int, others: int = 2):
    """Rows whose errors are ``sd`` times what is stated, and the same without a scale of the noise."""
    rng, size = np.random.default_rng(0), LATTICE.size + others
    design = rng.standard_normal((rows, size))
    target = design @ np.append(np.sin(LATTICE["x"].points), np.zeros(others))
    target += sd * rng.standard_normal(rows)
    prior = {"lam": RatePrior(field_prior(LATTICE, "auto"), 0.6, others)}
    known = design.T @ design + np.diag(np.append(np.zeros(LATTICE.size), np.full(others, 4.0)))
    plain = LinearisedProblem(known, -design.T @ target, prior)
    return RateProblem(known, -design.T @ target, prior, {}, float(target @ target), rows), plain


@pytest.mark.parametrize(("sd", "rows"), [(0.5, 100), (5.0, 20)])
def test_evidence_is_that_of_the_stated_noise(sd, rows):
    """Where the rows do not exceed it, and where there are too few to show its scale."""
    ours, plain = problem(sd, rows)
    found = [ours.log_evidence(c) - plain.log_evidence(c) for c in CHOICES]
    np.testing.assert_allclose(found, found[0], atol=1e-8)


def test_evidence_takes_residuals_beyond_the_noise_for_noise():
    """Errors five times as large as stated do not make a rough rate likelier than a smooth one."""
    ours, plain = problem(5.0, 100)
    gain = [ours.log_evidence(CHOICES[2]) - ours.log_evidence(CHOICES[0]) for ours in (ours, plain)]
    assert gain[0] > gain[1] + 10


def test_hyperprior_is_greatest_at_the_median_relative_deviation():
    prior = RatePrior(field_prior(LATTICE, "auto"), 0.6, 0)
    logs = np.linspace(-8, 8, 1601)
    best = max(logs, key=lambda x: prior.log_hyperprior(Shape(2), float(np.exp(x))))
    assert prior.log_variance(Shape(2), float(np.exp(best)))[0] / 2 == pytest.approx(np.log(0.7), abs=0.01)
