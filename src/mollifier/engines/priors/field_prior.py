"""Priors of unknown fields on a lattice of values, by differences.

Derivatives are differences of neighbours on the lattice. For the coefficients of a spline that is the penalty
of P-splines (Eilers and Marx, Stat. Sci. 11:89, 1996): every order is there whatever the spline's degree, and
past the edges of the domain too.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property, lru_cache, reduce

import numpy as np
import scipy
import scipy.sparse as sp

from mollifier.engines.priors.matern import SEMINORMS, matern_weights, mixed
from mollifier.engines.priors.shapes import EXCHANGEABLE, Shape, Shapes
from mollifier.engines.priors.tuning import PriorTuning
from mollifier.mollify.arrays import Array, Index
from mollifier.mollify.grid import Axis, Grid

# Cells over the domain of a lattice made of nodes, along each axis, by the number of axes: at least.
_CELLS, _FEWEST_CELLS = {1: 128, 2: 32, 3: 12}, 6
_ROUNDING = 1e-24  # Eigenvalues below this share of the largest are none.
# Lowest eigenvalue but that of a constant, over the highest, from which rounding of the highest changes its
# logarithm by less than 1e-4 (by about 2e-16 over the ratio in one and two axes, orders 1 to 4).
_LEAST_RATIO = 1e-11
_FLAT_FIELD = 1e-20  # Mean squared gradient, over the field's mean square, below which a field is flat.

EDGES = "edges"  #: What the prior "auto" is where the evidence is for levels with edges between them.


class Form:
    """The quadratic form of a prior at a strength of one, ``x'Px``; a constant is free.

    It is scaled so that the factor of the highest derivatives is one.

    The coefficients are on a lattice, flat in C order, along scaled coordinates. ``weights`` are those of the
    squares of the rows, (m,), and ``local`` is a factor on the strength at the nodes, (p,); 1 by default.
    """

    def __init__(
        self, lattice: Grid, shape: Shape, weights: Array | None = None, local: Array | None = None
    ) -> None:
        factors = matern_weights(shape.order, shape.length).tolist()
        parts = [derivative_rows(lattice, k) * np.sqrt(f) for k, f in enumerate(factors) if f]
        if local is not None:
            parts = [at_strength(rows, local) for rows in parts]
        matrix = sp.vstack(parts)
        if weights is not None:
            matrix = sp.diags_array(np.sqrt(weights)) @ matrix
        #: What turns x into numbers whose sum of squares is x'Px, shape (m, p).
        self.matrix = sp.csr_array(matrix)
        self._size, self._weighted = lattice.size, weights is not None
        self._same = (lattice, shape) if weights is None and local is None else None

    @cached_property
    def variance(self) -> float:
        """Mean variance of what it does not leave free, at a strength of one."""
        kept = self.spectrum[self.spectrum > _ROUNDING * self.spectrum[-1]]
        return float(np.sum(1 / kept)) / self._size

    @cached_property
    def square(self) -> Array:
        """P, shape (p, p)."""
        return (self.matrix.T @ self.matrix).toarray()

    @cached_property
    def spectrum(self) -> Array:
        """Eigenvalues of P, shape (p,), none negative."""
        if self._same is not None:
            return _spectrum(*self._same)
        return self.eigenvalues()

    def eigenvalues(self) -> Array:
        """Of P, of the rows themselves where rounding of the highest would be felt in the lowest."""
        values = np.maximum(np.linalg.eigvalsh(self.square), 0.0)
        # One with weights is of the first order, and a new one in every step.
        if not self._weighted and values[1:2] <= _LEAST_RATIO * values[-1]:
            triangle = np.linalg.qr(self.matrix.toarray(), mode="r")
            roots = np.linalg.svd(triangle, compute_uv=False)[::-1]
            values = np.append(np.zeros(self._size - len(roots)), roots**2)
        values[0] = 0.0
        return values

    def rows(self, x: Array) -> Array:
        """Numbers whose sum of squares is x'Px."""
        return self.matrix @ x

    def gradient(self, x: Array) -> Array:
        """Px."""
        return self.matrix.T @ (self.matrix @ x)


