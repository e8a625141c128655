"""Posterior of the coefficients: the information of the equations, with priors and measurements of fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from mollifier.engines.linalg.dense import JITTER
from mollifier.engines.priors.evidence import LinearisedProblem
from mollifier.engines.priors.field_prior import FieldPrior
from mollifier.engines.priors.lattice_prior import LatticePrior, keep_local
from mollifier.engines.priors.search import PriorSearch
from mollifier.engines.priors.shapes import Choice
from mollifier.engines.priors.varying import adapted, edge_evidence
from mollifier.engines.weak.conditioning import FieldMeasurements
from mollifier.engines.weak.tuning import DEFAULT, WeakTuning
from mollifier.mollify.arrays import Array


@dataclass(eq=False)
class Posterior:
    """Posteriors of the coefficients under priors whose shapes and strengths are estimated."""

    #: Of unknown fields, by name. Those that are not quadratic are linearised about the last field found.
    priors: Mapping[str, FieldPrior]
    known: Sequence[FieldMeasurements]  #: Measurements of unknown fields.
    place: Mapping[str, slice]  #: Unknown -> the slice of its coefficients.
    tuning: WeakTuning = DEFAULT  #: Numbers that steer the engine.
    learn: bool = True  #: Whether the priors are estimated, or kept so that standard errors can be compared.
    #: Whether the next estimate of the priors is from no start; those that follow begin with the last.
    anew: bool = True
    #: Whether the posterior is averaged over plausible priors, or taken at the maximum of the evidence.
    averaged: bool = False
    choices: dict[str, Choice] = field(default_factory=dict)  #: Estimated shape and strength of each prior.
    precisions: dict[str, Array] = field(default_factory=dict)  #: Of the priors at these strengths.
    #: Root mean squares of the fields last found, the units of their priors.
    sizes: dict[str, float] = field(default_factory=dict)
    #: That of the priors for the last field found.
    search: PriorSearch | None = None
    _least: dict[str, float] = field(default_factory=dict)

    def solve(self, information: Array, right: Array, scale: Array) -> tuple[Array, Array, float]:
        """Mean (m,) and covariance (m, m) of the coefficients, and the logarithm of the evidence.

        Priors that are not quadratic are linearised about the result, and their units are taken from it,
        until it no longer changes.

        ``information`` (m, m) is the precision of the coefficients by the equations, ``right`` its product
        with their estimate, and ``scale`` (m,) the roots of the information of each coefficient, all above
        zero.
        """
        if not np.trace(information) > 0 and not self.known:
            return np.zeros(len(scale)), np.diag(np.full(len(scale), np.inf)), -np.inf
        found = self._solve_linearised(information, right, scale)
        for _ in range(self.tuning.prior_rounds if self.learn else 0):
            before = found[0]
            if not self._expand(before):
                break
            found = self._solve_linearised(information, right, scale)
            change = np.abs(found[0] - before) / np.sqrt(np.diag(found[1]))
            if np.max(change) < self.tuning.prior_change:
                break
        return found

    def _expand(self, theta: Array) -> bool:
        """Expand the priors about coefficients (m,), in their size; whether that changes any of them."""
        changed = False
        for name, prior in self.priors.items():
            here = theta[self.place[name]]
            size, before = float(np.sqrt(np.mean(here**2))), self.sizes[name]
            self.sizes[name] = max(size, self._least[name])
            changed |= prior.about(here) or size > self.tuning.prior_growth * before
        return changed

    def _solve_linearised(self, information: Array, right: Array, scale: Array) -> tuple[Array, Array, float]:
        """As `solve`, with the priors as they are."""
        problem = self._problem(information, right, scale)
        self.search = search = PriorSearch(problem, list(self.priors), self.tuning.priors)
        if self.learn or not self.choices:
            self.choices = search.anew() if self.anew else search.improved(self.choices)
            self.anew = False
        for name, prior in problem.priors.items():
            chosen = self.choices[name]
            square = chosen.strength * prior.form(chosen.shape).square
            self.precisions[name] = square + prior.held * np.eye(len(square))
        parts = search.mixture(self.choices) if self.averaged else [(1.0, self.choices)]
        return *problem.posterior(parts), problem.log_evidence(self.choices)

    def edges(self, names: Sequence[str]) -> dict[str, float]:
        """Log-evidence by which a prior for edges exceeds a smooth one, for some of the fields last found."""
        return edge_evidence(replace(self.search, free=names), self.choices) if self.search else {}

    def adapt(self) -> bool:
        """Let strengths vary over their fields from now on; whether that raises the evidence enough."""
        if self.search is None:
            return False
        found, choices, _ = adapted(self.search, self.choices)
        if found is self.search:
            return False
        keep_local(self.priors, found.problem.priors)
        self.choices, self.learn = dict(choices), False
        return True

    def _problem(self, information: Array, right: Array, scale: Array) -> LinearisedProblem:
        """The information of equations and measurements together, about coefficients of zero."""
        informative = np.trace(information) > 0
        measured, extra = self._measured(len(scale))
        source = information if informative else measured
        ridge = np.diag(JITTER * np.mean(np.diag(source) / scale**2) * scale**2)
        whole, right = information + measured + ridge, right + extra
        priors = {}
        for name, prior in self.priors.items():
            here = self.place[name]
            # Each coefficient by the data alone is too large: a field is no smaller than a share of that, or
            # it would shrink with its prior where there are few data.
            alone = (right[here] ** 2 / np.diag(whole)[here]).sum() / np.trace(whole[here, here])
            seen = max((np.mean(k.values**2) for k in self.known if k.name == name), default=0.0)
            first = float(np.sqrt(max(alone, seen))) or 1.0
            self._least[name] = self.tuning.least_size * first
            self.sizes.setdefault(name, first)
            at = np.zeros(here.stop - here.start)
            priors[name] = LatticePrior(here, prior, at, 1 / self.sizes[name], 1)
        conditions = {}
        for known in self.known if informative else ():
            here = self.place[known.name]
            conditions[known.name] = known.information + ridge[here, here], -known.right
        return LinearisedProblem(whole, -right, priors, conditions)

    def _measured(self, size: int) -> tuple[Array, Array]:
        """Information (m, m) of measurements for the coefficients, and its product with them, (m,)."""
        information, right = np.zeros((size, size)), np.zeros(size)
        for k in self.known:
            here = self.place[k.name]
            information[here, here] += k.information
            right[here] += k.right
        return information, right
