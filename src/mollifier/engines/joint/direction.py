"""The posterior of an uncertain field along its least certain direction, in place of a normal one.

Standard errors are those of a quadratic likelihood. Where a field that multiplies a state is uncertain, it
may be far from one: of two opposite changes of a transmissivity, one makes heads too steep. And flat heads
show less of all else, so that most of the posterior may be away from the most probable values.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp
from scipy.interpolate import PchipInterpolator
from torch import Tensor

from mollifier.engines.collocated.block import Block
from mollifier.engines.collocated.readout import read_unknown_fields
from mollifier.engines.identifiability.undetermined import UNDETERMINED_SHARE
from mollifier.engines.joint.bounded import share_at_bound
from mollifier.engines.joint.profile import Profile, mixed
from mollifier.engines.joint.spline import spread_of
from mollifier.engines.joint.stages import Joint
from mollifier.engines.linalg.banded import NotPositiveError
from mollifier.engines.linalg.dense import inverted_square, lower_factor, solved
from mollifier.mollify.arrays import Array, rms
from mollifier.mollify.orders import Derivative
from mollifier.problem.solution import Solution
from mollifier.problem.status import Status


def wide_field(found: Solution, joint: Joint) -> str:
    """The field of greatest rms standard error relative to its rms, if that is large; empty if none is.

    Only fields whose priors are chosen by the evidence, not beside hidden states or laws, and not of damaged
    data, of which no answer is called good. None that is at a bound over much of the domain: raw values there
    go to infinity at no cost, which standard errors account for (`mollifier.engines.joint.bounded`).
    """
    model, data = joint.model, found.dataset
    left_out = model.problem.hidden or model.problem.laws or model.problem.data.damage or model.gauges
    if not (found.status.ok and joint.exact) or left_out:
        return ""
    known = [n for n in joint.free if f"{n}_sd" in data]
    ratio = {n: rms(data[f"{n}_sd"].values) / max(rms(data[n].values), 1e-300) for n in known}
    name = max(ratio, key=ratio.__getitem__, default="")
    if not joint.tuning.far < ratio.get(name, 0.0) < np.inf:
        return ""
    return "" if share_at_bound(joint.bordered(), name) > UNDETERMINED_SHARE else name


def along_direction(found: Solution, joint: Joint, name: str) -> Solution:
    """The answer by the posterior along a field's direction of greatest variance, over which all is averaged.

    The field is moved further and further to both sides in the measured region, and all else follows, until
    the posterior density has fallen, or rises again. ``joint`` is the last stage of the fit, which stays as
    it was, with the priors that it has chosen. States in the answer are those of ``found``.
    """
    start = joint.parameters()
    try:
        line = _Line(found, joint, name)
        for side in (1, -1):
            line.outwards(side)
        return line.result()
    except NotPositiveError:
        return found
    finally:
        joint.set_parameters(start)


@dataclass(frozen=True, eq=False)
class _Point:
    """All else at its most probable at a place on a line."""

    change: Array  #: Of the unknowns from the answer, before their bijections, shape (p,).
    sd: dict[str, Array]  #: Unknown -> standard errors across the line, before its bijection, shape (m,).
    loss: float  #: Minus twice the log-likelihood with the priors, up to a constant.


class _Line:
    """Points along a direction of a field, at each of which all else is most probable.

    Raises `NotPositiveError` where the curvature at the answer is not positive.
    """

    def __init__(self, found: Solution, joint: Joint, name: str) -> None:
        self.found, self.joint, self.name = found, joint, name
        self.tuning, self.start = joint.tuning, joint.parameters()
        self.profile: Profile[_Point] = Profile(joint.tuning)
        self.rows = self._rows()
        self.system, self.at, self.change = joint.bordered(), 0.0, np.zeros(joint.layout.border_size)
        self.left = 0.0  #: Predicted decrease of minus twice the log-density to where all else would follow.
        covariance = self._covariance()
        #: Unknown -> standard errors by the present priors, before its bijection, shape (m,).
        self.sd = {n: _sd(rows, covariance) for n, rows in self.rows.items()}
        inside = self.rows[name][joint.model.measured(name).ravel()]
        factor = _factor(covariance)
        spread = inside @ factor
        #: Coefficients (p,) of the place on the line, in standard errors from the answer.
        self.along = inside.T @ (spread @ np.linalg.eigh(spread.T @ spread)[1][:, -1])
        self.along /= np.linalg.norm(factor.T @ self.along)
        self._add(covariance)

    def outwards(self, side: int) -> None:
        """Further and further to one side of the answer, until the density has fallen, or rises again."""
        points, tuning = self.profile.solved, self.tuning
        self.at, self.change = 0.0, np.zeros_like(self.change)
        self._form(self.start)
        for step in range(1, tuning.far_steps + 1):
            before, low = points[self.at][1], self.profile.best[1]
            if before > low + tuning.far_depth:
                return
            try:
                if not self._settle(side * step * tuning.far_step):
                    return
                self._add(self._covariance())
            except NotPositiveError:
                return
            # Where nothing shows the unknowns any more, a normal approximation has a volume without limit.
            if points[self.at][1] < before and before > low + tuning.far_barrier:
                del points[self.at]
                return

    def result(self) -> Solution:
        """The answer averaged over the line; its standard errors grow as they do by the present priors."""
        found, joint, name = self.found, self.joint, self.name
        values, fine, density = self.profile.posterior()
        places = np.linspace(values[0], values[-1], self.tuning.far_fine)
        shares = np.interp(places, fine, density) / np.interp(places, fine, density).sum()
        points = [self.profile.solved[t][0] for t in values]
        changes = PchipInterpolator(values, np.stack([p.change for p in points]))(places)
        wider = {}
        for n, rows in self.rows.items():
            across = PchipInterpolator(values, np.stack([p.sd[n] for p in points]))(places)
            wider[n] = mixed((rows @ changes.T).T, across, shares, 0.0)[1] / self.sd[n]
        joint.set_parameters(self.start)
        before = self._shown()
        joint.set_parameters(self.start + self._flat(shares @ changes))
        fields, numbers = {}, dict(found.estimates)
        for n, (values, slopes) in self._shown().items():
            wider[n] = wider[n] * np.abs(slopes / before[n][1])
            if n in numbers:
                sd = numbers[n].sd
                numbers[n] = replace(numbers[n], value=float(values[0]), sd=sd and sd * float(wider[n][0]))
            elif f"{n}_sd" in found.dataset:
                shape, sd = found.dataset[n].shape, found.dataset[f"{n}_sd"]
                fields[n] = found.dataset[n] + (values - before[n][0]).reshape(shape)
                fields[f"{n}_sd"] = sd * wider[n].reshape(shape)
        rises = {t: rise for t, (_, rise) in sorted(self.profile.solved.items())}
        made = {"field": name, "standard_errors": [*rises], "minus_twice_log_density": [*rises.values()]}
        return replace(
            found,
            status=self._status(),
            estimates=numbers,
            dataset=found.dataset.assign(fields),
            provenance={**found.provenance, "posterior": made},
        )

    def _status(self) -> Status:
        """With a note, or `undetermined` where the density is nearly as great at an end of the line."""
        (mean, sd), name = self.profile.moments(), self.name
        points = {t: point.loss for t, (point, _) in self.profile.solved.items()}
        ends = [
            f"{t:g}" for t in (min(points), max(points)) if points[t] < points[0.0] + self.tuning.far_open
        ]
        if ends:
            return Status(
                "undetermined",
                f"the data hardly limit {name} beyond {' and '.join(ends)} standard errors along its least "
                f"certain direction. Give more data, less noise, or measurements of {name}",
            )
        return self.found.status.noting(
            f"{name} is averaged over its least certain direction: {mean:.2g} ± {sd:.2g} standard errors "
            "from its most probable values"
        )

    def _settle(self, at: float) -> bool:
        """Move to a place on the line, and all else to its most probable; whether it was found."""
        layout, count = self.joint.layout, self.joint.objective.count
        for _ in range(self.tuning.far_tries):
            curvature, slope = self.system.with_priors()
            free, response = solved(curvature, np.stack([slope, self.along], axis=1)).T
            way = at - self.at + self.along @ free
            core, border = self.system.stepped(response * (way / (self.along @ response)) - free)
            self.left = self.system.decrease(core, border) * count
            if self.at == at and self.left < self.tuning.far_settled:
                return True
            self.at, self.change = at, self.change + border
            self._form(self.joint.parameters() + layout.flat(core, border))
            # States follow once more: products of both leave a residual of second order in the step.
            if self.system.finite:
                self._form(self.joint.parameters() + layout.flat(*self.system.stepped(0 * border)))
            if not self.system.finite:
                break
        return False

    def _form(self, parameters: Tensor) -> None:
        """The normal equations at some parameters."""
        self.joint.set_parameters(parameters)
        del self.system  # Memory holds one: the next is formed in its place.
        self.system = self.joint.bordered()

    def _covariance(self) -> Array:
        """Of the unknowns, (p, p), states eliminated; raises `NotPositiveError` if there is none."""
        factor = _factor(self.system.with_priors()[0] * self.joint.objective.count)
        self.volume = 2 * float(np.log(np.diag(factor)).sum())
        return inverted_square(factor)

    def _add(self, covariance: Array) -> None:
        """The point where the line is, by its covariance (p, p), and minus twice the log-density."""
        response = covariance @ self.along
        square = float(self.along @ response)
        across = covariance - np.outer(response, response) / square
        # The normal integral over all unknowns in the plane across the line. That over the states, over the
        # one without data, hardly changes, and rounding decides it where their prior is weak.
        volume = self.volume + np.log(square)
        # The loss may have the volume of fields beside numbers already.
        loss = self.joint.losses()["loss"] - self.joint.linearisation.volume_loss()
        loss = loss * self.joint.objective.count - self.left
        point = _Point(self.change, {n: _sd(rows, across) for n, rows in self.rows.items()}, loss)
        self.profile.solved[self.at] = point, loss + volume

    def _rows(self) -> dict[str, sp.csr_array]:
        """Unknown -> slopes of its values on its grid, before the bijection, by all unknowns, (m, p)."""
        joint, found = self.joint, {}
        for n, place in joint.layout.unknowns.items():
            block = joint.model.unknown_blocks.get(n)
            own = sp.csr_array(np.ones((1, 1))) if block is None else self._at_grid(block) @ spread_of(block)
            columns = sp.csr_array(sp.eye_array(joint.layout.border_size))[place]
            found[n] = sp.csr_array(own @ columns)
        return found

    def _shown(self) -> dict[str, tuple[Array, Array]]:
        """Unknown -> its values on its grid, (m,), and their slopes by those before the bijection, (m,)."""
        model, fields = self.joint.model, read_unknown_fields(self.joint.objective)
        found = {n: (np.array([v]), np.array([model.scalars[n].slope()])) for n, v in model.values().items()}
        for n, block in model.unknown_blocks.items():
            assert block.bijection is not None
            raw = self._at_grid(block) @ self.joint.raw(block)[0]
            found[n] = fields[n].values.ravel(), block.bijection.slopes(raw)
        return found

    def _flat(self, change: Array) -> Tensor:
        """A change of the unknowns (p,) as one of all parameters."""
        return self.joint.layout.flat(np.zeros(self.joint.layout.core_size), change)

    @staticmethod
    def _at_grid(block: Block) -> sp.csr_array:
        """Matrix from values at a block's nodes to those on its grid."""
        return sp.csr_array(block.mollified.matrix(Derivative("u")))


def _factor(square: Array) -> Array:
    """Lower Cholesky factor; raises `NotPositiveError` if there is none."""
    factor = lower_factor(square)
    if factor is None:
        raise NotPositiveError("The curvature of the unknowns is not positive definite.")
    return factor


def _sd(rows: sp.csr_array, covariance: Array) -> Array:
    """Standard deviations (m,) of sums by rows (m, p) of what has a covariance (p, p)."""
    return np.sqrt(np.maximum(rows.multiply(rows @ covariance).sum(axis=1), 0.0))
