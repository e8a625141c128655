"""How smooth the unknown fields of networks are: priors chosen by evidence, and averaged over.

A network stands for many fields that the data cannot tell apart. Its prior is that of a Matern field on the
lattice of some of the kernel's nodes (see `field_prior`), whose order, length and strength
nobody chose for this problem. For the linearised problem the minimiser and the evidence of every other prior
are known in closed form (MacKay, Neural Computation 4:415, 1992), so that the unknowns are distributed as a
mixture over priors, each part with a spread of its own and at its own distance from where the run ended.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mollifier.engines.collocated.levenberg_marquardt import Component
from mollifier.engines.priors.field_prior import Choice, Shape
from mollifier.engines.priors.matern import matern_weights

GaussNewton = Any

Array = NDArray[np.float64]

# Steps of the logarithm of the strength, coarse and fine; coarse ones that are looked at to each side.
_COARSE, _FINE, _REACH = 4.0, 1.0, 8
# Places at which the variance that a prior allows is taken.
_PLACES = 100
# Logarithm of the evidence that another shape must gain, how far below the greatest one may lie to count, and
# the most priors that are averaged over.
_BETTER, _DEEPEST, _MOST = 0.05, 5.0, 16


@dataclass(frozen=True)
class Unknowns:
    """Normal equations of the unknowns when the states follow them, times the number of samples.

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


def maximum_evidence(stage: GaussNewton) -> dict[str, Choice]:
    """The priors of greatest evidence, of the fields whose strength was not given and that have one."""
    unknowns = stage.unknowns()
    found = {}
    for name in free_fields(stage):
        best = _Evidence(stage, unknowns, name).climbed()
        if best is not None:
            found[name] = best[0]
    return found


def averaged(stage: GaussNewton, unknowns: Unknowns, assumed: Tensor) -> list[Component]:
    """The distribution of the unknowns, averaged over the priors of fields that were not given.

    Orders, and the logarithms of lengths, are all as likely beforehand, the field's standard deviation has a
    half-Cauchy distribution (Gelman, Bayesian Anal. 1:515, 2006). Of one field at a time, the others as they
    are.

    Parameters
    ----------
    stage, unknowns
        At the end of its run.
    assumed
        What of the unknowns' precision is no reading, (u, u), as in `Component`.
    """
    present = Component(unknowns.precision, np.zeros(len(unknowns.slope)), assumed=assumed)
    parts: list[tuple[float, Component]] = []
    for name in free_fields(stage):
        parts += _Evidence(stage, unknowns, name).about()
    if not parts:
        return [present]
    logs = np.array([log for log, _ in parts])
    shares = np.exp(logs - logs.max())
    kept = np.argsort(-shares)[:_MOST]
    total = float(shares[kept].sum())
    return [replace(parts[i][1], share=float(shares[i]) / total, assumed=assumed) for i in kept]


def free_fields(stage: GaussNewton) -> list[str]:
    """Unknown fields whose strength was not given."""
    unknown = stage.model.problem.unknown_fields
    return [n for n in unknown if unknown[n].smoothness is None and stage.objective.strength(n)]


