"""Effect sizes of treated against control cells: coverage, replicates, many quantities, planned studies."""

import json
import math
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.special import nctdtr, stdtrit
from typer.testing import CliRunner

from mollifier.chromatin.comparison import (
    QUANTITIES,
    Dishes,
    compare_groups,
    effects,
    holm,
    replicate_means,
    welch_means,
)
from mollifier.chromatin.figures import groups_figure
from mollifier.chromatin.plan import StudyPlan, power
from mollifier.cli.app import app
from mollifier.errors import ConfigurationError
from mollifier.reporting.style import BLUE, ORANGE, look


def test_groups_intervals_coverage():
    """30 % more in 6 against 5 cells that differ by 15 and 10 %: 2,000 studies."""
    rng = np.random.default_rng(1)
    studies_ = 2000
    held = {"difference": 0, "ratio": 0}
    signs = 0
    for _ in range(studies_):
        treated, control = rng.normal(1.3, 0.195, 6), rng.normal(1.0, 0.1, 5)
        found = effects(welch_means(treated, control))
        held["difference"] += found["difference_low"] <= 0.3 <= found["difference_high"]
        held["ratio"] += found["ratio_low"] <= 1.3 <= found["ratio_high"]
        signs += found["difference"] > 0
    margin = 4 * math.sqrt(0.95 * 0.05 / studies_)
    assert abs(held["difference"] / studies_ - 0.95) < margin
    assert abs(held["ratio"] / studies_ - 0.95) < margin + 0.01
    assert signs / studies_ > 0.98


def test_groups_false_positives():
    """Without a difference one comparison in twenty finds one."""
    rng = np.random.default_rng(2)
    p = np.array(
        [effects(welch_means(rng.normal(1, 0.2, 6), rng.normal(1, 0.1, 5)))["p"] for _ in range(2000)]
    )
    assert 0.03 < np.mean(p < 0.05) < 0.07


def test_groups_hedges_g_small_groups():
    """Hedges g is not biased by small groups."""
    rng = np.random.default_rng(3)
    found = [effects(welch_means(rng.normal(10.8, 1, 5), rng.normal(10.0, 1, 6))) for _ in range(2000)]
    assert np.mean([f["g"] for f in found]) == pytest.approx(0.8, abs=0.06)
    assert 0.92 < np.mean([f["g_low"] <= 0.8 <= f["g_high"] for f in found]) < 0.99


def dishes(rng, count: int, cells, between: float, shared: float = 0.0, paired: bool = False, **more: float):
    """Values, groups and replicates of cells that differ by 15 %; treated ones are 30 % higher."""
    common, rows = shared * rng.normal(size=count), []
    for group in (0, 1):
        for k in range(count):
            mean = 1 + more.get("difference", 0.3) * group + common[k] * paired + between * rng.normal()
            values = mean + 0.15 * rng.normal(size=cells[k] if np.ndim(cells) else cells)
            rows += [(v, group, f"{k}" if paired else f"{group} {k}") for v in values]
    return tuple(np.array(c) for c in zip(*rows, strict=True))


def test_replicate_means_balanced_is_student_of_dishes():
    """The t of the means of dishes, or of their differences; also where cells of a dish are not alike."""
    for seed, between in ((0, 0.1), (1, 0.0), (2, 0.0)):
        values, group, replicate = dishes(np.random.default_rng(seed), 4, 5, between)
        found = replicate_means(values, group, replicate)
        a, b = (values[group == g].reshape(4, 5).mean(1) for g in (1, 0))
        exact = math.sqrt((a.var(ddof=1) + b.var(ddof=1)) / 4)
        assert (found.freedom, found.error()) == (pytest.approx(6), pytest.approx(exact))
        values, group, replicate = dishes(np.random.default_rng(seed), 4, 5, between, 0.2, True)
        found = replicate_means(values, group, replicate)
        pairs = np.subtract(*(values[group == g].reshape(4, 5).mean(1) for g in (1, 0)))
        exact = pairs.std(ddof=1) / 2
        assert (found.freedom, found.error()) == (pytest.approx(3), pytest.approx(exact))


@pytest.mark.parametrize("paired", [False, True])
def test_replicate_means_against_statsmodels(paired):
    """Of a balanced study the mixed model has the same means, errors and variances."""
    mixed = pytest.importorskip("statsmodels.regression.mixed_linear_model", reason="needs statsmodels")
    values, group, replicate = dishes(np.random.default_rng(2), 6, 7, 0.1, 0.15, paired)
    frame = pd.DataFrame({"y": values, "treated": 1.0 * group, "replicate": replicate})
    parts = {"re_formula": "1", "vc_formula": {"dish": "0 + C(treated)"}} if paired else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = mixed.MixedLM.from_formula("y ~ treated", frame, groups="replicate", **parts)
        known = model.fit(reml=True, gtol=1e-10)
    found = replicate_means(values, group, replicate)
    assert found.mean[0] - found.mean[1] == pytest.approx(known.params["treated"], rel=1e-3)
    assert found.error() == pytest.approx(known.bse["treated"], rel=1e-2)
    cell, dish, shared = Dishes.of(values, [str(g) for g in group], replicate).components
    theirs = (float(known.cov_re.iloc[0, 0]), *map(float, known.vcomp))
    assert (*((shared, dish) if paired else (dish,)), cell) == pytest.approx(
        (*theirs, float(known.scale)), rel=0.02, abs=1e-4
    )


