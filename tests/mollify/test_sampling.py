"""Tiles of a layer, and points beyond what is gathered at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mollifier.errors import GridError
from mollifier.mollify import sampling
from mollifier.mollify.grid import Axis, Grid
from mollifier.mollify.layer import MollifierLayer

GRID = Grid(Axis("x", 0.0, 1.0, 33), Axis("y", 0.0, 2.0, 24, periodic=True))


def waves(coords: torch.Tensor) -> torch.Tensor:
    return torch.sin(3 * coords[:, 0]) * torch.cos(np.pi * coords[:, 1])


@pytest.mark.parametrize("boundary", ["halo", "one-sided", "trim"])
def test_tile_is_a_part_of_the_layer(boundary: str) -> None:
    """Random tiles, those at both ends of a period too, give the layer's derivatives at their points."""
    layer = MollifierLayer(GRID, ["u", "u_xx", "u_xyy"], radius=0.3, boundary=boundary).double()
    whole, generator = layer(waves(layer.coords())), torch.Generator().manual_seed(0)
    for _ in range(20):
        tile = layer.tile({"x": 6, "y": 7}, generator=generator)
        jet, place = tile(waves(tile.coords())), np.ix_(*tile.index)
        for name, values in whole.items():
            torch.testing.assert_close(
                jet[name], values[place], atol=1e-8 * float(values.abs().max()), rtol=0
            )
        assert len(tile.coords()) < 0.6 * len(layer.coords())


def test_tiles_cover_every_point_alike() -> None:
    """Over all starts each point is in as many tiles as a tile has points."""
    generator = torch.Generator().manual_seed(0)
    seen = np.zeros(GRID.shape)
    for _ in range(3000):
        seen[np.ix_(*sampling.tile_index(GRID, GRID.shape, 8, {}, generator))] += 1
    share = seen / seen.mean()
    assert share.mean(axis=1).std() < 0.07
    assert share.mean(axis=0).std() < 0.07


def test_steps_on_tiles_have_the_gradient_of_the_grid() -> None:
    """The sum over a partition into tiles is the sum over the grid, with its gradient."""
    layer = MollifierLayer(GRID, ["u", "u_x"], radius=0.3).double()
    scale = torch.ones((), dtype=torch.float64, requires_grad=True)
    whole = (layer(scale * waves(layer.coords()))["u_x"] ** 2).sum()
    starts = [(x, y) for x in range(0, 33, 11) for y in range(0, 24, 8)]
    tiles = [layer.tile({"x": 11, "y": 8}, start={"x": x, "y": y}) for x, y in starts]
    parts = sum((t(scale * waves(t.coords()))["u_x"] ** 2).sum() for t in tiles)
    one, other = (torch.autograd.grad(v, scale)[0] for v in (whole, parts))
    torch.testing.assert_close(one, other)


def test_tile_refuses_a_learnable_radius_and_an_unknown_axis() -> None:
    """As a resampler does."""
    with pytest.raises(GridError, match="learnable radius"):
        MollifierLayer(GRID, ["u"], radius=0.3, learnable_radius=True).tile(8)
    with pytest.raises(GridError, match="'z'"):
        MollifierLayer(GRID, ["u"], radius=0.3).tile({"z": 3})


def test_points_in_parts_are_those_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Values and gradients of many points, gathered a part at a time."""
    layer = MollifierLayer(GRID, ["u", "u_xy"], radius=0.3).double()
    points = np.random.default_rng(0).uniform(0.1, 0.9, (50, 2))
    found = []
    for most in (10**9, 1000):
        monkeypatch.setattr(sampling, "_VALUES_AT_ONCE", most)
        g = waves(layer.coords()).requires_grad_()
        value = layer.at(points, g)["u_xy"]
        found.append((value.detach(), torch.autograd.grad((value**2).sum(), g)[0]))
    torch.testing.assert_close(found[0], found[1])


def test_single_precision_error_is_as_stated() -> None:
    """Sums in float32: the error is that of rounding, times the noise gain."""
    layers = [
        MollifierLayer(GRID, ["u", "u_xx", "u_xxyy"], radius=0.3, single=single).double()
        for single in (False, True)
    ]
    g = torch.randn(layers[0].nodes.size, generator=torch.Generator().manual_seed(0))
    exact, rounded = layers[0](g.double()), layers[1](g)
    for name, gain in layers[0].noise_gain.items():
        error = float((rounded[name].double() - exact[name]).std())
        assert 1e-9 * gain < error < 2e-7 * gain
