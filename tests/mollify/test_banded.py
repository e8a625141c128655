"""Correlation by bands against torch's convolution."""

from __future__ import annotations

import pytest
import torch

from mollifier.mollify.banded import correlate


@pytest.mark.parametrize(
    "shape", [(1, 1, 100, 1), (2, 3, 50, 2), (1, 40, 70, 1), (2, 1, 70, 40), (1, 3, 40, 33)]
)
def test_bands_are_those_of_a_convolution(shape: tuple[int, ...]) -> None:
    """Values and gradients, whichever way the product is taken: many lines or few, wide rests or none."""
    torch.manual_seed(0)
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    stencils = torch.randn(3, shape[0], 7, dtype=torch.float64)
    lines = x.permute(1, 3, 0, 2).flatten(0, 1)  # (batch * rest, inputs, n)
    wanted = torch.nn.functional.conv1d(lines, stencils).unflatten(0, (shape[1], shape[3]))
    wanted = wanted.permute(2, 0, 3, 1)
    found = correlate(x, stencils)
    torch.testing.assert_close(found, wanted)
    weights = torch.randn_like(found)
    one = torch.autograd.grad((found * weights).sum(), x)[0]
    other = torch.autograd.grad((wanted * weights).sum(), x)[0]
    torch.testing.assert_close(one, other)


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_bands_under_transforms() -> None:
    """Forward mode and `vmap` give what a loop gives, and the gradient has a gradient."""
    torch.manual_seed(0)
    x, stencils = torch.randn(4, 1, 2, 20, 1, dtype=torch.float64), torch.randn(2, 1, 5, dtype=torch.float64)
    loop = torch.stack([correlate(one, stencils) for one in x])
    torch.testing.assert_close(torch.vmap(correlate, (0, None))(x, stencils), loop)
    _, along = torch.func.jvp(lambda v: correlate(v, stencils), (x[0],), (x[1],))
    torch.testing.assert_close(along, loop[1])
    start = x[0].clone().requires_grad_()
    assert torch.autograd.gradgradcheck(lambda v: correlate(v, stencils) ** 2, start, fast_mode=True)