@pytest.mark.parametrize(
    ("paired", "cells"), [(False, 8), (True, [4, 8, 12]), (False, [3, 6, 15]), (False, [1, 1, 12])]
)
def test_replicate_means_coverage(paired, cells):
    """Three dishes a group, 10 % apart: with the cell as the unit the intervals hold the truth in 7 of 10."""
    rng, held, as_cells, studies = np.random.default_rng(5), 0, 0, 500
    for _ in range(studies):
        values, group, replicate = dishes(rng, 3, cells, 0.1, 0.1, paired)
        found = effects(replicate_means(values, group, replicate))
        held += found["difference_low"] <= 0.3 <= found["difference_high"]
        simple = effects(welch_means(values[group == 1], values[group == 0]))
        as_cells += simple["difference_low"] <= 0.3 <= simple["difference_high"]
    assert abs(held / studies - 0.95) < 4 * math.sqrt(0.95 * 0.05 / studies)
    assert paired or as_cells / studies < 0.85


def test_replicate_means_partly_paired():
    """A replicate with one group counts for that one; what both share is left out of the difference."""
    values = [1.0, 1.1, 2.0, 2.1, 3.0, 3.2, 2.2]
    groups = [1, 0, 1, 0, 1, 0, 0]
    found = replicate_means(values, groups, list("aabbccd"))
    assert found.mean == (pytest.approx(2.0), pytest.approx(np.mean([1.1, 2.1, 3.2, 2.2])))
    assert found.units == (3, 4)
    assert found.error() < 0.5 * math.sqrt(np.trace(found.covariance))
    assert 1 < found.freedom < 6


def test_replicate_means_without_variation():
    """Equal cells have no interval; so has one dish a group."""
    equal = effects(replicate_means([1.0, 1.0, 2.0, 2.0], [0, 0, 1, 1], list("abcd")))
    assert equal["difference"] == 1.0
    assert math.isnan(equal["difference_low"])
    one = effects(replicate_means([1.0, 1.1, 2.0, 2.2], [0, 0, 1, 1], list("aabb")))
    assert (one["mean"], one["units"]) == (pytest.approx(2.1), 1)
    assert math.isnan(one["p"])


def test_holm_studies_without_a_difference():
    """Of 200 studies of quantities that go together, one in twenty calls a difference."""
    rng, called, alone, studies = np.random.default_rng(6), 0, 0, 200
    for _ in range(studies):
        shared = rng.normal(size=(11, 1))
        table = pd.DataFrame(
            5 + rng.normal(size=(11, len(QUANTITIES))) * 0.5 + shared, columns=list(QUANTITIES)
        )
        found = compare_groups(table.assign(group=["a"] * 6 + ["b"] * 5), "b")
        called += bool((found["p_holm"] < 0.05).any())
        alone += bool((found["p"] < 0.05).any())
    assert called / studies < 0.05 + 3 * math.sqrt(0.05 * 0.95 / studies)
    assert alone / studies > 0.1
    assert np.isnan(holm(np.full(2, np.nan))).all()


def test_groups_figure_where_every_nucleus_failed():
    """No quantity is known: an empty figure, and no fault."""
    cells = pd.DataFrame({"group": ["a", "b"], "rate": [np.nan, np.nan]})
    assert not any(ax.get_visible() for ax in groups_figure(cells).axes)
    assert groups_figure(cells.drop(columns="rate")).axes


def test_groups_figure_one_colour_a_replicate():
    """Also where a group lacks one; every cell is a dot, every replicate a diamond at its mean."""
    cells = pd.DataFrame({"group": list("aaaabb"), "replicate": list("112222"), "rate": np.arange(6.0)})
    with look():
        lines = groups_figure(cells).axes[0].lines
    dots = [x for line in lines if line.get_marker() == "o" for x in line.get_ydata()]
    means = [(*line.get_ydata(), line.get_color()) for line in lines if line.get_marker() == "D"]
    assert dots == [0, 1, 2, 3, 4, 5]
    assert means == [(0.5, BLUE), (2.5, ORANGE), (4.5, ORANGE)]


# ---- planned studies


