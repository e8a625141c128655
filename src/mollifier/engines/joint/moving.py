"""An edge of unknown place: a search over solves in which its place is given."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
from scipy.interpolate import PchipInterpolator

from mollifier.engines.base import Request
from mollifier.engines.joint.engine import solve_joint
from mollifier.engines.joint.tuning import JointTuning
from mollifier.equations.moving import Edge
from mollifier.errors import ConfigurationError
from mollifier.mollify.arrays import Array
from mollifier.problem.estimate import Estimate
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.solution import Solution
from mollifier.problem.split import Split, outermost, search_range
from mollifier.problem.status import SETTLED, Status

_CUT_SHORT = ("interrupted", "time limit")


def solve_moving(request: Request, edge: Edge) -> Solution:
    """Find the place of an edge together with the other unknowns.

    The place is taken to be at a few points of its range, for each of which the problem of both sides
    (`mollifier.problem.split`) is solved. The profile of the likelihood is monotone between them. Further
    places follow in the middle of whichever interval holds most of the posterior, with a uniform prior of the
    place, until none holds much. Estimates are means of the posterior; standard errors of the other numbers
    include the scatter of their values over the place (law of total variance). Fields are those of one more
    solve, at the estimate. All samples are fitted.

    Parameters
    ----------
    request
        The solve; checkpoints are not kept.
    edge
        Of the problem.

    Raises
    ------
    ConfigurationError
        As `search_range`, if an interrupted run is to be resumed, or if measurements share noise.
    """
    if request.resume:
        raise ConfigurationError(
            f"resume=True was given; the place of the edge, {edge.number}, is found by many short solves "
            "without checkpoints. Run it again without."
        )
    if any(map(request.problem.data.noise_effects, request.problem.fields)):
        raise ConfigurationError(
            "The noise was declared with effects that values share, but where the place of an edge, "
            f"{edge.number}, is sought, independent noise was expected. Declare fraction, sd or relative, or "
            "give the place."
        )
    search = _Search(request, edge, search_range(request.problem, edge))
    for place in search.places():
        found = search.solve(place)
        unsettled = not np.isfinite([loss for _, loss in search.solved.values()]).any()
        covered = len(search.solved) >= search.tuning.edge_places
        if found.status.name in _CUT_SHORT:
            why = (
                f"the run ended while the place of the edge, {edge.number}, was sought; no checkpoint is kept"
            )
            return search.answer(found, place, {}, Status(found.status.name, why))
        if covered and unsettled:
            return search.answer(found, place, {}, found.status)
    return search.result()


@dataclass
class _Search:
    """Solves at places of the edge."""

    request: Request
    edge: Edge
    #: Of the range of its place.
    ends: tuple[float, float]
    begun: float = field(default_factory=time.monotonic)
    #: Place -> solution of both sides, and minus twice its log-likelihood.
    solved: dict[float, tuple[Solution, float]] = field(default_factory=dict)

    @property
    def tuning(self) -> JointTuning:
        return self.request.settings.tuning

    def places(self) -> Iterator[float]:
        """Where to solve next."""
        first = np.linspace(*self.ends, self.tuning.edge_places)
        yield from sorted(first.tolist(), key=lambda place: abs(place - first.mean()))
        yield from {*outermost(self.request.problem, self.edge)} - {*self.solved}
        while len(self.solved) < self.tuning.edge_most:
            places, fine, density = self.posterior()
            shares = np.histogram(fine, places, weights=density)[0]
            widest = int(np.argmax(shares))
            if shares[widest] < self.tuning.edge_share:
                return
            yield float(places[widest : widest + 2].mean())

    def solve(self, place: float, last: bool = False) -> Solution:
        """With the edge at a place, from the numbers of the best one once the range is covered.

        All but the last solve impose the equation at its full weight even where the data contradict it:
        likelihoods at other weights cannot be compared, nor those of solves that did not settle.
        """
        split = Split(self.request.problem, self.edge, place)
        if len(self.solved) < self.tuning.edge_places:
            found = self._solved(split.posed(), last)
        else:
            best, _ = min(self.solved.values(), key=lambda s: s[1])
            found = self._solved(split.posed({n: e.value for n, e in best.estimates.items()}), last)
            if found.status.name not in (*SETTLED, *_CUT_SHORT):
                found = self._solved(split.posed(), last)
        losses, count = found.history["loss"].values, found.fit.sizes["observation"]
        if not last:
            settled = found.status.name in SETTLED
            self.solved[place] = found, float(losses[-1]) * count if settled else np.inf
        return found

    def _solved(self, problem: InverseProblem, last: bool) -> Solution:
        """A solve of both sides in the time that is left."""
        settings = self.request.settings
        limit = settings.training.time_limit
        left = None if limit is None else max(limit - (time.monotonic() - self.begun), 1e-3)
        training = settings.training.model_copy(update={"time_limit": left})
        tuning = self.tuning if last else replace(self.tuning, excess_sds=np.inf)
        settings = settings.model_copy(update={"held_out": 0.0, "training": training, "tuning": tuning})
        return solve_joint(replace(self.request, problem=problem, settings=settings, folder=None))

    def posterior(self) -> tuple[Array, Array, Array]:
        """Places within the range that were solved, and further ones with the posterior's share at each."""
        low, high = self.ends
        places = np.sort([p for p in self.solved if low <= p <= high])
        rise = np.array([self.solved[p][1] for p in places])
        rise = np.minimum(rise - rise.min(), self.tuning.edge_farthest)
        parts = pairwise(places)
        fine = np.unique(
            np.concatenate([np.linspace(*ends, self.tuning.edge_fine // len(places)) for ends in parts])
        )
        density = np.exp(-PchipInterpolator(places, rise)(fine) / 2) * np.gradient(fine)
        return places, fine, density / density.sum()

    def result(self) -> Solution:
        """The answer at the mean of the posterior."""
        places, fine, density = self.posterior()
        mean = float(density @ fine)
        shares = np.array([density @ np.interp(fine, places, row) for row in np.eye(len(places))])
        solutions = [self.solved[p][0] for p in places]
        least = self.tuning.edge_settled
        numbers = {
            n: _mixed([s.estimates[n] for s in solutions], shares, least) for n in solutions[0].estimates
        }
        sd = float(np.sqrt(density @ (fine - mean) ** 2))
        numbers[self.edge.number] = Estimate(self.edge.number, mean, sd)
        losses = [self.solved[p][1] for p in places]
        rise = min(self.solved[p][1] for p in outermost(self.request.problem, self.edge)) - min(losses)
        found = self.solve(mean, last=True)
        status = found.status
        if status.name in SETTLED and rise < self.tuning.edge_rise:
            status = Status(
                "undetermined",
                f"{self.edge.number} is not determined: with it at an end of the data along "
                f"{self.edge.coordinate} the fit is nearly as good (minus twice the log-likelihood differs "
                f"by {max(rise, 0.0):.2g}), so that nothing may jump, or elsewhere. Give more or less noisy "
                f"data, or {self.edge.number}",
            )
        return self.answer(found, mean, numbers, status)

    def answer(self, found: Solution, place: float, numbers: dict[str, Estimate], status: Status) -> Solution:
        """The solution of the problem by that of both sides at a place."""
        problem, name = self.request.problem, self.edge.number
        split = Split(problem, self.edge, place)
        given = {n: replace(e, sd=None) for n, e in found.estimates.items()}
        losses = [loss for _, loss in self.solved.values()]
        profile = {"places": [*self.solved], "minus_twice_log_likelihood": losses}
        note = {"number": name, "coordinate": self.edge.coordinate, **profile}
        return Solution(
            status,
            {**given, name: Estimate(name, place), **numbers},
            split.whole(found.dataset),
            split.fitted(found.fit),
            found.history.assign({name: ("step", np.full(found.history.sizes["step"], place))}),
            {**found.provenance, "edge": note},
        )


def _mixed(parts: list[Estimate], shares: Array, least: float) -> Estimate:
    """Mean and standard deviation of a mixture of normal distributions with these shares.

    Those of unknown standard deviation, whose solves did not settle, are left out; none is given where the
    others have less than the ``least`` share.
    """
    values = np.array([e.value for e in parts])
    sds = np.array([np.nan if e.sd is None else e.sd for e in parts])
    settled = np.isfinite(sds) & (shares > 0)
    if shares[settled].sum() < least:
        return replace(parts[0], value=float(shares @ values), sd=None)
    values, sds, shares = values[settled], sds[settled], shares[settled] / shares[settled].sum()
    mean = float(shares @ values)
    return replace(parts[0], value=mean, sd=float(np.sqrt(shares @ (sds**2 + (values - mean) ** 2))))
