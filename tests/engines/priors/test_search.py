"""The search for the priors of greatest evidence, on evidences whose maximum is known."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest

from mollifier.engines.priors.search import PriorSearch
from mollifier.engines.priors.shapes import Choice, Shape, Shapes
from mollifier.engines.priors.tuning import PriorTuning


@dataclass
class Toy:
    """An evidence that is a function of all choices, with logarithms of strengths."""

    evidence: object
    priors: dict

    def balance(self, name, shape):
        return 0.0

    def profile(self, name, choices):
        def along(log):
            return self.evidence({**choices, name: replace(choices[name], strength=float(np.exp(log)))})

        return along


def toy(evidence, **kinds):
    wide = {"strongest": lambda shape: np.inf, "log_variance": lambda shape, strength: (50.0, 1.0)}
    priors = {n: SimpleNamespace(shapes=Shapes.of(kind), **wide) for n, kind in kinds.items()}
    return PriorSearch(Toy(evidence, priors), list(priors), PriorTuning())


def log(choice):
    return float(np.log(choice.strength))


def test_search_finds_the_greater_of_two_maxima():
    def evidence(choices):
        far, near = log(choices["k"]) + 12, log(choices["k"]) - 9
        return float(np.logaddexp(50 - far**2, 20 - near**2))

    found = toy(evidence, k="h2").anew()["k"]
    assert log(found) == pytest.approx(-12.0, abs=0.1)


def test_search_climbs_to_a_shape_far_from_those_it_begins_with():
    best = Shape(3, PriorTuning().lengths[-1])

    def evidence(choices):
        shape = choices["k"].shape
        away = (shape.order - best.order) ** 2 + (2 * np.log10(shape.length / best.length)) ** 2
        return -3 * away - 0.1 * (log(choices["k"]) - 1.5) ** 2

    found = toy(evidence, k="auto").anew()["k"]
    assert found.shape == best
    assert log(found) == pytest.approx(1.5, abs=0.3)


def test_search_over_unlike_priors_together():
    """The strengths of three fields depend a little on one another; those of one term keep their shape."""

    def evidence(choices):
        a, b, c = (log(choices[n]) for n in "kqr")
        coupled = (a - b + 3) ** 2 + (b - c) ** 2
        own = (a - 2) ** 2 + (b - 5) ** 2 + (c - 5) ** 2 + (choices["k"].shape.order - 4) ** 2
        return -own - 0.2 * coupled

    found = toy(evidence, k="auto", q="h2", r="h1").anew()
    assert [found[n].shape.order for n in "kqr"] == [4, 2, 1]
    assert [log(found[n]) for n in "kqr"] == pytest.approx([2, 5, 5], abs=0.3)


@pytest.mark.parametrize("kind", ["h2", "auto"])
def test_mixture_over_strengths_keeps_mean_and_width(kind):
    """Of a normal evidence, but for what lies beyond the ends of the lattice."""
    best = Choice(Shape(2) if kind == "h2" else Shape(2, 1.0), 0.1)

    def evidence(choices):
        away = 0.0 if choices["k"].shape == best.shape else 50.0
        return -((log(choices["k"]) - log(best)) ** 2) / 8 - away

    weights, logs = np.array([(w, log(c["k"])) for w, c in toy(evidence, k=kind).mixture({"k": best})]).T
    assert weights.sum() == pytest.approx(1.0)
    assert weights @ logs == pytest.approx(log(best), abs=0.05)
    assert weights @ (logs - log(best)) ** 2 == pytest.approx(4.0, rel=0.15)


def test_a_search_from_no_start_looks_at_the_strongest_prior_once():
    """Where most of the coarse grid lies beyond it; the search about the best begins there again."""
    seen = []

    def evidence(choices):
        seen.append(log(choices["k"]))
        return seen[-1]

    search = toy(evidence, k="h2")
    search.problem.priors["k"].strongest = lambda shape: float(np.exp(-10.0))
    assert log(search.anew()["k"]) == pytest.approx(-10.0)
    assert sum(abs(x + 10.0) < 1e-6 for x in seen) == 2


@pytest.mark.parametrize(("near", "found", "most"), [(True, 0.0, 5), (False, -6.0, 12)])
def test_strengths_near_the_present_one_take_few_looks(near, found, most):
    """They leave the greater evidence across a valley to a search that looks far away."""
    seen = []

    def evidence(choices):
        seen.append(log(choices["k"]))
        return float(np.logaddexp(-4 * seen[-1] ** 2, 40 - 4 * (seen[-1] + 6) ** 2))

    start = {"k": Choice(Shape(2), float(np.exp(0.03)))}
    best = toy(evidence, k="h2").improved(start, shapes=False, near=near)["k"]
    assert log(best) == pytest.approx(found, abs=0.1)
    assert len(seen) <= most


def test_mixture_weighs_shapes_by_their_evidence():
    """Two shapes three apart in log-evidence; strengths count alike in both."""
    present, other = Shape(2, 1.0), Shape(3, 1.0)

    def evidence(choices):
        shape, away = choices["k"].shape, (log(choices["k"]) + 1) ** 2 / 2
        return {present: 0.0, other: -3.0}.get(shape, -50.0) - away

    parts = toy(evidence, k="auto").mixture({"k": Choice(present, float(np.exp(-1)))})
    share = sum(w for w, c in parts if c["k"].shape == other)
    assert share == pytest.approx(1 / (1 + np.exp(3)), rel=0.15)
