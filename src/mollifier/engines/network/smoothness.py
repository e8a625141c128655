"""The priors of unknown fields that are networks: Matern fields on some of the kernel's nodes.

A network can represent many fields that the data do not distinguish. Its prior is that of a Matern field on a
lattice of nodes (see `field_prior`), as a quadratic form in the network's weights about where they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor

from mollifier.engines.collocated.levenberg_marquardt import Component
from mollifier.engines.collocated.linearise import Linearisation
from mollifier.engines.linalg.dense import solved
from mollifier.engines.priors.evidence import LinearisedProblem, PriorOnCoefficients, QuadraticForm
from mollifier.engines.priors.matern import matern_weights
from mollifier.engines.priors.search import PriorSearch
from mollifier.engines.priors.shapes import Choice, Shape, Shapes

Array = NDArray[np.float64]

# Places at which the variance that a prior allows is taken.
_PLACES = 100


@dataclass(frozen=True)
class Unknowns:
    """Normal equations of the unknowns with the states eliminated, times the number of samples.

    Attributes
    ----------
    precision, slope
        Shapes (u, u) and (u,): of half of minus twice the log-likelihood, priors included.
    bases
        Unknown -> directions of its parameters that move it, orthonormal, (parameters, r).
    """

    precision: Tensor
    slope: Tensor
    bases: Mapping[str, Tensor]

    @property
    def places(self) -> dict[str, slice]:
        """Unknown -> where its coordinates along its directions are."""
        edges = np.cumsum([0, *(b.shape[1] for b in self.bases.values())]).tolist()
        return {n: slice(*ends) for n, *ends in zip(self.bases, edges, edges[1:], strict=False)}


class WeightPrior(PriorOnCoefficients):
    """The prior of a field in the weights of its network, which have a spread of one beside.

    Parameters
    ----------
    columns
        Places of the weights among all unknowns.
    shapes
        From which its shape is chosen.
    slopes
        Of the field at its nodes with respect to the weights, in units of its size, shape (nodes, r).
    values
        The field at its nodes, in units of its size, shape (nodes,).
    rows
        Order of derivatives -> what turns values at nodes into numbers whose squares add up to the mean
        squared derivatives of that order, shape (m, nodes); None stands for the seminorm H2.
    count
        What a strength is multiplied by: the number of samples, times the weight of the prior in the loss.
    """

    held = 1.0

    def __init__(
        self,
        columns: slice,
        shapes: Shapes,
        slopes: Array,
        values: Array,
        rows: Callable[[int | None], sp.csr_array],
        count: float,
    ) -> None:
        self.columns, self.shapes, self.count = columns, shapes, count
        self._slopes, self._values, self._rows = slopes, values, rows
        some = np.unique(np.linspace(0, len(slopes) - 1, _PLACES).astype(np.intp))
        self._moves = slopes[some] - slopes.mean(axis=0)
        self._terms: dict[int | None, QuadraticForm] = {}
        self._forms: dict[Shape, QuadraticForm] = {}
        self._modes: dict[Shape, tuple[Array, Array]] = {}

    @property
    def mean_square(self) -> float:
        return float(np.trace(self._term(0).square))

    def _term(self, order: int | None) -> QuadraticForm:
        """The mean squared derivatives of an order."""
        if order not in self._terms:
            matrix = self._rows(order)
            rows, values = matrix @ self._slopes, matrix @ self._values
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
        """Eigenvalues of the form, and the mean squares of the field's moves along their directions."""
        if shape not in self._modes:
            values, vectors = np.linalg.eigh(self.form(shape).square)
            self._modes[shape] = np.maximum(values, 0.0), np.mean((self._moves @ vectors) ** 2, axis=0)
        return self._modes[shape]

    def log_determinant(self, shape: Shape, strength: float) -> float:
        return float(np.log1p(strength * self._spectrum(shape)[0]).sum())

    def log_variance(self, shape: Shape, strength: float) -> tuple[float, float]:
        values, squares = self._spectrum(shape)
        precision = 1 + strength * values
        variance = float(np.sum(squares / precision))
        return float(np.log(variance)), float(np.sum(squares * strength * values / precision**2)) / variance


def present(linearisation: Linearisation, name: str) -> Choice:
    """The prior of an unknown field as it is."""
    return Choice(linearisation.priors[name].shape, linearisation.objective.strength(name))


def prior_search(
    linearisation: Linearisation,
    weight: float,
    unknowns: Unknowns,
    slopes: Mapping[str, Array],
    values: Mapping[str, Array],
) -> PriorSearch | None:
    """The search for the priors of fields whose strength was not given; None where there are none.

    Parameters
    ----------
    linearisation
        Of the objective, with the present priors.
    weight
        Of the equation, and with it of the priors.
    unknowns
        Their normal equations, the present priors included.
    slopes, values
        Of every unknown field at its nodes, shapes (nodes, weights) and (nodes,).
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
            linearisation.priors[n].shapes,
            slopes[n] @ unknowns.bases[n].numpy() / size,
            values[n] / size,
            partial(linearisation.derivative_rows, n),
            objective.count * weight,
        )
        now = present(linearisation, n)
        form = prior.form(now.shape)
        curvature[here, here] -= now.strength * form.square + prior.held * np.eye(here.stop - here.start)
        slope[here] -= now.strength * form.gradient
    return PriorSearch(LinearisedProblem(curvature, slope, priors), free, objective.tuning.priors)


def components(search: PriorSearch | None, unknowns: Unknowns, assumed: Tensor) -> list[Component]:
    """The distribution of the unknowns, averaged over the priors of fields that were not given.

    Parameters
    ----------
    search
        For these priors; None where there are none.
    unknowns
        At the end of the run.
    assumed
        What of the unknowns' precision is no measurement, (u, u), as in `Component`.
    """
    if search is None:
        return [Component(unknowns.precision, np.zeros(len(unknowns.slope)), assumed=assumed)]
    found = []
    for weight, choices in search.mixture(search.anew()):
        precision, slope = search.problem.with_priors(choices)
        shift = -solved(precision, slope)
        found.append(Component(torch.from_numpy(precision), shift, weight, assumed))
    return found