@pytest.mark.parametrize(("replicates", "freedom", "sd"), [(1, 22, 0.2 / math.sqrt(12)), (4, 6, 0.0579)])
def test_power_against_noncentral_t(replicates, freedom, sd):
    """Twelve cells, or four dishes of twelve cells."""
    plan = StudyPlan(12, replicates, 0.2, 0.2, 0.1 if replicates > 1 else 0.0)
    error = sd * math.sqrt(2) if replicates == 1 else math.sqrt(2 / 4 * (0.1**2 + 0.2**2 / 12))
    found = power(plan, 200)
    limit, shift = stdtrit(freedom, 0.975), 0.2 / error
    exact = 1 - nctdtr(freedom, shift, limit) + nctdtr(freedom, shift, -limit)
    assert abs(found.power - exact) < 4 * found.power_sd + 0.01
    usual = next(d for d in np.linspace(0.05, 0.6, 200) if 1 - nctdtr(freedom, d / error, limit) > 0.8)
    assert found.smallest == pytest.approx(usual, rel=0.12)
    assert power(StudyPlan(12, 1, 0.2, 0.2, comparisons=9), 200).power < exact


def test_plan_of_an_earlier_study():
    """Standard deviations in units of the mean: 15 % between cells, 10 % between dishes."""
    values, group, replicate = dishes(np.random.default_rng(3), 40, 6, 0.1, difference=0.0)
    cells = pd.DataFrame({"group": group.astype(str), "replicate": replicate, "rate": 7 * values})
    plan = StudyPlan.of(cells, cells=5, replicates=3)
    assert (plan.sd_cells, plan.sd_replicates) == (pytest.approx(0.15, rel=0.1), pytest.approx(0.1, rel=0.2))
    alone = StudyPlan.of(cells.drop(columns="replicate"), cells=5)
    group = str(cells["group"].iloc[0])
    part = StudyPlan.of(cells, control=group, cells=5, replicates=3)
    means = cells["rate"].mean(), cells[cells["group"] == group]["rate"].mean()
    assert part.sd_cells * means[1] == pytest.approx(plan.sd_cells * means[0])
    with pytest.raises(ConfigurationError, match="no group 'none'"):
        StudyPlan.of(cells, control="none", cells=5)
    assert alone.sd_cells == pytest.approx(math.hypot(0.15, 0.1), rel=0.1)
    with pytest.raises(ConfigurationError, match=r"have no 'rates'.* Did you mean 'rate'"):
        StudyPlan.of(cells, "rates", cells=5)
    with pytest.raises(ConfigurationError, match="have 5 values of rate"):
        StudyPlan.of(cells[:5], cells=5)
    with pytest.raises(ConfigurationError, match="have 0 values of rate"):
        StudyPlan.of(cells.assign(rate="none"), cells=5)
    with pytest.raises(ConfigurationError, match="is zero within its error"):
        StudyPlan.of(cells.assign(rate=values - values.mean()), cells=5)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"cells": 0}, "cells=0 was given"),
        ({"cells": 5, "sd_cells": -1.0}, "sd_cells=-1.0"),
        ({"cells": 5, "sd_replicates": 0.1}, "--replicates 3"),
        ({"cells": 1}, "leaves nothing to compare"),
        ({"cells": 5, "difference": math.nan}, "A difference of nan"),
        ({"cells": 5, "sd_cells": 0.0}, "All standard deviations are 0"),
    ],
)
def test_plan_refused(given, said):
    with pytest.raises(ConfigurationError, match=said):
        StudyPlan(**given)


def test_cli_chromatin_plan(tmp_path):
    """Two words name the command; a pilot gives what is not set."""
    pilot = tmp_path / "cells.csv"
    rng = np.random.default_rng(0)
    pd.DataFrame({"group": ["a"] * 20, "rate": rng.normal(2, 0.4, 20)}).to_csv(pilot, index=False)
    words = ["chromatin", "plan", "--cells", "6", "--draws", "100", "--json"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert 0.7 < answer["power"]["power"] < 0.95
    assert answer["unit"] == "cells"
    again = json.loads(CliRunner().invoke(app, [*words, "--pilot", str(pilot)]).stdout)
    assert again["plan"]["sd_cells"] == pytest.approx(0.2, rel=0.3)
    bad = CliRunner().invoke(app, ["chromatin", "plan", "--sd-replicates", "0.1"])
    assert bad.exit_code == 2
    assert "--replicates 3" in bad.stderr
    missing = CliRunner().invoke(app, [*words, "--pilot", str(tmp_path / "cell.csv")])
    assert "cells.csv" in missing.stderr


def test_plan_of_many_cells():
    """Half-width, sign and the error of the power are those of the normal distribution."""
    found = power(StudyPlan(200, difference=0.05, sd_cells=0.2), 400)
    assert found.half_width == pytest.approx(1.96 * 0.2 * np.sqrt(2 / 200), rel=0.05)
    assert found.sign > 0.97  # 0.994
    assert found.power_sd == pytest.approx(np.sqrt(found.power * (1 - found.power) / 400))