class _Evidence:
    """Logarithm of the evidence of the priors of one field, the others as they are.

    Parameters
    ----------
    stage
        As it stands.
    unknowns
        Its normal equations.
    name
        The field.
    """

    def __init__(self, stage: GaussNewton, unknowns: Unknowns, name: str) -> None:
        self.stage, self.unknowns, self.name = stage, unknowns, name
        self.place = unknowns.places[name]
        self.prior = stage.linearisation.priors[name]
        block = stage.model.unknown_blocks[name]
        size = stage.objective.field_scale(name)
        self._slopes = stage.slopes(block) @ unknowns.bases[name] / size
        some = np.linspace(0, len(self._slopes) - 1, _PLACES).astype(np.intp)
        self._moves = self._slopes[torch.from_numpy(np.unique(some))] - self._slopes.mean(0)
        self._values = torch.from_numpy(stage.values(block)) / size
        self._orders = {k: self._part(k) for k in (None, *range(max(p.order for p in self.prior.shapes) + 1))}
        # The present prior is taken out of the normal equations.
        self.unit = stage.objective.count * stage.most
        present = self._at(self.prior.shape)
        strength = stage.objective.strength(name) * self.unit
        self.known = unknowns.precision.clone()
        self.known[self.place, self.place] -= strength * present.square
        self.pull = unknowns.slope.clone()
        self.pull[self.place] -= strength * present.gradient

    def climbed(self) -> tuple[Choice, float] | None:
        """From the present shape uphill: the best prior, and its evidence; None where there is none."""
        if not torch.isfinite(self.unknowns.precision).all():
            return None
        start = self.prior.start
        best, tried = self._strongest(start), {start}
        while best is not None and np.isfinite(best[1]):
            others = [s for s in self.prior.neighbours(best[0].shape) if s not in tried]
            tried |= set(others)
            looks = [look for s in others if (look := self._strongest(s)) is not None]
            found = max(looks, key=lambda look: look[1], default=best)
            if not found[1] > best[1] + _BETTER:
                return best
            best = found
        return None

    def about(self) -> Iterator[tuple[float, Component]]:
        """Logarithm of the evidence of each prior that counts, and the unknowns' distribution under it."""
        best = self.climbed()
        if best is None:
            return
        least = best[1] - _DEEPEST
        queue, tried = [best[0].shape], {best[0].shape}
        while queue:
            shape = queue.pop()
            form = self._at(shape)
            evidence = self._along(form)
            for log, value in evidence.items():
                if value > least:
                    yield value, self._component(form, float(np.exp(log)))
            if max(evidence.values()) > least:
                others = [s for s in self.prior.neighbours(shape) if s not in tried]
                tried |= set(others)
                queue += others

    def _strongest(self, shape: Shape) -> tuple[Choice, float] | None:
        """The best of a shape, and its evidence."""
        evidence = self._along(self._at(shape))
        log = max(evidence, key=lambda log: evidence[log])
        if not np.isfinite(evidence[log]):
            return None
        return Choice(shape, float(np.exp(log)) / self.unit), evidence[log]

    def _part(self, order: int | None) -> _Form:
        """The mean squared derivatives of an order, along the field's coordinates."""
        matrix = self.stage.linearisation.derivative_rows(self.name, order)
        rows = torch.from_numpy(matrix @ self._slopes.numpy())
        values = torch.from_numpy(matrix @ self._values.numpy())
        return _Form(rows.T @ rows, rows.T @ values, float(values @ values))

    def _at(self, shape: Shape) -> _Form:
        """A prior at a strength of one."""
        if np.isinf(shape.length):
            return self._orders[None]
        parts = [
            (f, self._orders[k]) for k, f in enumerate(matern_weights(shape.order, shape.length).tolist())
        ]
        square = torch.stack([f * p.square for f, p in parts]).sum(0)
        gradient = torch.stack([f * p.gradient for f, p in parts]).sum(0)
        return _Form(square, gradient, sum(f * p.value for f, p in parts))

    def _along(self, form: _Form) -> dict[float, float]:
        """Logarithm of the strength -> evidence, about the greatest."""
        middle = _COARSE * round(-float(np.log(max(float(form.square.diagonal().mean()), 1e-300))) / _COARSE)
        coarse = [middle + _COARSE * i for i in range(-_REACH, _REACH + 1)]
        found = {log: self._evidence(form, float(np.exp(log))) for log in coarse}
        best = max(found, key=lambda log: found[log])
        for sign in (-_FINE, _FINE):
            log = best + sign
            while abs(log - best) <= 2 * _COARSE:
                found[log] = self._evidence(form, float(np.exp(log)))
                log += sign
        return {log: value for log, value in found.items() if abs(log - best) <= 2 * _COARSE}

    def _evidence(self, form: _Form, strength: float) -> float:
        precision, pull = self._with(form, strength)
        # The weights have a spread of one beside, so that the prior is one at every strength.
        own = strength * form.square
        own.diagonal().add_(1.0)
        (whole, wrong), (prior, none) = torch.linalg.cholesky_ex(precision), torch.linalg.cholesky_ex(own)
        if int(wrong) or int(none):
            return -np.inf
        move = torch.linalg.solve_triangular(whole, pull[:, None], upper=False)
        volume = float(prior.diagonal().log().sum()) - float(whole.diagonal().log().sum())
        spread = torch.linalg.solve_triangular(prior, self._moves.T, upper=False)
        variance = float(spread.square().sum(0).mean())
        likely = volume + 0.5 * float(move.square().sum()) - 0.5 * strength * form.value
        return likely + 0.5 * float(np.log(variance)) - float(np.log1p(variance))

    def _component(self, form: _Form, strength: float) -> Component:
        precision, pull = self._with(form, strength)
        triangle, info = torch.linalg.cholesky_ex(precision)
        assert not int(info)
        shift = -torch.cholesky_solve(pull[:, None], triangle)[:, 0].numpy()
        return Component(precision, shift)

    def _with(self, form: _Form, strength: float) -> tuple[Tensor, Tensor]:
        """Curvature and slope with a prior."""
        precision, pull = self.known.clone(), self.pull.clone()
        precision[self.place, self.place] += strength * form.square
        pull[self.place] += strength * form.gradient
        return precision, pull


@dataclass(frozen=True)
class _Form:
    """A quadratic form about where a field is: curvature (r, r) and slope (r,) of its half, and its value."""

    square: Tensor
    gradient: Tensor
    value: float
