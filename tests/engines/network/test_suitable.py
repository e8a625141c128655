"""What the network engine refuses before it runs out of memory."""

from __future__ import annotations

import pytest

import mollifier as mf
from engine_problems import heat, small
from mollifier.engines.network.tuning import NetworkTuning
from mollifier.errors import ConfigurationError


@pytest.mark.parametrize(
    ("changes", "optimiser"),
    [
        ({"training": {"optimiser": "gauss-newton"}}, "gauss-newton"),
        ({"training": {"optimiser": "lbfgs"}}, "lbfgs"),
        ({"derivatives": "nested"}, "lbfgs"),
    ],
)
def test_training_larger_than_the_limit_is_refused(changes: dict[str, object], optimiser: str) -> None:
    """By an estimate from nodes and weights, in one message that says what to make smaller."""
    settings = small(**changes) | {"tuning": {"most_numbers": 1000}}
    message = (
        rf"network engine \({optimiser}\) would hold .* collocation nodes .*Give fewer collocation.nodes"
    )
    with pytest.raises(ConfigurationError, match=message):
        mf.solve(heat(), "network", settings=settings)


def test_samples_are_moved_where_they_are_many():
    """1e5 samples in three coordinates count at the nodes of the grid; 2,000 in two, and any few, do not."""
    tuning = NetworkTuning()
    assert tuning.moved(100_000, 216, 9261, 900)
    assert not tuning.moved(2000, 36, 2025, 900)
    assert not tuning.moved(2000, 1296, 38_416, 900)
