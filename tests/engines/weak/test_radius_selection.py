"""The score by which radii of test functions are compared."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mollifier.engines.splines.basis import Basis
from mollifier.engines.weak.radius_selection import score
from mollifier.engines.weak.tuning import DEFAULT
from mollifier.mollify.grid import Axis, Grid


@pytest.mark.parametrize(
    ("priors", "widening", "counted"), [({}, 1.5, 1.5), ({"k": None}, 1.5, 1.0), ({"k": None}, 6.0, 3.0)]
)
def test_score_small_misfit_of_a_field_is_not_counted(
    priors: dict[str, None], widening: float, counted: float
) -> None:
    """Weights are those of coefficients found at another radius."""
    sums = SimpleNamespace(
        bases=[Basis("D", {}, Grid(Axis("x", 0.0, 1.0, 9)))], place={"D": slice(0, 1)}, tuning=DEFAULT
    )
    estimator: Any = SimpleNamespace(sums=sums, priors=priors)
    fit: Any = SimpleNamespace(covariance=np.array([[0.04]]), widening=widening)
    assert score(fit, estimator) == pytest.approx(np.log(0.2 * counted))