@lru_cache(maxsize=256)
def _spectrum(lattice: Grid, shape: Shape) -> Array:
    """Eigenvalues of a form that is the same in every problem."""
    return Form(lattice, shape).eigenvalues()


class FieldPrior:
    """The prior of one unknown field on a lattice of values.

    ``kind`` is as in `mollifier.FieldUnknown`. Where the strength is ``given``, the seminorm H2 takes the
    place of a Matern field.
    """

    edged = False  #: Whether it is for levels with edges between them.

    def __init__(
        self, lattice: Grid, kind: str, given: bool = False, tuning: PriorTuning | None = None
    ) -> None:
        self.lattice = lattice
        apart = all(axis.discrete for axis in lattice)
        #: All that its kind leaves a choice of.
        self.shapes = EXCHANGEABLE if apart else Shapes.of("h2" if given and kind == "auto" else kind, tuning)
        order = SEMINORMS["h2"] if kind == "auto" and not apart else self.shapes.orders[0]
        #: What it is now; at first of the second order, and for a Matern field of the greatest length.
        self.shape = Shape(order, self.shapes.lengths[-1])
        #: Factor on its strength at the nodes, shape (p,); None where it is the same everywhere.
        self.local: Array | None = None
        self._forms: dict[Shape, Form] = {}

    def localise(self, local: Array | None) -> None:
        """Set the factor on the strength at the nodes."""
        self.local, self._forms = local, {}

    def about(self, x: Array) -> bool:
        """Expand the prior about a field's coefficients (p,), and whether that changed it.

        Most are the same about every field.
        """
        return False

    def expect(self, covariance: Array) -> None:
        """Take the covariance (p, p) of the coefficients, in whose light a prior for edges is expanded."""

    def rows(self, order: int) -> sp.csr_array:
        """`derivative_rows` on the lattice, at the local strength, (m, p)."""
        rows = derivative_rows(self.lattice, order)
        return rows if self.local is None else at_strength(rows, self.local)

    def form(self, shape: Shape) -> Form:
        """Of a shape."""
        if shape not in self._forms:
            self._forms[shape] = Form(self.lattice, shape, local=self.local)
        return self._forms[shape]


class EdgePrior(FieldPrior):
    """H1 with every difference weighted by an inverse power of the gradient: few large ones cost little.

    The gradient is that of the last iterate, and with the posterior's variance of the differences the root of
    its expected square, as in a step of expectation and maximisation (Babacan and others, IEEE Trans. Image
    Process. 18:12, 2009): where the data leave a gradient open, the weight is not that of a flat field. A
    posterior about the iterate is normal.

    ``power`` is that of the inverse gradient: 1 is total variation by lagged diffusivity (Vogel and Oman,
    SIAM J. Sci. Comput. 17:227, 1996), 2 a normal scale mixture that bends an edge less (Student's t).
    """

    edged = True

    def __init__(
        self, lattice: Grid, given: bool = False, tuning: PriorTuning | None = None, power: float = 1.0
    ) -> None:
        super().__init__(lattice, "tv", given, tuning)
        #: Of the differences along one axis after another, shape (m,); None for zero.
        self.variance: Array | None = None
        self._weights: Array | None = None
        self._flat, self._power = (tuning or PriorTuning()).flat, power

    def form(self, shape: Shape) -> Form:
        """Of its one shape, about the last iterate."""
        if shape not in self._forms:
            self._forms[shape] = Form(self.lattice, shape, self._weights)
        return self._forms[shape]

    def expect(self, covariance: Array) -> None:
        """Take the variance of the differences from the covariance (p, p) of the coefficients."""
        self.variance = np.concatenate(
            [np.asarray(d.multiply(d @ covariance).sum(axis=1)).ravel() for d in self._along]
        )

    def about(self, x: Array) -> bool:
        """Take a field's coefficients (p,) for the last iterate; a flat one leaves the prior as it is."""
        along = self._along
        ends = [abs(d) * (0.5 * a.spacing) for d, a in zip(along, self.lattice, strict=True)]
        squares = np.concatenate([(d @ x) ** 2 for d in along])
        squares = squares if self.variance is None else squares + self.variance
        squares = np.split(squares, np.cumsum([len(d @ x) for d in along[:-1]]))
        at_nodes = [(e.T @ s) / np.asarray(e.sum(axis=0)) for e, s in zip(ends, squares, strict=True)]
        mean = float(np.mean(np.sum(at_nodes, axis=0)))
        if not mean > _FLAT_FIELD * float(np.mean(x**2)):
            return False
        others = [
            ends[i] @ np.sum([n for j, n in enumerate(at_nodes) if j != i], axis=0) if len(along) > 1 else 0.0
            for i in range(len(along))
        ]
        gradient = np.concatenate([s + o for s, o in zip(squares, others, strict=True)])
        self._weights, self._forms = (gradient / mean + self._flat**2) ** (-self._power / 2), {}
        return True

    @cached_property
    def _along(self) -> list[sp.csr_array]:
        """First differences along each axis, over the spacing."""
        return [
            differences_along(self.lattice, {a.name: int(a is axis) for a in self.lattice})
            for axis in self.lattice
        ]


