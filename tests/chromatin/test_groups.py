"""Domains of a nucleus, and groups of cells held against one another."""

import math

import numpy as np
import pandas as pd
import pytest

from chromatin_cells import cell, discs, domains_of, round_mask
from mollifier.chromatin.comparison import compare_groups, control_of, group_table, read_groups, unit_of
from mollifier.chromatin.domains import (
    domains_from_fractions,
    typical,
)
from mollifier.chromatin.localizations import Localizations
from mollifier.chromatin.settings import DomainRule
from mollifier.chromatin.simulate import nucleus
from mollifier.errors import ConfigurationError, DataError

# ---- domains


@pytest.mark.parametrize("count", [400, 100_000])
def test_domains_clusters_size_and_spacing(count):
    """Also where so many pairs are near that positions are counted on a raster."""
    centres = np.array([[-300.0, 0.0], [300.0, 0.0], [0.0, 400.0]])
    x, y = discs(centres, 100.0, count)
    found = domains_of(Localizations(x, y), nucleus(1800.0, 120, uneven=0.0))
    assert len(found) == 3
    np.testing.assert_allclose(found["radius"], 100.0, rtol=0.06)
    np.testing.assert_allclose(sorted(found["spacing"]), [500.0, 500.0, 500.0], rtol=0.03)
    np.testing.assert_allclose(found["rate"], 1 / ((found["spacing"] / found["radius"]) ** 2 - 1))


def test_domains_reach_too_small_for_a_raster():
    """Refused before a raster of too many cells is formed."""
    x, y = np.random.default_rng(0).uniform(-4e3, 4e3, (2, 200))
    with pytest.raises(DataError, match=r"domain.eps=0.5 nm was given; 3.2 nm or more"):
        domains_of(Localizations(x, y), nucleus(10e3, 100), rule=DomainRule(eps=0.5))


def test_domains_few_points():
    """Few points are no domain."""
    x, y = discs(np.array([[0.0, 0.0], [400.0, 0.0]]), 40.0, 35)
    many = Localizations(x, y)
    mask = nucleus(1800.0, 120)
    assert len(domains_of(many, mask)) == 2
    assert len(domains_of(many.select(np.arange(69)), mask)) == 1
    assert len(domains_of(many, mask, rule=DomainRule(least=36))) == 0


def test_domains_of_dense_nucleus():
    """A dense nucleus is not one domain."""
    locs, mask = cell(), round_mask()
    place = mask["x"].values
    angle = np.linspace(0, 2 * np.pi, 5, endpoint=False)
    near = [np.hypot(place[:, None] - 450 * np.cos(a), place - 450 * np.sin(a)) < 150 for a in angle]
    phi_h = mask.copy(data=np.any(near, axis=0).astype(float))
    assert len(domains_of(locs, mask)) == 1
    found = domains_of(locs, mask, phi_h)
    assert len(found) == 5
    np.testing.assert_allclose(found["radius"], 150.0, rtol=0.08)


def test_domains_at_lamina_and_interior():
    mask = nucleus(2000.0, 200, uneven=0.0)
    near = (np.hypot(mask["x"] - 880, mask["y"]) < 100) & mask
    within = np.hypot(mask["x"] + 100, mask["y"]) < 120
    found = domains_from_fractions((near | within) * 1.0, mask, DomainRule(lamina=60.0))
    assert found["place"].tolist() == ["interior", "lamina"]
    assert found["radius"].tolist() == pytest.approx([120.0, 100.0], rel=0.03)
    assert found["spacing"].isna().all()
    assert found["edge_distance"].iloc[0] == pytest.approx(780.0, rel=0.03)
    numbers = typical(found, mask=mask)
    assert numbers["domains"] == 1
    assert numbers["lamina"] == pytest.approx(100**2 / (100**2 + 120**2), rel=0.05)
    assert numbers["lamina_thickness"] == pytest.approx(100**2 / 2000, rel=0.06)


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
    found = read_groups(file)
    assert found.groups == {"cell_1.csv": "control", "cell_2.csv": "TSA"}
    assert found.replicates == {}
    file.write_text("file,group,replicate\na,x,1\nb,y,1\n")
    assert read_groups(file).replicates == {"a": "1", "b": "1"}
    for text, said in (
        ("name,group\na,b\n", "'file' and 'group' were expected"),
        ("file,group\na,b\na,c\n", "names 'a' twice"),
        ("file,group\na,\n", "without a group"),
        ("file,group,replicate\na,b,\n", "without a replicate"),
    ):
        file.write_text(text)
        with pytest.raises(DataError, match=said):
            read_groups(file)
    with pytest.raises(DataError, match=r"Did you mean 'groups\.csv'"):
        read_groups(tmp_path / "group.csv")


def test_groups_unit_is_replicate_field_or_cell():
    """Cells of one image are alike; with one image a group nothing shows that, and the cell is the unit."""
    cells = pd.DataFrame(
        {"group": list("aaaabbbb"), "field": list("wwxxyyzz"), "rate": np.arange(8.0) ** 1.1}
    )
    assert unit_of(cells) == "field"
    assert unit_of(cells.assign(field=cells["group"])) == "cell"
    assert unit_of(cells.assign(field=np.arange(8))) == "cell"
    named = cells.assign(replicate=list("11221122"))
    found = compare_groups(named, "a").iloc[0]
    assert (found["unit"], found["units"], found["cells"]) == ("replicate", 2, 4)
    assert found["p"] == found["p_holm"]
    assert math.isnan(compare_groups(named.assign(replicate="1"), "a")["difference_low"][0])
