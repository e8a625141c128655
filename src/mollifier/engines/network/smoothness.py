"""The priors of unknown fields that are networks: Matern fields on some of the kernel's nodes.

A network can represent many fields that fit the data equally well. Its prior is that of a Matern field on a
lattice of nodes (see `field_prior`), as a quadratic form in the network's weights about their present values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from mollifier.engines.collocated.laplace import unit_of
from mollifier.engines.collocated.levenberg_marquardt import Component
from mollifier.engines.collocated.linearise import Linearisation
from mollifier.engines.collocated.objective import Objective
from mollifier.engines.linalg.dense import solved
from mollifier.engines.priors.evidence import LinearisedProblem, PriorOnCoefficients, QuadraticForm
from mollifier.engines.priors.field_prior import FieldPrior
from mollifier.engines.priors.matern import matern_weights
from mollifier.engines.priors.search import PriorSearch
from mollifier.engines.priors.shapes import Choice, Shape
from mollifier.mollify.arrays import Array, Index, slices

_PLACES = 100  # Nodes at which the variance of a field under its prior is averaged.


@dataclass(frozen=True)
class Unknowns:
    """Normal equations of the unknowns with the states eliminated, times the number of samples."""

    #: Curvature (u, u) and slope (u,) of minus the log-likelihood, priors included.
    precision: Tensor
    slope: Tensor
    #: Name of an unknown -> orthonormal directions of its parameters that change it, (parameters, r).
    bases: Mapping[str, Tensor]

    @property
    def places(self) -> dict[str, slice]:
        """Name of an unknown -> places of its r coordinates among the u."""
        return dict(zip(self.bases, slices(b.shape[1] for b in self.bases.values()), strict=True))


class WeightPrior(PriorOnCoefficients):
    """The prior of a field in the weights of its network, times a wide normal prior of the weights.

    ``columns`` are the places of the r weights among all unknowns. ``values`` (nodes,) and ``slopes`` (nodes,
    r) are those of the field at its nodes, in units of its size; ``index`` has the places of the nodes of the
    prior's lattice among these. Of the seminorm H2 the ``curvature`` at all nodes takes the place of
    differences on the lattice: rows (m, nodes) whose squares add up to its mean square. ``count`` multiplies
    the strength: the number of samples times the weight of the prior in the loss. ``held`` is the precision
    of the weights' normal prior.
    """

    def __init__(
        self,
        columns: slice,
        prior: FieldPrior,
        slopes: Array,
        values: Array,
        index: Index,
        curvature: sp.csr_array,
        count: float,
        held: float,
    ) -> None:
        self.columns, self.prior, self.count, self.held = columns, prior, count, held
        self._slopes, self._values, self._index, self._curvature = slopes, values, index, curvature
        some = np.unique(np.linspace(0, len(slopes) - 1, _PLACES).astype(np.intp))
        self._moves = slopes[some] - slopes.mean(axis=0)
        self._terms: dict[int | None, QuadraticForm] = {}
        self._forms: dict[Shape, QuadraticForm] = {}
        self._modes: dict[Shape, tuple[Array, Array]] = {}

    @property
    def mean_square(self) -> float:
        return float(np.trace(self._term(0).square))

    def of(self, prior: FieldPrior) -> WeightPrior:
        parts = self._slopes, self._values, self._index, self._curvature, self.count, self.held
        return WeightPrior(self.columns, prior, *parts)

    def on_lattice(self, shift: Array, covariance: Array) -> tuple[Array, Array]:
        slopes, here = self._slopes[self._index], self.columns
        return self._values[self._index] + slopes @ shift[here], slopes @ covariance[here, here] @ slopes.T

    def _term(self, order: int | None) -> QuadraticForm:
        """Quadratic form of the mean squared derivatives of an order, or of a seminorm for None."""
        if order not in self._terms:
            prior, some = self.prior, self._index
            if order is not None:
                matrix = prior.rows(order)
            elif prior.edged:
                matrix = prior.form(prior.shape).matrix
            else:
                matrix, some = self._curvature, np.arange(len(self._values))
            rows, values = matrix @ self._slopes[some], matrix @ self._values[some]
            self._terms[order] = QuadraticForm(
                self.count * rows.T @ rows, self.count * rows.T @ values, self.count * float(values @ values)
            )
        return self._terms[order]

    def form(self, shape: Shape) -> QuadraticForm:
        if shape not in self._forms:
            weights: dict[int | None, float] = {None: 1.0}
            if np.isfinite(shape.length):
                weights = dict(enumerate(matern_weights(shape.order, shape.length).tolist()))
            parts = [(w, self._term(k)) for k, w in weights.items()]
            self._forms[shape] = QuadraticForm(
                np.sum([w * p.square for w, p in parts], axis=0),
                np.sum([w * p.gradient for w, p in parts], axis=0),
                sum(w * p.value for w, p in parts),
            )
        return self._forms[shape]

    def _spectrum(self, shape: Shape) -> tuple[Array, Array]:
        """Eigenvalues of the form (r,), and mean squared changes of the field along the eigenvectors (r,)."""
        if shape not in self._modes:
            values, vectors = np.linalg.eigh(self.form(shape).square)
            self._modes[shape] = np.maximum(values, 0.0), np.mean((self._moves @ vectors) ** 2, axis=0)
        return self._modes[shape]

    def log_determinant(self, shape: Shape, strength: float) -> float:
        return float(np.log(self.held + strength * self._spectrum(shape)[0]).sum())

    def log_variance(self, shape: Shape, strength: float) -> tuple[float, float]:
        values, squares = self._spectrum(shape)
        precision = self.held + strength * values
        variance = float(np.sum(squares / precision))
        return float(np.log(variance)), float(np.sum(squares * strength * values / precision**2)) / variance


def weight_precision(objective: Objective, name: str) -> float:
    """Precision of the prior of an unknown field's weights: standard, or wider for a field that has grown.

    Weights of one make a field of the size of its first guess.
    """
    bijection = objective.model.unknown_blocks[name].bijection
    assert bijection is not None
    return min((unit_of(bijection) / objective.field_scale(name)) ** 2, 1.0)


def present(linearisation: Linearisation, name: str) -> Choice:
    """The present prior of an unknown field: its shape and strength."""
    return Choice(linearisation.priors[name].shape, linearisation.objective.strength(name))


def prior_search(
    linearisation: Linearisation,
    weight: float,
    unknowns: Unknowns,
    slopes: Mapping[str, Array],
    values: Mapping[str, Array],
) -> PriorSearch | None:
    """The search for the priors of fields whose strength was not given; None if there are no such fields.

    ``weight`` is that of the equation, which multiplies the priors too. The normal equations of the unknowns
    include the present priors; ``slopes`` (nodes, weights) and ``values`` (nodes,) are those of every unknown
    field at its nodes.
    """
    objective = linearisation.objective
    fields = objective.model.problem.unknown_fields
    free = [n for n in fields if fields[n].smoothness is None and objective.strength(n)]
    if not free or not torch.isfinite(unknowns.precision).all():
        return None
    curvature, slope = unknowns.precision.numpy().copy(), unknowns.slope.numpy().copy()
    priors = {}
    for n in free:
        size, here = objective.field_scale(n), unknowns.places[n]
        priors[n] = prior = WeightPrior(
            here,
            linearisation.priors[n],
            slopes[n] @ unknowns.bases[n].numpy() / size,
            values[n] / size,
            linearisation.lattices[n][1],
            linearisation.derivative_rows(n, None),
            objective.count * weight,
            weight_precision(objective, n),
        )
        now = present(linearisation, n)
        form = prior.form(now.shape)
        curvature[here, here] -= now.strength * form.square + prior.held * np.eye(here.stop - here.start)
        slope[here] -= now.strength * form.gradient
    return PriorSearch(LinearisedProblem(curvature, slope, priors), free, objective.tuning.priors)


def components(search: PriorSearch | None, unknowns: Unknowns, assumed: Array) -> list[Component]:
    """The distribution of the unknowns, averaged over the priors of fields that were not given.

    ``search`` is the one for these priors, ``unknowns`` are normal equations at the end of the run, and
    ``assumed`` (u, u) is the part of the precision that is exact, as in `Component`.
    """
    if search is None:
        return [Component(unknowns.precision.numpy(), np.zeros(len(unknowns.slope)), assumed=assumed)]
    found = []
    for weight, choices in search.mixture(search.anew()):
        precision, slope = search.problem.with_priors(choices)
        shift = -solved(precision, slope)
        found.append(Component(precision, shift, weight, assumed))
    return found