def local_strength(lattice: Grid, x: Array, covariance: Array, length: float, tuning: PriorTuning) -> Array:
    """Factor on a prior's strength at each node, by how steep a field is about it, shape (p,).

    As in a step of expectation and maximisation, the strength is the inverse of the expected squared
    gradient, averaged over a width, relative to its geometric mean over the lattice. Where the data say
    little, the covariance is the prior's, and the factor one.

    ``x`` (p,) and ``covariance`` (p, p) are those of the coefficients. ``length`` is that of the prior, in
    half-lengths of the domain: the average is over a part of it.
    """
    width, most = tuning.local_width * min(length, 1.0), tuning.local_range
    rows = derivative_rows(lattice, 1)
    squares = (rows @ x) ** 2 + np.asarray(rows.multiply(rows @ covariance).sum(axis=1)).ravel()
    ends = abs(rows)
    energy = (ends.T @ squares / (ends.T @ np.ones(len(squares)))).reshape(lattice.shape)
    for i, axis in enumerate(lattice):
        mode = "wrap" if axis.periodic else "nearest"
        energy = scipy.ndimage.gaussian_filter1d(energy, max(width / axis.spacing, 1.0), axis=i, mode=mode)
    log = -np.log(energy).ravel()
    return np.exp(np.clip(log - log.mean(), -np.log(most), np.log(most)))


def at_strength(rows: sp.csr_array, local: Array) -> sp.csr_array:
    """Rows (m, p) at a factor on the strength at nodes (p,): that of a row is the mean over its nodes."""
    ends = abs(rows)
    return sp.csr_array(sp.diags_array(np.sqrt(ends @ local / (ends @ np.ones(len(local))))) @ rows)


def field_prior(
    lattice: Grid, kind: str, given: bool = False, tuning: PriorTuning | None = None
) -> FieldPrior:
    """The prior of a kind, or of `EDGES`; the arguments are those of `FieldPrior`."""
    if kind in ("tv", EDGES):
        return EdgePrior(lattice, given, tuning, 1.0 if kind == "tv" else 2.0)
    return FieldPrior(lattice, kind, given, tuning)


def differences_along(lattice: Grid, counts: Mapping[str, int]) -> sp.csr_array:
    """Differences of the orders ``counts`` along the axes of a lattice, over their spacing, (rows, p)."""
    along = [differences(a, counts[a.name]) for a in lattice]
    return sp.csr_array(reduce(lambda a, b: sp.kron(a, b, format="csr"), along))


