"""A field that is uncertain is averaged over its least certain direction."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

import mollifier as mf
from mollifier.engines.joint import direction, engine
from mollifier.engines.joint.direction import along_direction, wide_field


def decay(equation, noise, **bounds):
    """A state that decays at a rate over x, u = exp(-r(x) t), or is its integral along t."""
    x, t = np.linspace(0, 1, 12), np.linspace(0, 1, 15)
    rate = 1 + 0.5 * np.sin(3 * x)[:, None]
    u = np.exp(-rate * t) if equation.endswith("u") else -rate * t
    u = u + noise * np.random.default_rng(0).normal(size=u.shape)
    data = mf.Observations.from_dataset(
        xr.Dataset({"u": (("x", "t"), u)}, {"x": x, "t": t}), noise={"u": noise}
    )
    return mf.InverseProblem(equation, data, {"r": mf.FieldUnknown(over=("x",), **bounds)})


@pytest.fixture
def solved(monkeypatch):
    """A problem -> its most probable answer, and the last stage."""

    def found(problem):
        seen = []
        monkeypatch.setattr(engine, "wide_field", lambda *pair: seen.append(pair) or "")
        mf.solve(problem, "joint", rng=0)
        return seen[0]

    return found


def test_field_of_a_linear_question_stays_as_it_is(solved):
    """The density is normal, at the answer and with its standard errors."""
    found, joint = solved(decay("u_t = -r", 0.05))
    before = joint.parameters()
    averaged = along_direction(found, joint, "r")
    made = averaged.provenance["posterior"]
    rises = np.array(made["minus_twice_log_density"]) - min(made["minus_twice_log_density"])
    assert made["standard_errors"] == [-3.0, -1.5, 0.0, 1.5, 3.0]
    assert rises == pytest.approx([9.0, 2.25, 0.0, 2.25, 9.0], rel=0.02, abs=0.02)
    assert averaged.status.ok
    assert np.abs(averaged.dataset["r"] - found.dataset["r"]).max() < 0.05 * found.dataset["r_sd"].max()
    assert averaged.dataset["r_sd"].values == pytest.approx(found.dataset["r_sd"].values, rel=0.02)
    assert (joint.parameters() == before).all()


@pytest.mark.parametrize("bounds", [{}, {"lower": 0.0}])
def test_volume_across_the_line_moves_the_field(solved, monkeypatch, bounds):
    """A density of t^2 + 2t has its mean at -1: a field with a bound moves before its bijection."""
    found, joint = solved(decay("u_t = -r", 0.05, **bounds))
    own = direction._Line._covariance

    def growing(line):
        covariance = own(line)
        line.volume += 2 * line.at
        return covariance

    monkeypatch.setattr(direction._Line, "_covariance", growing)
    averaged = along_direction(found, joint, "r")
    said = re.search(r"direction: (\S+) ± (\S+) standard", averaged.status.message)
    assert [float(v) for v in said.groups()] == pytest.approx([-1.0, 1.0], abs=0.1)
    moved = ((averaged.dataset["r"] - found.dataset["r"]) / found.dataset["r_sd"]).values
    assert 0.5 < np.abs(moved).max() <= 1.05
    wider = (averaged.dataset["r_sd"] / found.dataset["r_sd"]).values
    if bounds:
        assert averaged.dataset["r"].min() > 0
        assert np.corrcoef(wider, averaged.dataset["r"] / found.dataset["r"])[0, 1] > 0.9
    else:
        assert wider == pytest.approx(1.0, abs=0.03)


def test_field_is_averaged_only_where_it_is_uncertain(solved):
    found, joint = solved(decay("u_t = -r", 0.05))
    for share, name in ((0.0, "r"), (10.0, "")):
        joint.tuning = replace(joint.tuning, far=share)
        assert wide_field(found, joint) == name


def test_field_that_fits_as_well_far_away_is_undetermined(solved):
    found, joint = solved(decay("u_t = -r", 0.05))
    joint.tuning = replace(joint.tuning, far_open=10.0)
    answer = along_direction(found, joint, "r")
    assert answer.status.name == "undetermined"
    assert "limit r beyond -3 and 3 standard errors" in answer.status.message


def test_line_ends_where_the_density_rises_again(solved, monkeypatch):
    """Beyond is the volume of a normal approximation that does not hold there."""
    found, joint = solved(decay("u_t = -r", 0.05))
    own = direction._Line._covariance

    def vast(line):
        covariance = own(line)
        line.volume -= 20 * (line.at > 2)
        return covariance

    monkeypatch.setattr(direction._Line, "_covariance", vast)
    made = along_direction(found, joint, "r").provenance["posterior"]
    assert made["standard_errors"] == [-3.0, -1.5, 0.0, 1.5]
