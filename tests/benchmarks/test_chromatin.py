"""Trials with known rates: simulated nuclei, simulated studies, and the benchmark's command."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from benchmarks.app import bench
from benchmarks.chromatin import cohorts, dynamics, films, large_nuclei, nuclei
from benchmarks.chromatin.problem import posed
from benchmarks.chromatin.real_nuclei import scaled, simulated
from benchmarks.journal import Journal
from mollifier.chromatin.model import ChromatinModel
from mollifier.chromatin.simulate import nucleus, rate_pattern, simulate, with_noise
from mollifier.errors import ConfigurationError


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Smaller nuclei, with as many localisations to the area."""
    monkeypatch.setattr(nuclei, "_SMALL", nuclei.Size((800.0, 850.0), (3e5, 4e5)))
    monkeypatch.setattr(nuclei, "_FRAMES", 3)
    monkeypatch.setattr(nuclei, "_INTERVAL", 100.0)
    monkeypatch.setattr(nuclei, "DATA", {"ten frames": (0, 1, 2), "still": (0,)})
    monkeypatch.setattr(cohorts, "_DIAMETER", 800.0)
    monkeypatch.setattr(cohorts, "_PIXELS", 60)
    monkeypatch.setattr(cohorts, "_LABELS", 2e5)
    monkeypatch.setattr(cohorts, "TREATED", 2)
    monkeypatch.setattr(cohorts, "CONTROL", 2)


@pytest.mark.slow
@pytest.mark.usefixtures("small")
def test_nuclei_benchmark_accuracy_and_resume(tmp_path: Path):
    """Films and stills come near and answers are kept."""
    path = tmp_path / "trials.jsonl"
    table = nuclei.run(2, journal=Journal(path))
    rows = {r.data: r for r in table.rows}
    assert rows["ten frames"].nuclei == 2
    assert rows["ten frames"].correlation > 0.9
    assert rows["ten frames"].relative_l2 < 0.15
    assert 0.5 < rows["ten frames"].coverage <= 1
    assert rows["still"].correlation > 0.8
    assert 0 < rows["ten frames"].mean_error < 10
    # Later frames do not change a still image.
    (still,) = nuclei.run(2, data=["still"]).rows
    assert still.relative_l2 == rows["still"].relative_l2
    kept = nuclei.run(2, journal=Journal(path, resume=True))
    assert kept.rows == table.rows
    assert "| one pair |" not in table.to_markdown()
    with pytest.raises(ConfigurationError, match="Did you mean 'nested'"):
        nuclei.run(1, ("nestd",))


def test_nuclei_benchmark_large():
    """Sizes of large nuclei, and their movie on finer pixels: the same fields on the same mask."""
    assert nuclei.Size.of(10_000.0).diameters == (10_000.0, 11_000.0)
    with pytest.raises(ConfigurationError, match="nothing"):
        nuclei.run(0, given="nothin")
    movie = simulate(ChromatinModel(), nucleus(1000.0, 50), 0.6, [0.0, 50.0], before=200.0)
    finer = films.finer(movie, 2)
    assert float(finer["mask"].sum()) == 4 * float(movie["mask"].sum())
    inside = movie["mask"].astype(bool)
    again = finer["phi_d"].coarsen(x=2, y=2).mean()
    assert float(abs(again - movie["phi_d"]).where(inside).max()) < 0.05
    assert np.allclose(again["x"], movie["x"])


def test_nuclei_benchmark_ratio():
    """With the fields' exact derivatives lam comes out as it went in."""
    model = ChromatinModel()
    mask = nucleus(800.0, 50, rng=0)
    lam = rate_pattern(mask, "gradient", 0.6, 0.3, 0)
    movie = simulate(model, mask, lam, [0.0, 20.0], before=200.0, rng=0)
    problem = posed(with_noise(movie, 0.01), model)
    data = problem.data.dataset
    phi = data["phi_h"].transpose("x", "y", "t")
    env = {n: np.zeros(phi.shape) for n in problem.system.equations[0].symbols if n != "lam"}
    env["phi_h"] = phi.values
    expected = np.broadcast_to(0.7 + 0.1 * np.sin(phi["x"].values)[:, None, None], phi.shape)
    # Of the derivatives only that by t is not zero: 2 phi_h_t = 2 (lam phi_e - phi_h).
    env["phi_h_t"] = expected * (0.9 - phi.values) - phi.values
    fields = phi.to_dataset(name="phi_h").assign({n: (phi.dims, v) for n, v in env.items()})
    found = nuclei._ratio(problem, fields)
    here = np.isfinite(found.values)
    np.testing.assert_allclose(found.values[here], expected[..., 0][here], rtol=1e-9)


