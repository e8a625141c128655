"""Weights applied to arrays (batch, n, rest), NumPy or torch: a matrix, gathered rows, or a convolution.

Torch arrays are differentiable through every one of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import scipy

from mollifier.mollify.kernels import namespace

# Taps, for each binary digit of the nodes, below which a direct convolution is faster than an FFT.
_FEW_TAPS = 1.2
# Shortest piece that `fft_convolve` cuts, in nodes (they stay in the cache) and in taps (few overlap).
_PIECE = 4096
_PIECE_TAPS = 8


def gemm(x: Any, matrix: Any, count: int) -> list[Any]:
    """(count m, n) matrix on (batch, n, rest) -> ``count`` arrays (batch, m, rest)."""
    m = matrix.shape[0] // count
    y = (x[..., 0] @ matrix.T)[..., None] if x.shape[-1] == 1 else matrix @ x
    return [y[..., i * m : (i + 1) * m, :] for i in range(count)]


def gather(x: Any, index: Any, weights: Any) -> Any:
    """Rows of different weights, for long uneven axes: a sparse product."""
    if namespace(x) is not np:
        return (x[..., index, :] * weights[..., None]).sum(-2)
    m, taps = weights.shape
    matrix = scipy.sparse.csr_array(
        (weights.ravel(), index.ravel(), np.arange(0, m * taps + 1, taps)), shape=(m, x.shape[-2])
    )
    lines = np.moveaxis(x, -2, 0)
    return np.moveaxis((matrix @ lines.reshape(len(lines), -1)).reshape(m, *lines.shape[1:]), 0, -2)


def padded(x: Any, low: int, high: int) -> Any:
    """Rows low..high of dimension -2, zeros where they lie past the ends."""
    n = x.shape[-2]
    block = x[..., max(low, 0) : min(high, n), :]
    before, after = max(-low, 0), max(high - n, 0)
    if not before and not after:
        return block
    xp = namespace(x)
    if xp is np:
        return np.pad(block, [(0, 0)] * (x.ndim - 2) + [(before, after), (0, 0)])
    return xp.nn.functional.pad(block, (0, 0, before, after))


def wrapped(x: Any, low: int, high: int) -> Any:
    """Rows low..high of dimension -2 of a periodic array."""
    n, pieces = x.shape[-2], []
    while low < high:
        start = low % n
        stop = min(n, start + high - low)
        pieces.append(x[..., start:stop, :])
        low += stop - start
    return joined(pieces)


def joined(pieces: Sequence[Any]) -> Any:
    """Arrays one after another along dimension -2."""
    return namespace(pieces[0]).concatenate(pieces, -2)


def direct_convolve(block: Any, stencils: Any, count: int) -> list[Any]:
    """Correlate dimension -2 with each stencil, keeping the ``count`` whole windows."""
    xp = namespace(block)
    if xp is np:
        reach = (stencils.shape[1] - 1) // 2
        keep = slice(reach, reach + count)
        return [scipy.ndimage.correlate1d(block, w, axis=-2, mode="constant")[..., keep, :] for w in stencils]
    batch, n, rest = block.shape
    y = xp.nn.functional.conv1d(block.movedim(-2, -1).reshape(batch * rest, 1, n), stencils[:, None, :])
    y = y.reshape(batch, rest, len(stencils), count)
    return [y[..., i, :].movedim(-1, -2) for i in range(len(stencils))]


def banded_convolve(block: Any, stencils: Any, count: int) -> list[Any]:
    """As `direct_convolve`, by products with one band of the matrix, which is the same for all rows.

    NumPy's arrays, and those under `torch.compile`, take the faster of the other two: there a loop over the
    bands costs more than it saves.
    """
    xp = namespace(block)
    if xp is np or xp.compiler.is_compiling():
        few = stencils.shape[1] < _FEW_TAPS * math.log2(block.shape[-2])
        return (direct_convolve if few else fft_convolve)(block, stencils, count)
    from mollifier.mollify.banded import correlate

    return list(correlate(block[None], stencils[:, None]))


def fft_convolve(block: Any, stencils: Any, count: int) -> list[Any]:
    """As `direct_convolve`, by one forward transform shared by all stencils.

    Dimension -2 is cut into overlapping pieces (overlap-save), for which the stencils are transformed once.
    """
    xp = namespace(block)
    next_fast: Any = scipy.fft.next_fast_len
    taps = stencils.shape[1]
    size = int(next_fast(min(block.shape[-2], max(_PIECE, _PIECE_TAPS * taps)), real=True))
    step = size - taps + 1
    pieces = -(-count // step)
    block = padded(block, 0, (pieces - 1) * step + size)
    if xp is np:
        windows = np.lib.stride_tricks.sliding_window_view(block, size, axis=-2)[..., ::step, :, :]
        transform, inverse = partial(scipy.fft.rfft, workers=-1), partial(scipy.fft.irfft, workers=-1)
    else:
        windows, transform, inverse = block.unfold(-2, size, step), xp.fft.rfft, xp.fft.irfft
    spectrum: Any = transform(windows, size)
    results = []
    transfers: Any = transform(stencils, size)
    for h in transfers.conj():
        y: Any = inverse(spectrum * h, size)
        y = y[..., :step].swapaxes(-1, -2)
        results.append(y.reshape(*y.shape[:-3], pieces * step, y.shape[-1])[..., :count, :])
    return results
