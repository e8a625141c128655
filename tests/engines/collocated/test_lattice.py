"""Products of matrices that are never formed, against the matrices."""

from __future__ import annotations

from functools import reduce

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from mollifier.engines.collocated.jacobian import NodeSlopes, network_jacobian
from mollifier.engines.collocated.lattice import AxisProduct, PointRows, ProductSum
from mollifier.mollify.grid import Axis, Grid
from mollifier.mollify.layer import MollifierLayer
from mollifier.mollify.matrices import product_matrix, taps_matrix
from mollifier.mollify.orders import Derivative
from mollifier.nn.mlp import MLP

SHAPES = {"x": (41,), "xy": (9, 40), "xyz": (8, 7, 9)}


def layer_of(names: str, periodic: bool) -> MollifierLayer:
    sizes = SHAPES[names]
    axes = [Axis(n, -1.0, 1.0, m, periodic=periodic and n == "x") for n, m in zip(names, sizes, strict=True)]
    radius = {a.name: 3 * a.spacing for a in axes}
    return MollifierLayer(Grid(*axes), ["u", "u_x", "u_" + 2 * names[-1]], radius=radius, boundary="halo")


def slopes_of(layer: MollifierLayer, most: int) -> tuple[NodeSlopes, torch.Tensor]:
    torch.manual_seed(0)
    nodes = torch.as_tensor(layer.nodes.coords())
    network = MLP(len(layer.nodes.names), 2, width=4, depth=2).double()
    return NodeSlopes(network, nodes, layer.nodes.shape, most), network_jacobian(network, nodes)


@pytest.mark.parametrize("most", [10**9, 1], ids=["kept", "streamed"])
@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize("names", list(SHAPES))
def test_products_along_axes_are_those_of_the_matrix(names: str, periodic: bool, most: int) -> None:
    """A sum of derivatives with coefficients, times values and times slopes, some rows at a time."""
    layer = layer_of(names, periodic)
    slopes, whole = slopes_of(layer, most)
    rng = np.random.default_rng(0)
    known: dict[tuple[int, int], sp.csr_array] = {}
    terms, wanted = [], 0.0
    for order in layer.operator.orders:
        rows = [a.rows[k] for a, k in zip(layer.operator.axes, order, strict=True)]
        factors = [
            known.setdefault((i, k), product_matrix([r]))
            for i, (k, r) in enumerate(zip(order, rows, strict=True))
        ]
        c = rng.standard_normal(layer.grid.size)
        terms.append((c, AxisProduct.along(factors, 0.5)))
        wanted = wanted + sp.diags_array(c) @ product_matrix(rows) * 0.5
    total, values = ProductSum(terms), rng.standard_normal(layer.nodes.size)
    scale = abs(wanted).max()
    np.testing.assert_allclose(total @ values, wanted @ values, atol=1e-12 * scale)
    back = rng.standard_normal(layer.grid.size)
    np.testing.assert_allclose(total.pulled(back), wanted.T @ back, atol=1e-12 * scale)
    step = total.step * 3
    found = [total.times(slice(i, i + step), slopes, 1).clone() for i in range(0, layer.grid.size, step)]
    np.testing.assert_allclose(torch.cat(found), wanted @ whole[1].numpy(), atol=1e-12 * scale)


@pytest.mark.parametrize("most", [10**9, 1], ids=["kept", "streamed"])
@pytest.mark.parametrize("count", [3, 400])
@pytest.mark.parametrize("names", list(SHAPES))
def test_rows_at_points_are_those_of_the_matrix(names: str, count: int, most: int) -> None:
    """Values at scattered points, whose rows are formed by blocks of cells, near an end of a period too."""
    layer = layer_of(names, periodic=True)
    slopes, whole = slopes_of(layer, most)
    rng = np.random.default_rng(1)
    sampler = layer.sampler(rng.uniform(-1, 1, (count, len(names))), ["u"])
    weights, index = zip(*sampler.along(Derivative("u")), strict=True)
    rows = PointRows(index, weights, sampler.nodes)
    matrix = taps_matrix(*sampler.entries(Derivative("u")), layer.nodes.size)
    values = rng.standard_normal(layer.nodes.size)
    np.testing.assert_allclose(rows @ values, matrix @ values, atol=1e-12)
    back = rng.standard_normal(count)
    np.testing.assert_allclose(rows.pulled(back), matrix.T @ back, atol=1e-12)
    assert rows.squares().sum() == pytest.approx(count)
    chosen = rng.permutation(count)[: count // 2 + 1]
    factor = rng.standard_normal(len(chosen))
    taken, order = rows.chosen(chosen, factor)
    wanted = (sp.diags_array(factor) @ matrix[chosen])[order] @ whole[0].numpy()
    found = [taken.times(slice(i, i + 50), slopes, 0) for i in range(0, len(chosen), 50)]
    np.testing.assert_allclose(torch.cat(found), wanted, atol=1e-11)


def test_slopes_are_held_for_as_many_layers_as_a_row_needs() -> None:
    """Of all layers those of one kernel's width, in one array, though all might be kept."""
    layer = layer_of("xy", periodic=False)
    slopes, _ = slopes_of(layer, 10**9)
    slopes._most = slopes.count - 1
    place = slopes._kept.data_ptr()
    matrix = product_matrix([layer.operator.axes[0].rows[1]])
    used = np.diff(matrix.indptr).max()
    for i in range(layer.grid.shape[0]):
        slopes.along_first(slice(i, i + 1), 0, layer.nodes.shape, matrix)
        assert slopes._end - slopes._start <= used < slopes.count
    assert slopes._kept.data_ptr() == place


def test_axis_of_constants_repeats_the_others() -> None:
    """A field over some coordinates only: its factors along the others are columns of ones."""
    torch.manual_seed(0)
    nodes = torch.linspace(-1, 1, 12).double()[:, None]
    network = MLP(1, 1, width=4, depth=1).double()
    along, ones = sp.csr_array(np.random.default_rng(0).random((10, 12))), sp.csr_array(np.ones((3, 1)))
    for factors in ((along, ones), (ones, along)):
        c = np.arange(30.0)
        total = ProductSum([(c, AxisProduct(factors))])
        wanted = (sp.diags_array(c) @ reduce(sp.kron, factors)) @ network_jacobian(network, nodes)[0].numpy()
        found = total.times(slice(0, 30), NodeSlopes(network, nodes, (12,), 1), 0)
        np.testing.assert_allclose(found, wanted, atol=1e-12)
