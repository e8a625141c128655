"""Values of ``--each`` on processes and on a cluster."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from command_line import call, refused

PROBLEM = """
equation: u_t = D*u_xx
unknowns: {D: scalar}
data: {file: wells.csv, values: u, coordinates: [x, t]}
engine: weak
collocation: {radius: {x: 0.3, t: 0.4}}
"""


@pytest.fixture
def wells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A table of three wells, in which heat spreads at different speeds."""
    monkeypatch.chdir(tmp_path)
    x, t = np.meshgrid(np.linspace(0, 1, 24), np.linspace(0, 1, 24), indexing="ij")
    lines = ["well,x,t,u"]
    for well, diffusion in enumerate((0.02, 0.03, 0.04)):
        u = np.exp(-diffusion * np.pi**2 * t) * np.sin(np.pi * x)
        lines += [f"{well},{a},{b},{c}" for a, b, c in zip(x.ravel(), t.ravel(), u.ravel(), strict=True)]
    Path("wells.csv").write_text("\n".join(lines))
    Path("p.yaml").write_text(PROBLEM)
    return tmp_path


def solved(*options: str) -> list[float]:
    result = call("solve", "p.yaml", "--each", "well", *options)
    assert result.exit_code in (0, 1), result.output
    return [float(r["D"]) for r in csv.DictReader(Path("out/estimates.csv").read_text().splitlines())]


@pytest.mark.slow
def test_sweep_on_a_dask_scheduler(wells: Path):
    """The workers of a scheduler give the rows, in order, that this process gives."""
    distributed = pytest.importorskip("distributed")
    alone = solved()
    assert alone == pytest.approx([0.02, 0.03, 0.04], rel=0.05)
    options = {"n_workers": 1, "threads_per_worker": 2, "dashboard_address": None}
    with distributed.LocalCluster(processes=False, protocol="tcp", **options) as cluster:
        address = cluster.scheduler_address.removeprefix("tcp:")
        assert solved("--executor", f"dask:{address}") == pytest.approx(alone, rel=1e-12)
    assert (wells / "out" / "well=2" / "solution.nc").is_file()


@pytest.mark.slow
def test_sweep_on_processes(wells: Path):
    """Two processes give the rows that this one gives."""
    assert solved("--jobs", "2") == pytest.approx(solved(), rel=1e-12)


def test_sweep_refuses_an_unknown_executor(wells: Path):
    """An address that names no executor is an error that lists those there are."""
    text = refused("solve", "p.yaml", "--each", "well", "--executor", "ray://somewhere")
    assert "dask://HOST:PORT or slurm:KEY=VALUE,... was expected" in text
