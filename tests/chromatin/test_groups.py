"""Domains of a nucleus, and groups of cells held against one another."""

import math

import numpy as np
import pandas as pd
import pytest

from chromatin_cells import cell, discs, round_mask
from mollifier.chromatin.domains import (
    DomainRule,
    domains_from_fractions,
    domains_from_labels,
    domains_from_localizations,
    typical,
)
from mollifier.chromatin.groups import compare_cells, compare_groups, control_of, group_table, read_groups
from mollifier.chromatin.localizations import Localizations
from mollifier.chromatin.shapes import nucleus
from mollifier.errors import ConfigurationError, DataError

# ---- domains


@pytest.mark.parametrize("count", [400, 100_000])
def test_domains_clusters_size_and_spacing(count):
    """Also where so many pairs are near that positions are counted on a raster."""
    pytest.importorskip("sklearn", reason="clusters need scikit-learn")
    centres = np.array([[-300.0, 0.0], [300.0, 0.0], [0.0, 400.0]])
    x, y = discs(centres, 100.0, count)
    found = domains_from_localizations(Localizations(x, y), nucleus(1800.0, 120, uneven=0.0))
    assert len(found) == 3
    np.testing.assert_allclose(found["radius"], 100.0, rtol=0.06)
    np.testing.assert_allclose(sorted(found["spacing"]), [500.0, 500.0, 500.0], rtol=0.03)
    np.testing.assert_allclose(found["rate"], 1 / ((found["spacing"] / found["radius"]) ** 2 - 1))


def test_domains_few_points():
    """Few points are no domain."""
    pytest.importorskip("sklearn", reason="clusters need scikit-learn")
    x, y = discs(np.array([[0.0, 0.0], [400.0, 0.0]]), 40.0, 35)
    many = Localizations(x, y)
    mask = nucleus(1800.0, 120)
    assert len(domains_from_localizations(many, mask)) == 2
    assert len(domains_from_localizations(many.select(np.arange(69)), mask)) == 1
    assert len(domains_from_localizations(many, mask, rule=DomainRule(least=36))) == 0


def test_domains_of_dense_nucleus():
    """A dense nucleus is not one domain."""
    pytest.importorskip("sklearn", reason="clusters need scikit-learn")
    locs, mask = cell(), round_mask()
    place = mask["x"].values
    angle = np.linspace(0, 2 * np.pi, 5, endpoint=False)
    near = [np.hypot(place[:, None] - 450 * np.cos(a), place - 450 * np.sin(a)) < 150 for a in angle]
    phi_h = mask.copy(data=np.any(near, axis=0).astype(float))
    assert len(domains_from_localizations(locs, mask)) == 1
    found = domains_from_localizations(locs, mask, phi_h)
    assert len(found) == 5
    np.testing.assert_allclose(found["radius"], 150.0, rtol=0.08)


def test_domains_at_lamina_and_interior():
    mask = nucleus(2000.0, 200, uneven=0.0)
    near = (np.hypot(mask["x"] - 880, mask["y"]) < 100) & mask
    within = np.hypot(mask["x"] + 100, mask["y"]) < 120
    labels = (near * 1 + within * 2).transpose("x", "y")
    found = domains_from_labels(labels, mask, DomainRule(lamina=60.0))
    assert found["place"].tolist() == ["interior", "lamina"]
    assert found["radius"].tolist() == pytest.approx([120.0, 100.0], rel=0.03)
    assert found["spacing"].tolist() == pytest.approx([980.0, 980.0], rel=0.01)
    assert found["edge_distance"].iloc[0] == pytest.approx(780.0, rel=0.03)
    assert typical(found)["lamina"] == 0.5


def test_domains_none_is_empty_table():
    """Nothing thick is an empty table."""
    mask = nucleus(1000.0, 60)
    found = domains_from_fractions(mask * 0.0, mask)
    assert len(found) == 0
    numbers = typical(found)
    assert numbers["domains"] == 0
    assert all(math.isnan(v) for k, v in numbers.items() if k != "domains")
    with pytest.raises(ConfigurationError, match="threshold"):
        DomainRule(threshold=0.0)


# ---- groups


def test_groups_intervals_coverage():
    """30 % more in 6 against 5 cells that differ by 15 and 10 %: 2,000 studies."""
    rng = np.random.default_rng(1)
    studies_ = 2000
    held = {"difference": 0, "ratio": 0}
    signs = 0
    for _ in range(studies_):
        treated, control = rng.normal(1.3, 0.195, 6), rng.normal(1.0, 0.1, 5)
        found = compare_cells(treated, control)
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
    p = np.array([compare_cells(rng.normal(1, 0.2, 6), rng.normal(1, 0.1, 5))["p"] for _ in range(2000)])
    assert 0.03 < np.mean(p < 0.05) < 0.07


def test_groups_hedges_g_small_groups():
    """Hedges g is not biased by small groups."""
    rng = np.random.default_rng(3)
    found = [compare_cells(rng.normal(10.8, 1, 5), rng.normal(10.0, 1, 6)) for _ in range(2000)]
    assert np.mean([f["g"] for f in found]) == pytest.approx(0.8, abs=0.06)
    assert 0.92 < np.mean([f["g_low"] <= 0.8 <= f["g_high"] for f in found]) < 0.99


def test_groups_compared_with_control():
    """Cells are the unit and groups are held against the control."""
    cells = pd.DataFrame(
        {
            "group": ["TSA"] * 3 + ["control"] * 3 + ["GSK"] * 1,
            "rate": [0.8, 0.9, 1.0, 0.5, 0.6, 0.4, 0.3],
            "identified": 1.0,
        }
    )
    found = compare_groups(cells).set_index("group")
    assert found.loc["TSA", "difference"] == pytest.approx(0.4)
    assert found.loc["TSA", "ratio"] == pytest.approx(1.8)
    assert found.loc["TSA", "cells_control"] == 3
    assert math.isnan(found.loc["GSK", "difference_low"])
    assert compare_groups(cells, "TSA")["control"].unique().tolist() == ["TSA"]
    assert group_table(cells)["cells"].tolist() == [3, 3, 1]
    with pytest.raises(ConfigurationError, match="Did you mean 'TSA'"):
        control_of(["TSA", "b"], "TSB")


def test_groups_table_checked(tmp_path):
    """A table of groups is checked."""
    file = tmp_path / "groups.csv"
    file.write_text("File; Group\na/cell_1.csv; control\ncell_2.csv; TSA\n")
    assert read_groups(file) == {"cell_1.csv": "control", "cell_2.csv": "TSA"}
    for text, said in (
        ("name,group\na,b\n", "'file' and 'group' were expected"),
        ("file,group\na,b\na,c\n", "names 'a' twice"),
        ("file,group\na,\n", "without a file or a group"),
    ):
        file.write_text(text)
        with pytest.raises(DataError, match=said):
            read_groups(file)
    with pytest.raises(DataError, match=r"Did you mean 'groups\.csv'"):
        read_groups(tmp_path / "group.csv")