@lru_cache(maxsize=64)
def derivative_rows(lattice: Grid, order: int) -> sp.csr_array:
    """Rows, shape (m, p), whose squares add up to the mean squared derivatives of an order.

    For order 0 to the mean squared distance from the mean, so that a constant is free. Along a discrete axis
    there are no derivatives: each of its nodes has rows of its own.
    """
    if not order:
        return sp.csr_array(contrasts(lattice.size) / np.sqrt(lattice.size))
    parts = [sp.csr_array((0, lattice.size))]
    apart = {a.name: 0 for a in lattice if a.discrete}
    for along, times in mixed([n for n in lattice.names if n not in apart], order):
        counts = apart | along
        if all(counts[a.name] < a.size or not counts[a.name] for a in lattice):
            matrix = differences_along(lattice, counts)
            parts.append(sp.csr_array(matrix * np.sqrt(times / matrix.indptr[1:].size)))
    return sp.csr_array(sp.vstack(parts))


def differences(axis: Axis, order: int) -> sp.csr_array:
    """Differences of an order between even nodes, over that power of their spacing, shape (rows, nodes).

    >>> differences(Axis("x", 0.0, 1.0, 3), 1).toarray().tolist()
    [[-2.0, 2.0, 0.0], [0.0, -2.0, 2.0]]
    """
    n = axis.size
    taps = np.diff(np.eye(order + 1), order, axis=0)[0] / axis.spacing**order
    rows = n if axis.periodic else n - order
    index = (np.arange(rows)[:, None] + np.arange(order + 1)) % n
    place = (np.repeat(np.arange(rows), order + 1), index.ravel())
    return sp.csr_array((np.tile(taps, rows), place), shape=(rows, n))


def contrasts(size: int) -> sp.csr_array:
    """Orthonormal rows that a constant vector has no part in, shape (size - 1, size).

    Each compares the means of two halves of a run of entries, whose halves are compared in turn (Haar), so
    that few entries are not zero.

    >>> rows = contrasts(5)
    >>> bool(np.allclose((rows.T @ rows).toarray(), np.eye(5) - 1 / 5)), rows.nnz
    (True, 12)
    """
    values: list[np.ndarray] = []
    columns: list[np.ndarray] = []
    runs = [(0, size)]
    for low, high in runs:
        middle = (low + high) // 2
        if middle == low:
            continue
        left, right = middle - low, high - middle
        scale = np.sqrt(left * right / (left + right))
        values.append(np.repeat([scale / left, -scale / right], [left, right]))
        columns.append(np.arange(low, high))
        runs += [(low, middle), (middle, high)]
    edges = np.cumsum([0, *(len(v) for v in values)])
    parts = (np.concatenate(v) if v else np.empty(0) for v in (values, columns))
    return sp.csr_array((*parts, edges), shape=(len(values), size))


def thinned(nodes: Grid, domain: Grid) -> tuple[Grid, Index]:
    """A lattice of some of the nodes about a domain, and their places among all.

    >>> domain, nodes = Grid(Axis("t", 0.0, 1.0, 513)), Grid(Axis("t", -0.125, 1.125, 641))
    >>> lattice, places = thinned(nodes, domain)
    >>> lattice.shape, places[:3].tolist()
    ((161,), [0, 4, 8])
    """
    cells = _CELLS.get(len(nodes.axes), _FEWEST_CELLS)
    axes, places = [], []
    for axis, own in zip(nodes, domain, strict=True):
        step = max((own.size if own.periodic else own.size - 1) // cells, 1)
        while axis.periodic and axis.size % step:
            step -= 1
        place = np.arange(0, axis.size, step)
        upper = axis.upper if axis.periodic else float(axis.points[place[-1]])
        axes.append(Axis(axis.name, axis.lower, upper, len(place), periodic=axis.periodic))
        places.append(place)
    return Grid(*axes), np.ravel_multi_index(np.ix_(*places), nodes.shape).ravel()
