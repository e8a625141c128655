"""Priors of unknown fields on a lattice of values, by differences.

Derivatives are differences of neighbours on the lattice. For the coefficients of a spline that is the penalty
of P-splines (Eilers and Marx, Stat. Sci. 11:89, 1996): every order is there whatever the spline's degree, and
past the edges of the domain too.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import scipy
import scipy.sparse as sp

from mollifier.engines.priors.differences import at_strength, derivative_rows, differences_along
from mollifier.engines.priors.form import Form
from mollifier.engines.priors.matern import SEMINORMS
from mollifier.engines.priors.shapes import EXCHANGEABLE, Shape, Shapes
from mollifier.engines.priors.tuning import PriorTuning
from mollifier.mollify.arrays import Array, Index
from mollifier.mollify.grid import Axis, Grid

# Cells over the domain of a lattice made of nodes, along each axis, by the number of axes: at least.
_CELLS, _FEWEST_CELLS = {1: 128, 2: 32, 3: 12}, 6
_FLAT_FIELD = 1e-20  # Mean squared gradient, over the field's mean square, below which a field is flat.

EDGES = "edges"  #: What the prior "auto" is where the evidence is for levels with edges between them.


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

    def vary_as(self, other: FieldPrior) -> None:
        """Set the factor on the strength to that of a prior on the same lattice."""
        self.local, self._forms = other.local, other._forms

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
        """The quadratic form of a shape at a strength of one, with the local strengths."""
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


def field_prior(
    lattice: Grid, kind: str, given: bool = False, tuning: PriorTuning | None = None
) -> FieldPrior:
    """The prior of a kind, or of `EDGES`; the arguments are those of `FieldPrior`."""
    if kind in ("tv", EDGES):
        return EdgePrior(lattice, given, tuning, 1.0 if kind == "tv" else 2.0)
    return FieldPrior(lattice, kind, given, tuning)


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
