"""The benchmark of data larger than memory, on data that are small."""

import pytest

import mollifier as mf
from benchmarks import blocks


def test_movie_obeys_its_equation(tmp_path):
    """The movie that is made has the numbers that it is judged by."""
    blocks.make(tmp_path / "movie.zarr", 32, 24)
    observed = mf.read(tmp_path / "movie.zarr")
    assert observed.grid().shape == (32, 24, 24)
    assert observed.noise_sd("u") == blocks.NOISE
    given = {"collocation": {"radius": {"t": 0.6, "x": 2.0, "y": 2.0}}}
    problem = mf.InverseProblem(
        "u_t + c*u_x = D*lap(u) - r*u", observed, {n: mf.ScalarUnknown() for n in "cDr"}
    )
    for name, estimate in mf.solve(problem, "weak", settings=given).estimates.items():
        assert abs(estimate.value - blocks.TRUTH[name]) < 4 * estimate.sd


@pytest.mark.slow
def test_blocks_table(tmp_path):
    """A row for the movie in blocks and one for its part in memory; the store is deleted."""
    table = blocks.run([48], 32, tmp_path)
    assert [row.data for row in table.rows] == ["in blocks", "in memory"]
    assert all(row.errors < 5 for row in table.rows), table.rows
    assert not list(tmp_path.iterdir())
