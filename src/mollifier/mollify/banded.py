"""Correlation with short stencils as products with one band of the matrix, some rows at a time, in torch."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

ROWS = 32  # Rows at a time: a taller band multiplies more zeros, a lower one is a less efficient product.
_WIDE = 32  # Columns from which a product of each band with these is efficient.
_LINES = 128  # Lines at a time, whose results stay in the cache.


def correlate(x: Tensor, stencils: Tensor) -> Tensor:
    """``y[o, ..., i] = sum_cj stencils[o, c, j] x[c, ..., i + j]`` along the last dimension but one.

    x is (inputs, batch, n, rest), the stencils (outputs, inputs, taps), the result (outputs, batch, n - taps
    + 1, rest).

    >>> x = torch.arange(5.0).reshape(1, 1, 5, 1)
    >>> correlate(x, torch.tensor([[[-1.0, 0.0, 1.0]]])).flatten().tolist()
    [2.0, 2.0, 2.0]
    """
    return _Correlation.apply(x, stencils)


class _Correlation(torch.autograd.Function):
    """`_correlated`, and for the gradient by ``x`` its transpose, which is another; stencils are constant."""

    @staticmethod
    def forward(x: Tensor, stencils: Tensor) -> Tensor:
        return _correlated(x, stencils)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[1])
        ctx.save_for_forward(inputs[1])

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor, None]:
        (stencils,), (grad,) = ctx.saved_tensors, grad_outputs
        past = stencils.shape[-1] - 1
        return correlate(pad(grad, (0, 0, past, past)), stencils.flip(-1).transpose(0, 1)), None

    @staticmethod
    def jvp(ctx: Any, *grad_inputs: Any) -> Tensor:
        return correlate(grad_inputs[0], ctx.saved_tensors[0])

    @staticmethod
    def vmap(info: Any, in_dims: Any, *args: Any) -> tuple[Tensor, int]:
        x, stencils = args[0].movedim(in_dims[0], 1), args[1]
        return correlate(x.flatten(1, 2), stencils).unflatten(1, x.shape[1:3]), 1


def _correlated(x: Tensor, stencils: Tensor) -> Tensor:
    outputs, inputs, taps = stencils.shape
    _, batch, n, rest = x.shape
    count = n - taps + 1
    rows = min(ROWS, count)
    band = stencils.new_zeros(outputs, rows, inputs, rows + taps - 1)
    for i in range(rows):
        band[:, i, :, i : i + taps] = stencils
    if rest < _WIDE:
        lines = x.movedim(-2, -1).reshape(inputs, batch * rest, n)
        y = (_of_many if batch * rest >= _WIDE else _of_few)(lines, band, count)
        return y.reshape(outputs, batch, rest, count).movedim(-1, -2)
    y = x.new_zeros(outputs, batch, count, rest)
    for own, columns in _pieces(count, rows, taps):
        some = band[:, : own.stop - own.start, :, : columns.stop - columns.start]
        for o, c in product(range(outputs), range(inputs)):
            if batch == 1:
                y[o, 0, own].addmm_(some[o, :, c], x[c, 0, columns])
            else:
                y[o, :, own].baddbmm_(some[o, :, c].expand(batch, -1, -1), x[c, :, columns])
    return y


def _pieces(count: int, rows: int, taps: int) -> Iterator[tuple[slice, slice]]:
    """Some results at a time, and the values that they take."""
    for low in range(0, count, rows):
        high = min(low + rows, count)
        yield slice(low, high), slice(low, high + taps - 1)


def _of_many(lines: Tensor, band: Tensor, count: int) -> Tensor:
    """(inputs, lines, n) -> (outputs, lines, count): a piece of all lines is one product."""
    outputs, rows, inputs, width = band.shape
    y = lines.new_empty(outputs, lines.shape[1], count)
    for low in range(0, lines.shape[1], _LINES):
        here = slice(low, low + _LINES)
        for own, columns in _pieces(count, rows, width - rows + 1):
            some = band[:, : own.stop - own.start, :, : columns.stop - columns.start].flatten(0, 1)
            found = lines[0, here, columns] @ some[:, 0].T
            for c in range(1, inputs):
                found.addmm_(lines[c, here, columns], some[:, c].T)
            y[:, here, own] = found.unflatten(1, (outputs, -1)).movedim(1, 0)
    return y


def _of_few(lines: Tensor, band: Tensor, count: int) -> Tensor:
    """The same: all pieces of all lines are one product."""
    outputs, rows, inputs, width = band.shape
    pieces = -(-count // rows)
    lines = pad(lines, (0, pieces * rows + width - rows - lines.shape[-1]))
    windows = lines.unfold(-1, width, rows).movedim(0, 2).flatten(2)  # (lines, pieces, inputs * width)
    y = windows.flatten(0, 1) @ band.reshape(outputs * rows, inputs * width).T
    y = y.reshape(-1, pieces, outputs, rows).movedim(2, 0)
    return y.reshape(outputs, -1, pieces * rows)[..., :count]
