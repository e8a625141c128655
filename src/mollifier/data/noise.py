"""The standard deviation of measurement noise, from the data alone.

On a grid the estimate is that of WENDy (Bortz, Messenger and Dukic, Bull. Math. Biol. 85:110, 2023): a
high-order finite difference of unit l2 norm removes a smooth field and leaves white noise with its variance
unchanged. What a difference fails to remove of the field only adds to it, so the smallest estimate among
several orders and axes is taken. At scattered points the residual variance of local polynomial fits,
corrected for degrees of freedom, does the same (Hall, Kay and Titterington, Biometrika 77:521, 1990;
Cleveland, JASA 74:829, 1979). Few scattered points are too far apart for these; there the marginal likelihood
of smooth Gaussian processes separates field and noise (`mollifier.data.processes`). Repeats at one place
measure the noise directly (pure error).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations_with_replacement
from math import comb

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike
from scipy.spatial import KDTree

from mollifier.data.processes import process_noise
from mollifier.errors import DataError
from mollifier.mollify.arrays import Array, Index, Mask
from mollifier.mollify.distributions import chi2_upper

_ORDERS = range(2, 9)
_MIXED_ORDERS = range(1, 5)
_LARGEST = 300_000
_FEWEST_WINDOWS = 12
# Chance that an estimate is smaller still than charged for: of many values 1 + 2/sqrt(degrees of freedom).
_CHANCE = 0.0023
_EVEN = 1e-12  # Differences of the distances of nodes that count as equal, in the length of the axis.
_ROUNDING = 1e-12  # Noise as a fraction of rms that is rounding.
# Values of which a median is taken, or the order of a difference chosen.
_RANKED = 20_000
_FEWEST_REPEATS = 30
# Fewest copies that are no chance, and share of different values below which values recur.
_FEWEST_COPIES, _DISTINCT = 3, 0.5
_CENTRES = 2_000
_FITTED = 250  # Such fits that are made at a time (memory).
_PROCESS_POINTS = 400  # Most points of Gaussian processes.
_CLIP = 3.0
_CLIPPED_VARIANCE = 0.973336  # Variance of a normal variable cut at three standard deviations.


def of_rms(fraction: float) -> str:
    """Noise as a fraction of rms, in words.

    >>> of_rms(0.02), of_rms(8e-34)
    ('2 % of rms', 'none')
    """
    return f"{100 * fraction:.2g} % of rms" if fraction > _ROUNDING else "none"


def estimate_noise(
    values: ArrayLike,
    points: ArrayLike | None = None,
    *,
    nodes: tuple[Array, ...] | None = None,
    repeats: tuple[int, ...] = (),
) -> float:
    """Standard deviation of white noise on a smooth field, in the units of the values.

    The values are a field on a grid, any shape, or samples (n,) at ``points`` (n, d); NaN = missing.
    ``nodes`` are those of each axis that is not a repeat, evenly spaced if absent; along the axes ``repeats``
    the same field is measured again.

    >>> rng = np.random.default_rng(0)
    >>> u = np.sin(np.linspace(0, 6, 400)) + 0.05 * rng.standard_normal(400)
    >>> round(estimate_noise(u), 2)
    0.05
    """
    u = np.asarray(values, dtype=float)
    if points is not None:
        x = np.asarray(points, dtype=float).reshape(u.size, -1)
        finite = np.isfinite(u)
        return _scattered(u[finite], x[finite])
    if u.ndim == 0:
        raise DataError("The noise cannot be estimated from one value; give it.")
    repeats = tuple(r % u.ndim for r in repeats)
    u = np.moveaxis(u, repeats, range(len(repeats)))
    u = u.reshape(-1, *u.shape[len(repeats) :])
    if len(u) > 1:
        there = np.isfinite(u)
        node = np.broadcast_to(np.arange(u[0].size).reshape(u.shape[1:]), u.shape)
        if (pure := _pure_error(u[there], node[there])) is not None:
            return pure
    nodes = nodes or tuple(np.arange(float(n)) for n in u.shape[1:])
    found = _gridded(u, nodes)
    if found is not None:
        return found
    index = np.nonzero(np.isfinite(u))
    return _scattered(u[index], np.stack([x[i] for x, i in zip(nodes, index[1:], strict=True)], axis=-1))


def copies(values: Array, points: Array) -> Mask:
    """Which samples, values (n,) at points (n, d), repeat another in everything, as rows pasted twice.

    None are where some repeats differ, where values recur at other points as well, as counts do, and where
    fewer than three repeat: such may be measurements.

    >>> x = np.array([0.0, 1, 2, 3, 4, 0, 2, 3])
    >>> copies(np.sin(x), x[:, None]).astype(int).tolist()
    [0, 0, 0, 0, 0, 1, 1, 1]
    """
    places = np.unique(points, axis=0, return_inverse=True)[1].ravel()
    pairs, first = np.unique(np.stack([places, values]), axis=1, return_index=True)
    count = len(np.unique(places))
    copied = np.ones(len(values), dtype=bool)
    copied[first] = False
    differ, recur = pairs.shape[1] > count, len(np.unique(pairs[1])) < _DISTINCT * count
    if differ or recur or copied.sum() < _FEWEST_COPIES:
        copied[:] = False
    return copied


def _pure_error(u: Array, where: Index) -> float | None:
    """Pooled standard deviation of values (n,) at numbered places; None where too few are at one place."""
    count = np.bincount(where)
    dof = u.size - np.count_nonzero(count)
    mean = np.bincount(where, weights=u) / np.maximum(count, 1)
    return float(np.sqrt(np.sum((u - mean[where]) ** 2) / dof)) if dof >= _FEWEST_REPEATS else None


def weights_of(x: Array, order: int) -> Array:
    """As `_weights`, of all windows of nodes (n,); on even nodes all are those of the first."""
    whole = sliding_window_view(x, order + 1)
    return np.broadcast_to(_weights(whole[:1]), whole.shape) if _even(x) else _weights(whole)


def _even(x: Array) -> bool:
    """Whether nodes (n,) are evenly spaced."""
    return bool(np.ptp(np.diff(x)) < _EVEN * np.ptp(x))


def _weights(w: Array) -> Array:
    """Divided-difference weights of unit norm, one row a window of nodes: (windows, order + 1)."""
    gaps = w[:, :, None] - w[:, None, :]
    gaps /= (w[:, -1] - w[:, 0])[:, None, None]
    weights = 1.0 / np.prod(gaps + np.eye(w.shape[1]), axis=-1)
    return weights / np.linalg.norm(weights, axis=1, keepdims=True)


def difference(u: Array, x: Array, order: int, axis: int = -1) -> Array:
    """Unit-norm difference along an axis; windows that touch a NaN are NaN."""
    if _even(x):
        return np.diff(u, order, axis) / comb(2 * order, order) ** 0.5
    return windowed(u, weights_of(x, order), axis)


def windowed(u: Array, weights: Array, axis: int, step: int = 1) -> Array:
    """Sums over every so many windows along an axis, with weights (windows, taps) of all of them."""
    count, weights = len(weights), weights[::step]
    shape = [-1 if i == axis % u.ndim else 1 for i in range(u.ndim)]
    inner = list(u.shape)
    inner[axis] = len(weights)
    result, part = np.zeros(inner), np.empty(inner)
    for j, column in enumerate(weights.T):
        moved = u[(slice(None),) * (axis % u.ndim) + (slice(j, j + count, step),)]
        result += np.multiply(moved, column.reshape(shape), out=part)
    return result


def median(values: Array) -> float:
    """Median of finite values (n,); of many of every so many, to which start values may be rough."""
    return float(np.median(values[:: 1 + values.size // _RANKED]))


def _spread(values: Array) -> float:
    """Root mean square without what lies beyond three standard deviations (shocks, outliers)."""
    squares = np.square(values)
    s, whole = median(np.abs(values)) / 0.6745, float(np.sqrt(np.mean(squares)))
    # Half of the values are at least of the first s, which no later one falls below a third of.
    within = squares <= s**2
    inner, outer = squares.compress(within), squares.compress(~within)
    least, last = float(inner.sum()), 0
    for _ in range(8):
        kept = outer[outer <= (_CLIP * s) ** 2]
        number = inner.size + kept.size
        if s == 0.0 or number < 0.6 * squares.size:
            return whole
        if number == last:  # the same values
            break
        s, last = float(np.sqrt((least + kept.sum()) / number / _CLIPPED_VARIANCE)), number
    return min(s, whole)


def central(shape: Sequence[int], most: int = _LARGEST) -> tuple[slice, ...]:
    """A central block of at most about so many values."""
    shrink = min(1.0, (most / np.prod(shape)) ** (1 / len(shape)))
    sizes = [max(min(n, 8), round(n * shrink)) for n in shape]
    return tuple(slice((n - m) // 2, (n - m) // 2 + m) for n, m in zip(shape, sizes, strict=True))


def _gridded(u: Array, nodes: tuple[Array, ...]) -> float | None:
    """The smallest estimate over axes and orders of difference; None where no order has enough whole windows.

    ``u`` has shape (repeats, *grid). Of each axis, and of all together, the order is chosen on few values.
    """
    kinds = [(_ORDERS, [axis]) for axis in range(len(nodes))]
    kinds += [(_MIXED_ORDERS, list(range(len(nodes))))] if len(nodes) > 1 else []
    found = []
    for orders, along in kinds:
        whole, few = (_part(u, nodes, along, most) for most in (_LARGEST, _RANKED))
        more = whole[0].size / few[0].size
        looks = list(_differences(*few, orders, more)) or list(_differences(*whole, orders))
        found += _differences(*whole, [min(looks)[-1]]) if looks else []
    return min(found)[1] if found else None


def _part(u: Array, nodes: Sequence[Array], along: list[int], most: int) -> tuple[Array, list[Array]]:
    """About so many of the values (repeats, *grid), with their nodes: lines (lines, nodes), or a block."""
    if len(along) == 1:
        (axis,) = along
        moved, every = np.moveaxis(u, axis + 1, -1), 1 + u.size // most
        some = np.unravel_index(np.arange(0, u.size // u.shape[axis + 1], every), moved.shape[:-1])
        return moved[some], [nodes[axis]]  # a copy of these alone
    cut = central(u.shape[1:], most)
    return u[(slice(None), *cut)], [x[c] for x, c in zip(nodes, cut, strict=True)]


def _differences(
    u: Array, nodes: Sequence[Array], orders: Iterable[int], more: float = 1.0
) -> Iterator[tuple[float, float, int]]:
    """The noise by differences of some orders along the last axes, charged and plain, and the order.

    Among many estimates the least reliable would win by chance: each is charged its uncertainty, which is
    that of ``more`` times as many values. Differences of neighbours share values, about as many as the order.
    """
    for order in orders:
        if min(x.size for x in nodes) <= order:
            continue
        f = u
        for i, x in enumerate(nodes):
            f = difference(f, x, order, i - len(nodes))
        f = f[np.isfinite(f)]
        if f.size >= _FEWEST_WINDOWS:
            s = _spread(f)
            yield s * _charge(f.size * more / order ** len(nodes)), s, order


def _charge(freedom: float) -> float:
    """The factor by which a standard deviation of so many degrees of freedom may be too small.

    >>> [round(_charge(n), 2) for n in (2.25, 10, 1000)]
    [15.36, 2.36, 1.07]
    """
    return float(np.sqrt(freedom / chi2_upper(1 - _CHANCE, freedom)))


def _scattered(u: Array, x: Array) -> float:
    """Pure error where points repeat often enough, otherwise local polynomial residuals; without copies."""
    single = ~copies(u, x)
    u, x = u[single], x[single]
    where = np.unique(x, axis=0, return_inverse=True)[1].ravel()
    if (pure := _pure_error(u, where)) is not None:
        return pure
    lines = list(_along_lines(u, x))
    extent = np.ptp(x, axis=0)
    x = (x - x.min(axis=0)) / np.where(extent > 0, extent, 1.0)
    tree = KDTree(x)
    centres = (
        np.arange(u.size) if u.size <= _CENTRES else np.random.default_rng(0).permutation(u.size)[:_CENTRES]
    )
    found = [_local_fits(u, x, tree, centres, degree) for degree in (1, 2, 3, 4)]
    if x.shape[1] + 1 + _FEWEST_WINDOWS <= u.size <= _PROCESS_POINTS:
        found.append(process_noise(u, x))
    usable = [pair for pair in (*found, *lines) if pair is not None]
    if not usable:
        raise DataError(
            f"The noise cannot be estimated from {u.size} values; give it, as noise={{'u': 0.02}} (a "
            "fraction of rms)."
        )
    return min(usable)[1]


def _along_lines(u: Array, x: Array) -> Iterator[tuple[float, float]]:
    """As `_local_fits`, from differences along lines of samples that differ in one coordinate only.

    Curves of subjects or sensors that have nothing in common are smooth along these lines alone.
    """
    for axis in range(x.shape[1] if x.shape[1] > 1 else 0):
        for order in (k for k in _ORDERS if k < u.size):
            index, weights = line_windows(x, axis, order)
            if len(index) < _FEWEST_WINDOWS:
                break
            s = _spread(np.sum(weights * u[index], axis=1))
            yield s * _charge(len(index) / order), s


def line_windows(x: Array, axis: int, order: int) -> tuple[Index, Array]:
    """Samples (m, order + 1) in a row along lines of points (n, d), n > order, and weights of differences.

    Points of a line differ in one coordinate only, and those of a window from each other.

    >>> line_windows(np.array([[0.0], [2.0], [1.0]]), 0, 2)[0].tolist()
    [[0, 2, 1]]
    """
    line = np.unique(np.delete(x, axis, axis=1), axis=0, return_inverse=True)[1].ravel()
    line = line if x.shape[1] > 1 else np.zeros(len(x), dtype=np.intp)
    along = np.lexsort((x[:, axis], line))
    lines, places, index = (sliding_window_view(v, order + 1) for v in (line[along], x[along, axis], along))
    whole = (lines[:, 0] == lines[:, -1]) & (np.diff(places).min(axis=1) > 0)
    return index[whole], _weights(np.asarray(places[whole], dtype=np.float64))


def _local_fits(u: Array, x: Array, tree: KDTree, centres: Index, degree: int) -> tuple[float, float] | None:
    """(charged, plain) noise from polynomial fits of one degree to the nearest neighbours of each centre."""
    d = x.shape[1]
    powers = [c for n in range(1, degree + 1) for c in combinations_with_replacement(range(d), n)]
    k = len(powers) + 1 + max(4, (len(powers) + 1) // 2)
    if u.size < k:
        return None
    near = tree.query(x[centres], k=k)[1]
    parts = [
        _residuals(u, x, near[i : i + _FITTED], x[centres[i : i + _FITTED]], powers)
        for i in range(0, len(near), _FITTED)
    ]
    squares, dof = (np.concatenate(part) for part in zip(*parts, strict=True))
    variance = squares / dof
    # The median over places ignores shocks; dividing by chi-square's median over its mean removes its bias.
    sd = float(np.sqrt(np.median(variance / (chi2_upper(0.5, dof) / dof))))
    return sd * (1 + np.sqrt(k / (u.size * np.median(dof)))), sd


def _residuals(
    u: Array, x: Array, near: Index, centres: Array, powers: Sequence[tuple[int, ...]]
) -> tuple[Array, Array]:
    """Squares left by polynomial fits to neighbours (n, k) of centres (n, d), and degrees of freedom."""
    local = x[near] - centres[:, None, :]
    local /= np.maximum(np.abs(local).max(axis=1, keepdims=True), np.finfo(float).tiny)
    columns = [np.ones(near.shape)] + [np.prod(local[..., list(p)], axis=-1) for p in powers]
    left, s, _ = np.linalg.svd(np.stack(columns, axis=-1), full_matrices=False)
    used = s > 1e-10 * s[:, :1]
    y = u[near] - u[near].mean(axis=1, keepdims=True)
    fitted = np.einsum("nkp,np->nk", left, np.einsum("nkp,nk->np", left, y) * used)
    return np.sum((y - fitted) ** 2, axis=1), near.shape[1] - used.sum(axis=1)
