"""Quadratic forms of priors of unknown fields on a lattice."""

import numpy as np
import pytest

from mollifier.engines.priors.form import Form
from mollifier.engines.priors.shapes import Shape
from mollifier.mollify.grid import Axis, Grid

LINE = Grid(Axis("x", -1.2, 1.2, 155))
SQUARE = Grid(Axis("x", -1.3, 1.3, 16), Axis("y", -1.0, 1.0, 12, periodic=True))


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("length", [0.03, 0.3, 3.0, np.inf])
@pytest.mark.parametrize("lattice", [LINE, SQUARE], ids=["line", "square"])
def test_spectrum_accuracy(lattice: Grid, order: int, length: float) -> None:
    """Eigenvalues that are not free are accurate enough for their logarithms in the evidence."""
    form = Form(lattice, Shape(order, length))
    exact = np.zeros(lattice.size)
    roots = np.linalg.svd(form.matrix.toarray(), compute_uv=False)[::-1]
    exact[lattice.size - len(roots) :] = roots**2
    kept = exact > 1e-24 * exact[-1]
    kept[0] = False
    assert form.spectrum[0] == 0.0
    assert np.abs(np.log(form.spectrum[kept] / exact[kept])).sum() < 1e-4 * kept.sum() ** 0.5


@pytest.mark.parametrize("order", [1, 2, 3])
def test_seminorm_leaves_polynomials_free(order: int) -> None:
    """Those below its order have no variance, nor have their eigenvalues any rounding."""
    form = Form(Grid(Axis("x", -1.0, 1.0, 12)), Shape(order))
    assert (form.spectrum[:order] == 0).all()
    kept = np.linalg.eigvalsh(form.square)[order:]
    assert form.variance == pytest.approx(float(np.sum(1 / kept)) / 12, rel=1e-6)
