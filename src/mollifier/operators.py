"""Mixed derivatives of gridded values: per-axis operators and their tensor product, for NumPy and torch alike.

Derivatives that share a prefix (the order along the first axis, then the second, ...) share that intermediate, and all
the orders along one axis are taken in one pass. Each axis is applied by whichever is fastest at its size: one stacked
matrix product (GEMM), a direct convolution, or an FFT shared by all orders.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Literal

import numpy as np
import scipy.fft
import scipy.ndimage
import scipy.sparse
from numpy.typing import NDArray

from mollifier.errors import GridError
from mollifier.grid import Axis, Grid
from mollifier.kernels import Kernel, namespace
from mollifier.stencils import Rows, rows

Boundary = Literal["halo", "one-sided", "trim"]
Method = Literal["gemm", "direct", "fft"]
BOUNDARIES: tuple[Boundary, ...] = ("halo", "one-sided", "trim")

# Seconds per unit of work relative to one multiply-add of a GEMM, fitted to timings on axes of 64 to 8,192 nodes.
_DIRECT_COST = 30.0
_FFT_COST = 36.0
_GATHER_PENALTY = 8.0


def node_axis(axis: Axis, radius: float, boundary: Boundary) -> Axis:
    """The axis on which values are needed: with a halo of one radius, or the axis itself."""
    return axis.extend(radius) if boundary == "halo" else axis


def result_axis(axis: Axis, radius: float, boundary: Boundary) -> Axis:
    """The axis on which results come: the axis itself, or what is left when windows that leave it are trimmed.

    Raises
    ------
    GridError
        If trimming leaves nothing.
    """
    if boundary != "trim" or axis.periodic or axis.size == 1:
        return axis
    x = axis.points
    slack = 1e-9 * axis.spacing
    inside = x[(x - radius >= x[0] - (x[1] - x[0]) - slack) & (x + radius <= x[-1] + (x[-1] - x[-2]) + slack)]
    if inside.size == 0:
        raise GridError(
            f"Trimming one radius ({radius:g}) off both ends of '{axis.name}' (length {axis.length:g}) leaves no "
            "points; take a smaller radius or boundary='one-sided'."
        )
    return Axis.from_points(axis.name, inside, unit=axis.unit)


def fastest_method(nodes: int, taps: int, invariant: bool) -> Method:
    """The cheapest way to apply one axis, by operations weighed with their measured speed."""
    cost: dict[Method, float] = {"gemm": nodes, "direct": _DIRECT_COST * taps}
    if invariant:
        cost["fft"] = _FFT_COST * float(np.log2(max(nodes, 2)))
    else:
        cost["direct"] *= _GATHER_PENALTY
    return min(cost, key=lambda method: cost[method])


class AxisOperator:
    """Several derivative orders along one axis, applied together to arrays seen as (batch, n, rest).

    Parameters
    ----------
    nodes
        The axis of the values.
    centres
        Where results are wanted, shape (m,).
    kernel, radius, accuracy
        As in `mollifier.stencils.rows`.
    orders
        Derivative orders.
    method
        "gemm", "direct" or "fft"; None takes the fastest.
    """

    def __init__(
        self,
        nodes: Axis,
        centres: NDArray[np.float64],
        kernel: Kernel,
        radius: float,
        orders: Sequence[int],
        accuracy: int | None = 2,
        method: Method | None = None,
    ) -> None:
        self.nodes = nodes
        self.results = len(centres)
        if nodes.size == 1:
            self.rows = {k: _single_node(nodes, centres, k) for k in orders}
        else:
            self.rows = {k: rows(nodes, centres, kernel, radius, k, accuracy) for k in orders}
        some = next(iter(self.rows.values()))
        self.invariant = some.invariant
        shared = self.invariant.stop - self.invariant.start
        self.method = method or fastest_method(nodes.size, some.weights.shape[1], shared > self.results / 2)
        if self.method == "fft" and not shared:
            raise GridError(f"Axis '{nodes.name}' has no shift-invariant rows, which method='fft' needs; use 'gemm'.")

    def constants(self, orders: Sequence[int]) -> dict[str, NDArray[Any]]:
        """What `apply` multiplies with, in float64: depends on the method."""
        chosen = [self.rows[k] for k in orders]
        if self.method == "gemm":
            return {"matrix": np.concatenate([r.dense() for r in chosen])}
        if self.invariant.start == self.invariant.stop:
            return {
                "index": np.stack([r.index for r in chosen]),
                "weights": np.stack([r.weights for r in chosen]),
            }
        first, last = self.invariant.start, self.invariant.stop
        head, tail = (
            np.concatenate([r.dense()[part] for r in chosen])
            for part in (slice(0, first), slice(last, self.results))
        )
        head_width = np.flatnonzero(np.abs(head).sum(0)).max(initial=-1) + 1
        tail_start = np.flatnonzero(np.abs(tail).sum(0)).min(initial=self.nodes.size)
        return {
            "stencils": np.stack([self._stencil(r) for r in chosen]),
            "head": np.ascontiguousarray(head[:, :head_width]),
            "tail": np.ascontiguousarray(tail[:, tail_start:]),
        }

    @cached_property
    def _reach(self) -> int:
        """Half-width in nodes of the shared stencil."""
        i = self.invariant.start
        return max(
            round(float(np.abs(r.offsets[i][r.weights[i] != 0]).max(initial=0.0)) / self.nodes.spacing)
            for r in self.rows.values()
        )

    def _stencil(self, r: Rows) -> NDArray[np.float64]:
        """The shared stencil on the offsets -reach..reach."""
        i = self.invariant.start
        used = r.weights[i] != 0
        stencil = np.zeros(2 * self._reach + 1)
        slots = np.rint(r.offsets[i][used] / self.nodes.spacing).astype(int) + self._reach
        np.add.at(stencil, slots, r.weights[i][used])
        return stencil

    def apply(self, x: Any, count: int, constants: Mapping[str, Any]) -> list[Any]:
        """The ``count`` orders whose `constants` are given: arrays (batch, m, rest) from x (batch, n, rest)."""
        if self.method == "gemm":
            return _gemm(x, constants["matrix"], count)
        if "index" in constants:
            return [_gather(x, constants["index"][i], constants["weights"][i]) for i in range(count)]
        first, last = self.invariant.start, self.invariant.stop
        centre = next(iter(self.rows.values())).centres[first]
        low = round((centre - self.nodes.lower) / self.nodes.spacing) - self._reach
        high = low + (last - first) + 2 * self._reach
        if self.nodes.periodic:
            block = x[..., np.arange(low, high) % self.nodes.size, :]
        else:
            block = _padded(x, low, high)
        convolve = _fft_convolve if self.method == "fft" else _direct_convolve
        middle = convolve(block, constants["stencils"], last - first)
        if last - first == self.results:
            return middle
        n = self.nodes.size
        head = _gemm(x[..., : constants["head"].shape[-1], :], constants["head"], count)
        tail = _gemm(x[..., n - constants["tail"].shape[-1] :, :], constants["tail"], count)
        join = np.concatenate if namespace(x) is np else namespace(x).cat
        return [join([h, m, t], -2) for h, m, t in zip(head, middle, tail, strict=True)]


def _single_node(axis: Axis, centres: NDArray[np.float64], order: int) -> Rows:
    """The identity, all that one node can carry."""
    if order:
        raise GridError(
            f"Axis '{axis.name}' has one point: no derivative along it can be formed; "
            "give at least two, or drop the coordinate from the equation."
        )
    m = len(centres)
    return Rows(0, 0, centres, np.zeros((m, 1)), np.zeros((m, 1), dtype=np.intp), np.ones((m, 1)), 1, slice(0, 0))


def _gemm(x: Any, matrix: Any, count: int) -> list[Any]:
    """(count m, n) matrix on (batch, n, rest) -> ``count`` arrays (batch, m, rest)."""
    m = matrix.shape[0] // count
    y = (x[..., 0] @ matrix.T)[..., None] if x.shape[-1] == 1 else matrix @ x
    return [y[..., i * m : (i + 1) * m, :] for i in range(count)]


def _gather(x: Any, index: Any, weights: Any) -> Any:
    """Rows of different weights, for long uneven axes: a sparse product."""
    if namespace(x) is not np:
        return (x[..., index, :] * weights[..., None]).sum(-2)
    m, taps = weights.shape
    matrix = scipy.sparse.csr_array(
        (weights.ravel(), index.ravel(), np.arange(0, m * taps + 1, taps)), shape=(m, x.shape[-2])
    )
    lines = np.moveaxis(x, -2, 0)
    return np.moveaxis((matrix @ lines.reshape(len(lines), -1)).reshape(m, *lines.shape[1:]), 0, -2)


def _padded(x: Any, low: int, high: int) -> Any:
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


def _direct_convolve(block: Any, stencils: Any, count: int) -> list[Any]:
    """Correlate dimension -2 with each stencil, keeping the ``count`` whole windows."""
    xp = namespace(block)
    if xp is np:
        reach = (stencils.shape[1] - 1) // 2
        keep = slice(reach, reach + count)
        return [
            scipy.ndimage.correlate1d(block, w, axis=-2, mode="constant")[..., keep, :] for w in stencils
        ]
    lines = block.movedim(-2, -1)
    y = xp.nn.functional.conv1d(lines.reshape(-1, 1, lines.shape[-1]), stencils[:, None, :])
    y = y.reshape(*lines.shape[:-1], len(stencils), count)
    return [y[..., i, :].movedim(-1, -2) for i in range(len(stencils))]


def _fft_convolve(block: Any, stencils: Any, count: int) -> list[Any]:
    """As `_direct_convolve`, by one forward transform shared by all stencils."""
    xp = namespace(block)
    n = block.shape[-2]
    if xp is np:
        size = scipy.fft.next_fast_len(n, real=True)
        spectrum = scipy.fft.rfft(block, size, axis=-2, workers=-1)
        transfer = np.conj(scipy.fft.rfft(stencils, size, axis=-1))
        return [
            scipy.fft.irfft(spectrum * h[:, None], size, axis=-2, workers=-1)[..., :count, :] for h in transfer
        ]
    size = int(scipy.fft.next_fast_len(n, real=True))
    spectrum = xp.fft.rfft(block, size, dim=-2)
    transfer = xp.fft.rfft(stencils, size, dim=-1).conj()
    return [xp.fft.irfft(spectrum * h[:, None], size, dim=-2)[..., :count, :] for h in transfer]


class TensorOperator:
    """Any set of mixed derivatives of values on a grid.

    Parameters
    ----------
    grid
        Where the field is wanted. Periodic axes always wrap.
    orders
        Multi-indices, one tuple of per-axis orders for each derivative.
    kernel, radius, accuracy
        As in `mollifier.stencils.rows`; the radius is a number or a mapping by axis.
    boundary
        What happens at the ends of axes that are not periodic: "halo" takes values on a grid that reaches one radius
        further; "one-sided" rows stay within the grid; "trim" returns only where the whole radius fits.
    onto
        Other axes to evaluate on, by name, instead of the grid's own: arrays of coordinates.
    methods
        Method by axis name; the fastest where not given.

    Attributes
    ----------
    nodes, result
        Grids of the values taken and of the results.

    Examples
    --------
    >>> from mollifier.kernels import Polynomial
    >>> grid = Grid(Axis("x", 0.0, 1.0, 32), Axis("y", 0.0, 1.0, 32))
    >>> op = TensorOperator(grid, [(1, 1)], Polynomial(8), 0.2, boundary="one-sided")
    >>> x, y = np.meshgrid(*(a.points for a in grid), indexing="ij")
    >>> bool(np.allclose(op(x * y)[0], 1.0))
    True
    """

    def __init__(
        self,
        grid: Grid,
        orders: Sequence[tuple[int, ...]],
        kernel: Kernel,
        radius: float | Mapping[str, float],
        *,
        boundary: Boundary = "halo",
        accuracy: int | None = 2,
        onto: Mapping[str, NDArray[np.float64]] | None = None,
        methods: Mapping[str, Method] | None = None,
    ) -> None:
        if boundary not in BOUNDARIES:
            raise GridError(f"boundary={boundary!r} is not one of {BOUNDARIES}; periodic axes wrap whatever it is.")
        radii = grid.radii(radius)
        self.orders = tuple(tuple(o) for o in orders)
        self.nodes = Grid(*(node_axis(a, radii[a.name], boundary) for a in grid))
        if onto is None:
            self.result: Grid | None = Grid(*(result_axis(a, radii[a.name], boundary) for a in grid))
            centres = {a.name: a.points for a in self.result}
        else:
            self.result = None
            centres = {a.name: np.asarray(onto.get(a.name, a.points), dtype=float) for a in grid}
        self.shape = tuple(len(centres[n]) for n in grid.names)
        self.axes = [
            AxisOperator(
                a,
                centres[a.name],
                kernel,
                radii[a.name],
                sorted({o[d] for o in self.orders}),
                accuracy,
                (methods or {}).get(a.name),
            )
            for d, a in enumerate(self.nodes)
        ]
        # Axis by axis: each prefix already formed, with the orders wanted next.
        self.steps = [
            [
                (prefix, tuple(sorted({o[d] for o in self.orders if o[:d] == prefix})))
                for prefix in sorted({o[:d] for o in self.orders})
            ]
            for d in range(len(self.axes))
        ]
        self._cast: dict[str, dict[str, Any]] = {}

    @property
    def noise_gain(self) -> list[float]:
        """Largest standard deviation of each derivative per unit of white noise in the values."""
        gain = [{k: float(r.noise_gain.max()) for k, r in a.rows.items()} for a in self.axes]
        return [float(np.prod([g[k] for g, k in zip(gain, o, strict=True)])) for o in self.orders]

    @staticmethod
    def key(axis: int, orders: Sequence[int], name: str) -> str:
        """Name under which the weights of some orders along one axis are kept."""
        return f"axis{axis}_orders{'_'.join(map(str, orders))}_{name}"

    @cached_property
    def constants(self) -> dict[str, NDArray[Any]]:
        """Every weight array, in float64, under the keys that `__call__` looks up."""
        return {
            self.key(d, orders, name): array
            for d, steps in enumerate(self.steps)
            for orders in {orders for _, orders in steps}
            for name, array in self.axes[d].constants(orders).items()
        }

    def __call__(self, values: Any, constants: Mapping[str, Any] | None = None) -> list[Any]:
        """Derivatives, one array (..., *shape) per multi-index, of values (..., *nodes.shape), NumPy or torch.

        Work is done in the dtype of the weights, float64 unless ``constants`` holds others (the tensors that a
        `mollifier.layer.MollifierLayer` carries as buffers), and returned in the dtype of ``values``.

        Raises
        ------
        GridError
            If the last dimensions of ``values`` are not the grid of nodes.
        """
        d = len(self.axes)
        if tuple(values.shape[-d:]) != self.nodes.shape:
            raise GridError(
                f"Values of shape {tuple(values.shape)} were given; the last {d} dimensions should be "
                f"{self.nodes.shape}, the nodes along {self.nodes.names}."
            )
        constants = constants if constants is not None else self._constants_like(values)
        lead, dtype = tuple(values.shape[:-d]), values.dtype
        # The mean is taken off first: it carries no derivative, and its round-off would be amplified by radius^-k.
        mean = values.mean(tuple(range(-d, 0)))[(..., *(None,) * d)]
        work = _as_dtype_of(values - mean, next(v for k, v in constants.items() if not k.endswith("index")))
        formed: dict[tuple[int, ...], Any] = {(): work}
        for i, (axis, steps) in enumerate(zip(self.axes, self.steps, strict=True)):
            following: dict[tuple[int, ...], Any] = {}
            rest = int(np.prod(self.nodes.shape[i + 1 :], dtype=int))
            for prefix, orders in steps:
                x = formed[prefix].reshape(-1, self.nodes.shape[i], rest)
                names = ("matrix", "index", "weights", "stencils", "head", "tail")
                held = {n: constants[self.key(i, orders, n)] for n in names if self.key(i, orders, n) in constants}
                for k, y in zip(orders, axis.apply(x, len(orders), held), strict=True):
                    following[(*prefix, k)] = y
            formed = following
        shape = (*lead, *self.shape)
        results = [_as_dtype(formed[o], dtype).reshape(shape) for o in self.orders]
        return [r if any(o) else r + mean for r, o in zip(results, self.orders, strict=True)]

    def _constants_like(self, values: Any) -> Mapping[str, Any]:
        """The weights as arrays of the same kind and place as ``values``."""
        if namespace(values) is np:
            return self.constants
        place = str(values.device)
        if place not in self._cast:
            torch = namespace(values)
            self._cast[place] = {k: torch.as_tensor(v, device=values.device) for k, v in self.constants.items()}
        return self._cast[place]


def _as_dtype(x: Any, dtype: Any) -> Any:
    return x.astype(dtype, copy=False) if namespace(x) is np else x.to(dtype)


def _as_dtype_of(x: Any, other: Any) -> Any:
    return _as_dtype(x, other.dtype)
