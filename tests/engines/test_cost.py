"""The memory that `check` foretells, beside peaks that were measured (docs/results/scale.md)."""

from __future__ import annotations

import pytest

from benchmarks import solid, speed
from mollifier.engines.registry import ENGINES
from mollifier.problem.collocation import collocate


@pytest.mark.parametrize(
    ("engine", "problem", "seen"),
    [
        ("network", lambda: solid.problem(10_000), 1000),
        ("network", lambda: solid.problem(100_000, names="xyt"), 760),
        ("joint", speed.movie, 1290),
    ],
    ids=["four coordinates", "three coordinates", "movie"],
)
def test_memory_is_foretold_within_half_of_it(engine, problem, seen):
    given = problem()
    assert seen / 1.5 < ENGINES[engine].cost(given, collocate(given)).MiB < 1.5 * seen
