"""Strengths that vary, and the evidence for edges, of fields that are measured with noise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mollifier.engines.network.smoothness import WeightPrior
from mollifier.engines.priors.differences import derivative_rows
from mollifier.engines.priors.evidence import LinearisedProblem
from mollifier.engines.priors.field_prior import FieldPrior
from mollifier.engines.priors.lattice_prior import LatticePrior
from mollifier.engines.priors.search import PriorSearch
from mollifier.engines.priors.tuning import PriorTuning
from mollifier.engines.priors.varying import adapted, edge_evidence, varied
from mollifier.mollify.grid import Axis, Grid

LATTICE = Grid(Axis("x", -1.0, 1.0, 60))
X = LATTICE.axes[0].points
SD = 0.05
STEP, WAVE = np.where(abs(X) < 0.4, 1.0, -1.0), np.sin(4 * X)
PEAK = 0.2 * np.sin(3 * X) + 3 * np.exp(-((X - 0.3) ** 2) / 0.004)


def weights(kind):
    """The prior of a field whose weights are its values."""
    values = np.eye(60), np.zeros(60), np.arange(60)
    curvature = derivative_rows(LATTICE, 2)
    return WeightPrior(slice(0, 60), FieldPrior(LATTICE, kind), *values, curvature, 1.0, 1e-2)


def lattice(kind):
    return LatticePrior(slice(0, 60), FieldPrior(LATTICE, kind), np.zeros(60), 1.0, 1)


def search(field, prior, seed=0):
    seen = field + SD * np.random.default_rng(seed).standard_normal(60)
    problem = LinearisedProblem(np.eye(60) / SD**2, -seen / SD**2, {"k": prior})
    return PriorSearch(problem, ["k"], PriorTuning())


@pytest.mark.parametrize("make", [lattice, weights])
@pytest.mark.parametrize("kind", ["auto", "h2"])
def test_edge_evidence_step_and_wave(make, kind):
    """A step has the evidence for edges, a wave against them, whatever the prior that was taken."""
    gains = []
    for field in (STEP, WAVE):
        seek = search(field, make(kind))
        gains.append(edge_evidence(*adapted(seek, seek.anew())[:2])["k"])
    assert gains[0] > 8 > 0 > gains[1]


def test_edge_evidence_follows_the_tuning():
    """How flat a field is between edges is the caller's choice."""
    sharp, blunt = (
        edge_evidence(replace(seek, tuning=PriorTuning(flat=flat)), seek.anew())["k"]
        for seek in [search(STEP, lattice("auto"))]
        for flat in (0.1, 3.0)
    )
    assert sharp > blunt + 3


def test_edge_evidence_apart_has_none():
    """Values that have no neighbours have no edges."""
    apart = Grid(Axis("animal", 0.0, 59.0, 60, discrete=True))
    prior = LatticePrior(slice(0, 60), FieldPrior(apart, "auto"), np.zeros(60), 1.0, 1)
    seek = search(WAVE, prior)
    assert edge_evidence(seek, seek.anew()) == {}


@pytest.mark.parametrize("make", [lattice, weights])
def test_varied_peak_gains_more_than_a_wave(make):
    """A strength that varies suits a peak, and leaves the prior that it was found from as it was."""
    gains = []
    for field in (PEAK, WAVE):
        seek = search(field, make("auto"))
        choices = seek.anew()
        before = seek.problem.log_evidence(choices)
        gains.append(varied(seek, choices)[2])
        assert seek.problem.log_evidence(choices) == before
    assert gains[0] > 4 > gains[1]


def test_adapted_without_a_matern_prior_is_as_given():
    seek = search(WAVE, lattice("h2"))
    choices = seek.anew()
    assert adapted(seek, choices) == (seek, choices, 0.0)
