"""The benchmark of whole solves by the network engine."""

from __future__ import annotations

from benchmarks import solid


def test_a_solve_is_measured_in_a_process_of_its_own():
    seen = []
    table = solid.run(["random-features"], [200], names="xt", progress=lambda *step: seen.append(step))
    (row,) = table.rows
    assert seen == [(0, 1, "random-features, 200 points")]
    assert row.status == "converged"
    assert abs(row.value - solid.TRUTH) < 4 * row.sd
    assert row.cpu_seconds > 0
    assert row.memory_mib > 0
    assert "| random-features | 200 |" in table.to_markdown()
