"""Definitions of domains: ours and published ones on the same points, the rim at the lamina, and features."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from chromatin_cells import discs, domains_of
from mollifier.chromatin.domains import clusters, domains_from_clusters, edge_length, typical
from mollifier.chromatin.localizations import Localizations
from mollifier.chromatin.mask import NucleusDetection, nuclei_from_data
from mollifier.chromatin.nucleus_data import NucleusData
from mollifier.chromatin.settings import DEFINITIONS, DomainRule, StudySettings
from mollifier.chromatin.simulate import nucleus
from mollifier.chromatin.structure import density_quantiles, features, pooled_quantile, structure
from mollifier.chromatin.study import analyse
from mollifier.chromatin.voronoi import point_density
from mollifier.errors import ConfigurationError, DataError

RADIUS, RIM = 2000.0, 150.0


def points(seed: int = 0) -> tuple[Localizations, np.ndarray, np.ndarray]:
    """A round nucleus: even euchromatin, 40 domains five times as dense, and a dense rim of 150 nm."""
    rng = np.random.default_rng(seed)
    centres = np.zeros((0, 2))
    while len(centres) < 40:
        p = rng.uniform(-1600, 1600, 2)
        if np.hypot(*p) < 1600 and (np.hypot(*(centres - p).T) > 320).all():
            centres = np.vstack([centres, p])
    radii = rng.uniform(60, 110, len(centres))
    x, y = rng.uniform(-2100, 2100, (2, 260_000))
    far = np.hypot(x, y)
    dense = (np.hypot(x - centres[:, :1], y - centres[:, 1:]) < radii[:, None]).any(0) | (far > RADIUS - RIM)
    keep = (far < RADIUS) & (rng.random(x.size) < np.where(dense, 1.0, 0.1))
    return Localizations(x[keep], y[keep]), centres, radii


def test_definitions_spacing_on_same_points():
    """One nearest centre and the mean of five: the rates of the same domains differ by half or more."""
    rng = np.random.default_rng(0)
    side = np.arange(-4, 5) * 260.0
    centres = np.stack(np.meshgrid(side, side), -1).reshape(-1, 2) + rng.uniform(-45, 45, (81, 2))
    x, y = discs(centres, 70.0, 300)
    locs, mask = Localizations(x, y), nucleus(6000.0, 200, uneven=0.0)
    ours = domains_of(locs, mask)
    published = DomainRule(neighbours=5, average="mean", largest_rate=20)
    five = domains_of(locs, mask, rule=published)
    near = KDTree(centres).query(centres, k=6)[0][:, 1:]
    assert np.median(ours["spacing"]) == pytest.approx(np.median(near[:, 0]), rel=0.02)
    assert np.mean(five["spacing"]) == pytest.approx(near.mean(), rel=0.02)
    rates = [typical(ours)["rate_geometric"], typical(five, DEFINITIONS["kant2024"])]
    assert rates[0] > 1.5 * rates[1]["rate_geometric"]


def test_definitions_published_rate_is_lognormal_mean():
    """Means of Gamma_me and Gamma_ac over the domains, D = 1 um^2/s, rates above 20 left out."""
    spacing, radius = np.array([200.0, 300.0, 400.0, 210.0]), np.array([80.0, 90.0, 100.0, 205.0])
    table = pd.DataFrame({"place": "interior", "radius": radius, "spacing": spacing, "area": radius**2})
    table["rate"] = 1 / ((spacing / radius) ** 2 - 1)
    removed = 1e6 / spacing**2
    added = removed * table["rate"].to_numpy()
    logs = np.log(added[added <= 20]), np.log(removed)
    expected = np.exp(logs[0].mean() + logs[0].var() / 2) / np.exp(logs[1].mean() + logs[1].var() / 2)
    assert (added > 20).sum() == 1
    assert typical(table, DEFINITIONS["kant2024"])["rate_geometric"] == pytest.approx(expected)


@pytest.mark.parametrize(
    "name", ["ours", *(pytest.param(n, marks=pytest.mark.slow) for n in ("kant2024", "o-snap"))]
)
def test_definitions_rim_is_no_domain(name):
    """The rim is measured by its thickness, and domains are those inside."""
    locs, centres, radii = points()
    mask = nucleus(2 * RADIUS, 300, uneven=0.0)
    x, y = (mask[c].values for c in ("x", "y"))
    near = np.hypot(x[:, None, None] - centres[:, 0], y[None, :, None] - centres[:, 1]) < radii
    phi_h = mask.copy(data=near.any(-1) | (np.hypot(x[:, None], y) > RADIUS - RIM)).where(mask) * 1.0
    sample = NucleusData("cell", "1", "", mask, frames=(locs,))
    rule = DEFINITIONS[name]
    # Half of the localisations are heterochromatin here.
    rule = rule if name == "ours" else dataclasses.replace(rule, threshold=0.45)
    tables, numbers, attrs = structure(sample, StudySettings(rule=rule, domains="clusters"), phi_h, 40.0)
    inside = tables["domains"][tables["domains"]["place"] == "interior"]
    # With a reach of 20 nm a domain falls apart here and there at this density.
    assert numbers["domains"] == len(inside)
    assert len(inside) == pytest.approx(40, abs=2 if name == "o-snap" else 0)
    average = {"median": np.median, "mean": np.mean, "geometric": lambda v: np.exp(np.log(v).mean())}
    truth = average[rule.average](radii)
    # The published rules leave out edges of domains and of the rim, without errors of localisations too.
    near_enough = 0.05 if name == "ours" else 0.12
    assert numbers["radius"] == pytest.approx(truth, rel=near_enough)
    distance = KDTree(centres).query(centres, k=rule.neighbours + 1)[0][:, 1:].mean(1)
    assert numbers["spacing"] == pytest.approx(average[rule.average](distance), rel=0.05)
    rim = np.pi * (RADIUS**2 - (RADIUS - RIM) ** 2)
    assert numbers["lamina_thickness"] == pytest.approx(rim / (2 * np.pi * RADIUS), rel=near_enough)
    assert numbers["lamina"] == pytest.approx(rim / (rim + np.pi * (radii**2).sum()), rel=0.06)
    assert attrs["domain_definition"].startswith(name)
    row = tables["features"].iloc[0]
    assert row["interior_dbscan_cluster_n_clusters"] == len(inside)
    assert row["model_lad_thickness"] == pytest.approx(numbers["lamina_thickness"], rel=0.01)
    assert ("log_voronoi_density_40" in row) == (name != "ours")


def test_definitions_refuse_image():
    mask = nucleus(2000.0, 60)
    sample = NucleusData("cell", "1", "", mask, image=mask * 1.0)
    settings = StudySettings(rule=DEFINITIONS["kant2024"], domains="clusters")
    with pytest.raises(DataError, match="kant2024 is one of localisations"):
        structure(sample, settings, (mask * 1.0).where(mask), 40.0)
    with pytest.raises(ConfigurationError, match="clusters"):
        StudySettings(rule=DEFINITIONS["o-snap"])


def test_definitions_pooled_threshold():
    """The quantile of two nuclei together lies between theirs."""
    rng = np.random.default_rng(0)
    mask = nucleus(2000.0, 60, uneven=0.0)
    cells = []
    for count in (3_000, 9_000):
        x, y = rng.uniform(-1000, 1000, (2, count))
        cells.append(NucleusData("cell", "1", "", mask, frames=(Localizations(x, y),)))
    found = [density_quantiles(c) for c in cells]
    pooled = pooled_quantile(found, 0.75)
    own = [pooled_quantile([f], 0.75) for f in found]
    assert None not in (pooled, *own)
    assert np.argsort(np.array([own[0], pooled, own[1]], dtype=float)).tolist() == [0, 1, 2]
    inside = [np.hypot(c.frames[0].x, c.frames[0].y) < 1000 for c in cells]
    each = [point_density(c.frames[0].x, c.frames[0].y)[k] for c, k in zip(cells, inside, strict=True)]
    assert pooled == pytest.approx(np.quantile(np.concatenate(each), 0.75), rel=0.02)
    assert pooled_quantile([(0, np.zeros(0))], 0.75) is None


def test_features_of_a_disc():
    """Shapes of a disc, even density in all rings, and the names of O-SNAP."""
    rng = np.random.default_rng(0)
    x, y = rng.uniform(-RADIUS, RADIUS, (2, 60_000))
    keep = np.hypot(x, y) < RADIUS
    locs, mask = Localizations(x[keep], y[keep]), nucleus(2 * RADIUS, 200, uneven=0.0)
    rule = DomainRule(least=10**6)
    groups = clusters(locs, mask, None, rule)
    row = features(locs, mask, groups, domains_from_clusters(groups, mask, rule)).iloc[0]
    assert row["nucleus_radius"] == pytest.approx(RADIUS, rel=0.01)
    assert row["circularity"] == pytest.approx(1.0, abs=0.03)
    assert row["major_axis"] == pytest.approx(2 * RADIUS, rel=0.01)
    assert row["gyration_radius"] == pytest.approx(RADIUS / np.sqrt(2), rel=0.01)
    rings = [row[f"radial_loc_density_ring_{k:02d}"] for k in range(1, 11)]
    np.testing.assert_allclose(rings, row["locs_density"], rtol=0.15)
    assert row["periphery_to_interior_loc_density_ratio"] == pytest.approx(1.0, abs=0.03)
    assert row["interior_dbscan_cluster_n_clusters"] == 0


def test_outline_beside_dense_rim():
    """The edge lies where the density falls to half, not outside a rim that shines."""
    locs, _, _ = points()
    mask = nuclei_from_data(locs, NucleusDetection(min_area=1e6))["1"].mask
    area = float(mask.sum()) * float(mask.x[1] - mask.x[0]) ** 2
    assert np.sqrt(area / np.pi) == pytest.approx(RADIUS, abs=25)
    assert edge_length(mask) == pytest.approx(2 * np.pi * RADIUS, rel=0.03)


def test_clusters_are_those_of_dbscan():
    """Core points within the reach of one another, by all pairs of points, to an eighth of the reach."""
    rng = np.random.default_rng(3)
    x, y = rng.uniform(0, 2000, (2, 1500))
    rule = DomainRule(eps=40.0, least=5)
    mask = nucleus(6000.0, 60, uneven=0.0)
    found = clusters(Localizations(x, y), mask, None, rule)
    whole = np.stack([x, y], 1)
    tree = KDTree(whole)
    for other in (0.85, 1.15):
        near = [np.array(n) for n in tree.query_ball_point(whole, other * rule.eps)]
        core = np.array([len(n) >= rule.min_points for n in near])
        rows = np.concatenate([np.full(len(n), k) for k, n in enumerate(near) if core[k]])
        columns = np.concatenate([n for k, n in enumerate(near) if core[k]])
        both = core[rows] & core[columns]
        graph = coo_array((np.ones(both.sum()), (rows[both], columns[both])), shape=(len(x), len(x)))
        count, label = connected_components(graph, directed=False)
        exact = [
            whole[(label == k) & core] for k in range(count) if ((label == k) & core).sum() >= rule.least
        ]
        # Every cluster of the shorter reach lies in one of ours, and each of ours in one of the longer reach.
        inner, outer = (exact, found) if other < 1 else (found, exact)
        sets = [set(map(tuple, g)) for g in outer]
        assert all(any(set(map(tuple, g)) <= s for s in sets) for g in inner)


def test_study_by_published_definition(tmp_path):
    """The threshold is pooled over the files, and each nucleus has its row of features."""
    rng = np.random.default_rng(2)
    files = []
    for k, count in enumerate((6_000, 9_000)):
        x, y = rng.uniform(-1000, 1000, (2, count))
        keep = np.hypot(x, y) < 900
        files.append(Localizations(x[keep], y[keep]).save(tmp_path / f"cell_{k}.csv"))
    small = NucleusDetection(pixel=50, smoothing=50, closing=100, min_area=1e5)
    settings = StudySettings(detection=small, rule=DEFINITIONS["o-snap"], domains="clusters", margin=1e5)
    study = analyse(files, settings, out=tmp_path / "out", workers=1)
    level = study.settings.rule.level
    assert level is not None
    assert 0.002 < level < 0.006
    table = pd.read_csv(tmp_path / "out" / "features.csv")
    assert table["name"].tolist() == ["cell_0 1", "cell_1 1"]
    assert table["nucleus_radius"].tolist() == pytest.approx([900.0, 900.0], rel=0.04)
    assert table["locs_number"][1] > table["locs_number"][0]
    assert (tmp_path / "out" / "cell_0" / "1" / "features.csv").is_file()
