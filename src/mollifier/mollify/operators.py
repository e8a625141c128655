"""Mixed derivatives of gridded values: per-axis operators and their tensor product, for NumPy and torch.

Derivatives that share a prefix (the order along the first axis, then the second, ...) share that
intermediate, and all the orders along one axis are taken in one pass. Each axis is applied by whichever
is fastest at its size: one stacked matrix product (GEMM), a direct convolution, or an FFT shared by all
orders.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from copy import copy
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mollifier.errors import GridError, check_known
from mollifier.mollify import convolve
from mollifier.mollify.arrays import Array, Index
from mollifier.mollify.grid import Axis, Grid
from mollifier.mollify.kernels import Kernel, namespace
from mollifier.mollify.radius import Boundary, Radius
from mollifier.mollify.stencils import Rows, rows

Method = Literal["gemm", "direct", "banded", "fft"]
BOUNDARIES: tuple[Boundary, ...] = ("halo", "one-sided", "trim")
METHODS: tuple[Method, ...] = ("gemm", "direct", "banded", "fft")
# What an axis may multiply with, by method.
_ARRAYS = ("matrix", "index", "weights", "stencils", "head", "tail")

_CONVOLVE = {
    "direct": convolve.direct_convolve,
    "banded": convolve.banded_convolve,
    "fft": convolve.fft_convolve,
}

# Seconds per unit of work relative to one multiply-add of a GEMM, from timings on axes of 64 to 4,096 nodes.
_DIRECT_COST = 30.0
_FFT_COST = 36.0
_BANDED_COST = 6.5
_GATHER_PENALTY = 8.0
_BAND_ROWS = 32  # Rows of a band that is multiplied at a time.
# Nodes along an axis from which a dense matrix (128 MiB for each order) is formed only on request.
_LARGEST_MATRIX = 4096


def fastest_method(nodes: int, taps: int, invariant: bool) -> Method:
    """The cheapest way to apply one axis, by operations weighed with their measured speed."""
    cost: dict[Method, float] = {"gemm": nodes, "direct": _DIRECT_COST * taps}
    if invariant:
        cost["fft"] = _FFT_COST * float(np.log2(max(nodes, 2)))
        cost["banded"] = _BANDED_COST * (_BAND_ROWS + taps)
    else:
        cost["direct"] *= _GATHER_PENALTY
    if nodes > _LARGEST_MATRIX:
        del cost["gemm"]
    return min(cost, key=lambda method: cost[method])


class AxisOperator:
    """Several derivative orders along one axis, applied together to arrays seen as (batch, n, rest).

    Arguments as of `mollifier.mollify.stencils.rows`; the method None takes the fastest.
    """

    def __init__(
        self,
        nodes: Axis,
        centres: Array,
        kernel: Kernel,
        radius: float,
        orders: Sequence[int],
        accuracy: int | None = 2,
        method: Method | None = None,
    ) -> None:
        self.nodes = nodes
        self.results = len(centres)
        self.rows = {k: rows(nodes, centres, kernel, radius, k, accuracy) for k in orders}
        some = next(iter(self.rows.values()))
        self.invariant = some.invariant
        shared = self.invariant.stop - self.invariant.start
        self.method = method or fastest_method(
            nodes.size, some.distinct.weights.shape[1], shared > self.results / 2
        )
        self._first, self._reach = self._shared_place() if shared else (0, 0)
        if self.method in ("fft", "banded") and not shared:
            raise GridError(
                f"Axis '{nodes.name}' has no shift-invariant rows, which '{self.method}' needs; use 'gemm'."
            )

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
        head, tail = slice(0, self.invariant.start), slice(self.invariant.stop, self.results)
        left = 0, max(r.span(head)[1] for r in chosen)
        right = min(r.span(tail)[0] for r in chosen), self.nodes.size
        return {
            "stencils": np.stack([self._stencil(r) for r in chosen]),
            "head": np.concatenate([r.block(head, left) for r in chosen]),
            "tail": np.concatenate([r.block(tail, right) for r in chosen]),
        }

    def part(self, results: Index) -> AxisOperator:
        """The operator of some of the results, from the nodes that they need, as a matrix product."""
        entries = [r.entries(results) for r in self.rows.values()]
        used = np.unique(np.concatenate([index[weights != 0] for index, weights in entries]))
        found = copy(self)
        found.rows = {k: r.part(results, used) for k, r in self.rows.items()}
        found.results, found.invariant, found.method = len(results), slice(0, 0), "gemm"
        if len(used) < self.nodes.size:
            found.nodes = Axis.from_points(self.nodes.name, self.nodes.points[used], unit=self.nodes.unit)
        return found

    def _shared_place(self) -> tuple[int, int]:
        """Node at which the first shared row is centred, and half the width of their stencil in nodes."""
        i, h = self.invariant.start, self.nodes.spacing
        shared = [(r.distinct.offsets[i], r.distinct.weights[i]) for r in self.rows.values()]
        reach = max(float(np.abs(x[w != 0]).max(initial=0.0)) / h for x, w in shared)
        centre = next(iter(self.rows.values())).centres[i]
        return round((float(centre) - self.nodes.lower) / h), round(reach)

    def _stencil(self, r: Rows) -> Array:
        """The shared stencil on the offsets -reach..reach."""
        offsets, weights = r.distinct.offsets[self.invariant.start], r.distinct.weights[self.invariant.start]
        used = weights != 0
        stencil = np.zeros(2 * self._reach + 1)
        slots = np.rint(offsets[used] / self.nodes.spacing).astype(int) + self._reach
        np.add.at(stencil, slots, weights[used])
        return stencil

    def apply(self, x: Any, count: int, constants: Mapping[str, Any]) -> list[Any]:
        """The ``count`` orders whose `constants` are given: (batch, m, rest), from x (batch, n, rest)."""
        if self.method == "gemm":
            return convolve.gemm(x, constants["matrix"], count)
        if "index" in constants:
            return [convolve.gather(x, constants["index"][i], constants["weights"][i]) for i in range(count)]
        first, last = self.invariant.start, self.invariant.stop
        low = self._first - self._reach
        high = low + (last - first) + 2 * self._reach
        block = convolve.wrapped(x, low, high) if self.nodes.periodic else convolve.padded(x, low, high)
        middle = _CONVOLVE[self.method](block, constants["stencils"], last - first)
        if last - first == self.results:
            return middle
        n = self.nodes.size
        head = convolve.gemm(x[..., : constants["head"].shape[-1], :], constants["head"], count)
        tail = convolve.gemm(x[..., n - constants["tail"].shape[-1] :, :], constants["tail"], count)
        return [convolve.joined([h, m, t]) for h, m, t in zip(head, middle, tail, strict=True)]


class TensorOperator:
    """Any set of mixed derivatives of values on a grid.

    Parameters
    ----------
    grid
        Where to evaluate. Periodic axes always wrap.
    orders
        Multi-indices, one tuple of per-axis orders for each derivative.
    kernel, radius, accuracy
        As in `mollifier.mollify.stencils.rows`; the radius is a number or a mapping by axis.
    boundary
        What happens at the ends of axes that are not periodic: "halo" takes values on a grid that reaches
        one radius further; "one-sided" rows stay within the grid; "trim" returns only where the whole
        radius fits.
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
    >>> from mollifier.mollify.kernels import Polynomial
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
        onto: Mapping[str, Array] | None = None,
        methods: Mapping[str, Method] | None = None,
    ) -> None:
        radius = Radius(grid, radius)
        self.orders = tuple(tuple(o) for o in orders)
        _check_options(grid, self.orders, boundary, onto or {}, methods or {})
        # The uncorrected kernel does not reproduce constants: without its mean it would be another kernel.
        self.centred = accuracy is not None
        self.nodes = radius.nodes(boundary)
        if onto is None:
            self.result: Grid | None = radius.results(boundary)
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
                radius[a.name],
                sorted({o[d] for o in self.orders}),
                accuracy,
                (methods or {}).get(a.name),
            )
            for d, a in enumerate(self.nodes)
        ]
        # Axis by axis: each prefix already formed, with the orders to form next.
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
        gain = [{k: float(r.noise_gain.max(initial=0.0)) for k, r in a.rows.items()} for a in self.axes]
        return [float(np.prod([g[k] for g, k in zip(gain, o, strict=True)])) for o in self.orders]

    def part(self, results: Sequence[Index]) -> TensorOperator:
        """The operator on a product of some of the results along each axis, from the nodes that they need."""
        found = copy(self)
        found.__dict__.pop("constants", None)
        found.axes = [a.part(i) for a, i in zip(self.axes, results, strict=True)]
        found.nodes, found.result = Grid(*(a.nodes for a in found.axes)), None
        found.shape, found._cast = tuple(a.results for a in found.axes), {}
        return found

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
            for orders in dict.fromkeys(orders for _, orders in steps)
            for name, array in self.axes[d].constants(orders).items()
        }

    def __call__(self, values: Any, constants: Mapping[str, Any] | None = None) -> list[Any]:
        """Derivatives, one array (..., *shape) per multi-index, of values (..., *nodes.shape).

        Work is done in the dtype of the weights, float64 unless ``constants`` holds others (the tensors that
        a `MollifierLayer` carries as buffers), and returned in the dtype of ``values`` (whole numbers come
        back as float64). Raises `GridError` if the last dimensions of ``values`` are not the grid of nodes.
        """
        d = len(self.axes)
        if tuple(values.shape[-d:]) != self.nodes.shape:
            raise GridError(
                f"Values of shape {tuple(values.shape)} were given; the last {d} dimensions should be "
                f"{self.nodes.shape}, the nodes along {self.nodes.names}."
            )
        constants = constants if constants is not None else self._constants_like(values)
        inner = next(v.dtype for k, v in constants.items() if not k.endswith("index"))
        floating = values.dtype.kind == "f" if namespace(values) is np else values.is_floating_point()
        outer = values.dtype if floating else inner
        work = _as_dtype(values, inner)
        # The mean carries no derivative, and its round-off would be amplified by radius^-k.
        mean = work.mean(tuple(range(-d, 0)))[(..., *(None,) * d)] if self.centred else 0.0
        formed = self._along_axes(work - mean, constants)
        shape = (*values.shape[:-d], *self.shape)
        results = [formed[o].reshape(shape) for o in self.orders]
        return [
            _as_dtype(r if any(o) else r + mean, outer) for r, o in zip(results, self.orders, strict=True)
        ]

    def _along_axes(self, work: Any, constants: Mapping[str, Any]) -> dict[tuple[int, ...], Any]:
        """Every multi-index, axis by axis, from values without their mean."""
        sizes = self.nodes.shape
        batch = math.prod(work.shape[: -len(sizes)])
        formed: dict[tuple[int, ...], Any] = {(): work}
        del work  # as large as the results
        for i, (axis, steps) in enumerate(zip(self.axes, self.steps, strict=True)):
            following: dict[tuple[int, ...], Any] = {}
            rest = math.prod(sizes[i + 1 :])
            for prefix, orders in steps:
                x = formed[prefix].reshape(batch, sizes[i], rest)
                keys = {name: self.key(i, orders, name) for name in _ARRAYS}
                held = {name: constants[key] for name, key in keys.items() if key in constants}
                for k, y in zip(orders, axis.apply(x, len(orders), held), strict=True):
                    following[(*prefix, k)] = y
            formed, batch = following, batch * self.shape[i]
        return formed

    def _constants_like(self, values: Any) -> Mapping[str, Any]:
        """The weights as arrays of the same kind and place as ``values``."""
        if namespace(values) is np:
            return self.constants
        place = str(values.device)
        if place not in self._cast:
            torch = namespace(values)
            self._cast[place] = {
                k: torch.as_tensor(v, device=values.device) for k, v in self.constants.items()
            }
        return self._cast[place]


def _check_options(
    grid: Grid,
    orders: Sequence[tuple[int, ...]],
    boundary: str,
    onto: Mapping[str, Any],
    methods: Mapping[str, str],
) -> None:
    """Refuse what does not name an axis, an order or a choice."""
    if boundary not in BOUNDARIES:
        raise GridError(f"boundary={boundary!r} is none of {BOUNDARIES}; periodic axes wrap whatever it is.")
    for o in orders:
        if len(o) != len(grid.axes) or min(o) < 0:
            raise GridError(
                f"Multi-index {o} was given; one order, 0 or more, for each of {grid.names} was expected."
            )
    for name in (*onto, *methods):
        grid[name]
    for method in methods.values():
        check_known([method], METHODS, GridError, f"Method {method!r} is none of {METHODS}.")


def _as_dtype(x: Any, dtype: Any) -> Any:
    return x.astype(dtype, copy=False) if namespace(x) is np else x.to(dtype)
