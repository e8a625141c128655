"""Equations on the layer, for any training loop."""

import pytest
import torch

from mollifier.adapters.residual import ResidualLayer
from mollifier.errors import EquationError, GridError
from mollifier.mollify.grid import Axis, Grid
from mollifier.mollify.layer import MollifierLayer

GRID = Grid(Axis("x", 0.0, 2.0, 31), Axis("t", 0.0, 1.0, 21))


@pytest.mark.parametrize(
    "equation", ["u_t = k*u_xx + x*v", lambda j: j["u_t"] - j["k"] * j["u_xx"] - j["x"] * j["v"]]
)
def test_residual_of_two_fields(equation):
    """Text and callable give one residual; each field has its own channel, coordinates are known."""
    layer = ResidualLayer([equation, "v_t = v_x"], GRID, ["u", "v"], ["k"], radius=0.25)
    x, t = layer.coords().double().T
    k = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    fields, residuals = layer(torch.stack([x**2 * t, x + 3 * t], 1), {"k": k})
    x, t = torch.as_tensor(GRID.coords()).T.reshape(2, 31, 21)
    assert torch.allclose(fields, torch.stack([x**2 * t, x + 3 * t]), atol=0.01)
    expected = torch.stack([x**2 - 2 * k * t - x * (x + 3 * t), torch.full_like(x, 2.0)])
    assert torch.allclose(residuals, expected, atol=0.02)
    residuals[0].mean().backward()
    assert k.grad is not None
    assert k.grad.item() == pytest.approx(-2 * t.mean().item(), abs=1e-3)


def test_residual_refuses_what_does_not_fit():
    """Values of another shape and names that mean nothing are refused with what was expected."""
    layer = ResidualLayer("u_t = k*u_xx", GRID, unknowns=["k"], radius=0.25)
    with pytest.raises(GridError, match=r"coords\(\)"):
        layer(torch.zeros(5, 1), {"k": 1.0})
    with pytest.raises(EquationError, match="q"):
        ResidualLayer("u_t = q*u_xx", GRID, unknowns=["k"], radius=0.25)


@pytest.mark.parametrize("last", [False, True], ids=["channels first", "channels last"])
def test_layer_after_a_module_that_emits_grids(last):
    """A convolution or neural operator emits (batch, channels, *grid); channels-last is moved first."""
    layer = MollifierLayer(GRID, ["u", "u_xx"], radius=0.25, boundary="one-sided")
    x, t = torch.as_tensor(GRID.coords()).T.reshape(2, 31, 21)
    grids = torch.stack([x**2, x * t]).expand(3, 2, 31, 21)
    emitted = grids.movedim(1, -1) if last else grids
    jet = layer(emitted.movedim(-1, 1) if last else emitted)
    assert jet["u_xx"].shape == (3, 2, 31, 21)
    assert torch.allclose(jet["u_xx"][:, 0], torch.tensor(2.0, dtype=torch.float64))
    if last:
        with pytest.raises(GridError, match="channels"):
            layer(emitted)
