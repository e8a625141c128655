"""An edge of unknown place: a search over solves in which its place is given."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from mollifier.engines.base import Request
from mollifier.engines.joint.engine import solve_joint
from mollifier.engines.joint.profile import CUT_SHORT, Profile, in_time
from mollifier.engines.joint.tuning import JointTuning
from mollifier.equations.moving import Edge
from mollifier.errors import ConfigurationError
from mollifier.problem.estimate import Estimate
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.solution import Solution
from mollifier.problem.split import Split, outermost, search_range
from mollifier.problem.status import SETTLED, Status


def solve_moving(request: Request, edge: Edge) -> Solution:
    """Find the place of an edge together with the other unknowns.

    The place is taken to be at a few points of its range, for each of which the problem of both sides
    (`mollifier.problem.split`) is solved. The profile of the likelihood is monotone between them. Further
    places follow in the middle of whichever interval holds most of the posterior, with a uniform prior of the
    place, until none holds much. Estimates are means of the posterior; standard errors of the other numbers
    include the scatter of their values over the place (law of total variance). Fields are those of one more
    solve, at the estimate. All samples are fitted. No checkpoints are kept. Raises `ConfigurationError` as
    `search_range` does, if an interrupted run is to be resumed, or if measurements share noise.
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
        covered = len(search.profile.solved) >= search.tuning.edge_places
        if found.status.name in CUT_SHORT:
            why = (
                f"the run ended while the place of the edge, {edge.number}, was sought; no checkpoint is kept"
            )
            return search.answer(found, place, {}, Status(found.status.name, why))
        if covered and not search.profile.settled:
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
    profile: Profile[Solution] = field(init=False)

    def __post_init__(self) -> None:
        self.profile = Profile(self.tuning, self.ends)

    @property
    def tuning(self) -> JointTuning:
        return self.request.settings.tuning

    def places(self) -> Iterator[float]:
        """Where to solve next."""
        first = np.linspace(*self.ends, self.tuning.edge_places)
        yield from sorted(first.tolist(), key=lambda place: abs(place - first.mean()))
        yield from {*outermost(self.request.problem, self.edge)} - {*self.profile.solved}
        while len(self.profile.solved) < self.tuning.edge_most:
            place = self.profile.between(self.tuning.edge_share)
            if place is None:
                return
            yield place

    def solve(self, place: float, last: bool = False) -> Solution:
        """With the edge at a place, from the numbers of the best one once the range is covered.

        All but the last solve impose the equation at its full weight even where the data contradict it:
        likelihoods at other weights cannot be compared, nor those of solves that did not settle.
        """
        split = Split(self.request.problem, self.edge, place)
        if len(self.profile.solved) < self.tuning.edge_places:
            found = self._solved(split.posed(), last)
        else:
            best = {n: e.value for n, e in self.profile.best[0].estimates.items()}
            found = self._solved(split.posed(best), last)
            if found.status.name not in (*SETTLED, *CUT_SHORT):
                found = self._solved(split.posed(), last)
        losses, count = found.history["loss"].values, found.fit.sizes["observation"]
        if not last:
            settled = found.status.name in SETTLED
            self.profile.solved[place] = found, float(losses[-1]) * count if settled else np.inf
        return found

    def _solved(self, problem: InverseProblem, last: bool) -> Solution:
        """A solve of both sides in the time that is left."""
        most = self.tuning.excess_sds if last else np.inf
        tuning = replace(self.tuning, wide=np.inf, excess_sds=most)
        settings = in_time(self.request.settings, self.begun)
        settings = settings.model_copy(update={"held_out": 0.0, "tuning": tuning})
        return solve_joint(replace(self.request, problem=problem, settings=settings, folder=None))

    def result(self) -> Solution:
        """The answer at the mean of the posterior."""
        name, solved = self.edge.number, self.profile.solved
        mean, sd = self.profile.moments()
        numbers = self.profile.numbers() | {name: Estimate(name, mean, sd)}
        outer = [solved[p][1] for p in outermost(self.request.problem, self.edge)]
        rise = min(outer) - self.profile.best[1]
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
        losses = [loss for _, loss in self.profile.solved.values()]
        profile = {"places": [*self.profile.solved], "minus_twice_log_likelihood": losses}
        note = {"number": name, "coordinate": self.edge.coordinate, **profile}
        return Solution(
            status,
            {**given, name: Estimate(name, place), **numbers},
            split.whole(found.dataset),
            split.fitted(found.fit),
            found.history.assign({name: ("step", np.full(found.history.sizes["step"], place))}),
            {**found.provenance, "edge": note},
        )