@pytest.mark.slow
@pytest.mark.usefixtures("small")
def test_cohorts_benchmark_finds_effect():
    """A study finds its effect."""
    row = cohorts.study(0)
    assert row.sign == (row.ratio > 1)
    assert row.low < row.ratio < row.high
    assert row.covers == (row.low <= cohorts.EFFECT <= row.high)
    assert row.failed == 0
    assert row.cells < 0.1


@pytest.mark.slow
@pytest.mark.usefixtures("small")
def test_benchmark_command_writes_tables(tmp_path: Path):
    """The command writes both tables."""
    words = ["chromatin", "--nuclei", "1", "--studies", "1", "--out", str(tmp_path), "--quiet"]
    result = CliRunner().invoke(bench, words)
    assert result.exit_code == 0, result.output
    for name in ("nuclei", "cohorts"):
        found = json.loads((tmp_path / f"{name}.json").read_text())
        assert len(found["rows"]) >= 1
        assert (tmp_path / f"{name}.trials.jsonl").is_file()
    assert all(
        math.isfinite(r["relative_l2"]) for r in json.loads((tmp_path / "nuclei.json").read_text())["rows"]
    )
    refused = CliRunner().invoke(bench, ["chromatin", "--nuclei", "0", "--out", str(tmp_path)])
    assert refused.exit_code == 2


@pytest.mark.slow
def test_dynamics_benchmark_finds_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The step of a small moving, fading nucleus is found by the command, and its row is kept."""
    monkeypatch.setattr(dynamics, "_DIAMETER", 700.0)
    monkeypatch.setattr(dynamics, "_PIXELS", 50)
    monkeypatch.setattr(dynamics, "_FRAMES", 14)
    words = ["chromatin", "--nuclei", "0", "--dynamics", "1", "--out", str(tmp_path), "--quiet"]
    result = CliRunner().invoke(bench, words)
    assert result.exit_code == 0, result.output
    (row,) = json.loads((tmp_path / "dynamics.json").read_text())["rows"]
    assert row["found_size"] == pytest.approx(row["size"], abs=4 * row["size_sd"])
    assert row["found_delay"] == pytest.approx(row["delay"], abs=4 * row["delay_sd"])
    assert row["size_sd"] < abs(row["size"])
    kept = dynamics.run(1, journal=Journal(tmp_path / "dynamics.trials.jsonl", resume=True)).rows[0]
    assert kept.found_size == row["found_size"]


@pytest.mark.slow
def test_nucleus_of_real_size_on_a_small_one(tmp_path):
    """A nucleus of a sixth of the diameter through the command: what was simulated is found."""
    plan = scaled(0.17)
    rows = large_nuclei.run(["ours"], plan=plan, folder=tmp_path, options=["--quick"]).rows
    assert [r.truth for r in rows] == ["discs", "definition"]
    for row in rows:
        assert row.found > 0.9
        assert row.radius == pytest.approx(1, abs=0.1)
        assert row.thickness == pytest.approx(1, abs=0.1)
        assert row.lamina == pytest.approx(row.lamina_true, rel=0.1)
        assert row.memory_mib > 0
    with pytest.raises(ConfigurationError, match="Did you mean 'o-snap'"):
        large_nuclei.run(["osnap"], plan=plan, folder=tmp_path)


def test_nucleus_simulated_truth():
    """The table has about as many rows as planned, and dense places hold more of them."""
    plan = scaled(0.12)
    table, truth = simulated(plan, seed=1)
    assert len(table) == pytest.approx(plan.localizations, rel=0.03)
    assert len(truth.domains) == plan.domains
    assert truth.rim_area / truth.edge == pytest.approx(plan.rim, rel=0.3)
    assert (truth.domains["depth"] > 0).all()
    x, y = table["x [nm]"].to_numpy(), table["y [nm]"].to_numpy()
    first = truth.domains.iloc[0]
    inside = (np.hypot(x - first["x"], y - first["y"]) < first["radius"]).sum()
    even = len(table) / (np.pi * truth.radius**2)
    assert inside / (np.pi * first["radius"] ** 2) > 1.3 * even
