"""A number beside unknown fields whose standard error is large: its posterior, in place of a normal one.

States, fields and the strengths of their priors all follow the number. Where noise leaves it open by a good
part of its size, the likelihood is far from quadratic in it, and the most probable values of all of them
together may have little of the posterior.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from mollifier.engines.base import Request
from mollifier.engines.joint.edges import log_evidence
from mollifier.engines.joint.profile import CUT_SHORT, Profile, in_time
from mollifier.engines.joint.stages import Joint
from mollifier.errors import MollifierError
from mollifier.problem.solution import Solution
from mollifier.problem.status import SETTLED, Status

Solve = Callable[[Request], tuple[Solution, Joint]]


def wide_number(found: Solution, joint: Joint) -> str:
    """The number of greatest standard error relative to its size, if that is large; empty if none is.

    Only beside unknown fields whose priors are chosen by the evidence, and not of damaged data, of which no
    answer is called good.
    """
    problem = joint.model.problem
    if not (found.status.ok and joint.free and joint.exact) or problem.laws or problem.data.damage:
        return ""
    ratio = {n: (e.sd or 0.0) / max(abs(e.value), 1e-300) for n, e in found.estimates.items()}
    name = max(ratio, key=ratio.__getitem__, default="")
    return name if joint.tuning.wide < ratio.get(name, 0.0) < np.inf else ""


def over_values(request: Request, name: str, found: Solution, solve: Solve) -> Solution:
    """The answer by the posterior of a number, over which fields and other numbers are averaged.

    The problem is solved with the number given, further and further from the estimate on both sides until the
    evidence has fallen, and between values of which the posterior has much. States and all unknowns are
    integrated over in the evidence. Each solve begins anew: strengths that suit one value keep the states
    from what suits another. States in the answer are those of a solve at the mean.

    ``found`` is the answer with all unknowns free, and ``solve`` solves a request.
    """
    search = _Search(request, name, found, solve)
    try:
        for value in search.values():
            status = search.add(value)
            if status.name in CUT_SHORT:
                why = f"the run ended while values of {name} were compared, of which no checkpoint is kept"
                return replace(found, status=Status(status.name, why))
        return search.result() if search.profile.settled else found
    except MollifierError as error:  # a value at which the equation is not finite, say
        why = (
            f"{name} is known to {100 * search.relative:.2g} %, and its posterior could not be found: {error}"
        )
        return replace(found, status=Status("undetermined", why))


@dataclass
class _Search:
    """Solves at values of the number."""

    request: Request
    name: str
    found: Solution
    solver: Solve
    begun: float = field(default_factory=time.monotonic)
    #: Values at which a side was left though the evidence had not fallen.
    left: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tuning = self.request.settings.tuning
        self.profile: Profile[Solution] = Profile(self.tuning)

    @property
    def relative(self) -> float:
        """Standard error of the number over its size."""
        estimate = self.found.estimates[self.name]
        return abs((estimate.sd or 0.0) / estimate.value)

    def values(self) -> Iterator[float]:
        """Where to solve next."""
        solved, tuning = self.profile.solved, self.tuning
        yield self.found.estimates[self.name].value
        for side in (1, -1):
            yield from self._outwards(side)
        while self.profile.settled and len(solved) < tuning.wide_most:
            value = self.profile.between(tuning.wide_share, tuning.wide_width)
            if value is None:
                return
            yield value

    def _outwards(self, side: int) -> Iterator[float]:
        """Further and further to one side, as far as a bound, until the evidence has fallen."""
        estimate, unknown = self.found.estimates[self.name], self.request.problem.scalars[self.name]
        assert estimate.sd is not None
        value, step = estimate.value, self.tuning.wide_step * estimate.sd
        bound = unknown.upper if side > 0 else unknown.lower
        for _ in range(self.tuning.wide_steps):
            room = np.inf if bound is None else side * (bound - value)
            value += side * min(step, self.tuning.wide_room * room)
            yield value
            low = self.profile.best[1] + self.tuning.wide_depth
            if self.profile.solved[value][1] > low or step >= room:
                return
            step *= 2
        self.left.append(value)

    def add(self, value: float) -> Status:
        """Solve with the number given, and add what was found to the profile."""
        found, joint = self.solve(value)
        settled = found.status.name in SETTLED and joint.exact
        self.profile.solved[value] = found, -2 * log_evidence(joint) if settled else np.inf
        return found.status

    def solve(self, value: float) -> tuple[Solution, Joint]:
        """The problem with the number given, in the time that is left."""
        problem, settings = self.request.problem, in_time(self.request.settings, self.begun)
        # Values are compared by evidence, at strengths of the states' priors that maximise it.
        kept = replace(settings.tuning, most_pull=float("inf"))
        settings = settings.model_copy(update={"tuning": kept})
        unknowns = {n: u for n, u in problem.unknowns.items() if n != self.name}
        held = replace(problem, unknowns=unknowns, constants={**problem.constants, self.name: value})
        return self.solver(replace(self.request, problem=held, settings=settings, folder=None, resume=False))

    def result(self) -> Solution:
        """The answer at the mean of the posterior."""
        name, profile = self.name, self.profile
        mean, sd = profile.moments()
        at_mean, _ = self.solve(mean)
        numbers = profile.numbers() | {name: replace(self.found.estimates[name], value=mean, sd=sd)}
        values = {v: rise for v, (_, rise) in sorted(profile.solved.items()) if np.isfinite(rise)}
        made = {"number": name, "values": [*values], "minus_twice_log_evidence": [*values.values()]}
        note = f"{name} and its standard error are mean and standard deviation of its posterior"
        status = at_mean.status.noting(note)
        if status.ok and self.left:
            ends = " and ".join(f"{v:.3g}" for v in self.left)
            why = f"{name} = {ends} fits nearly as well as {name} = {mean:.3g}: the data do not determine it"
            status = Status("undetermined", why)
        return replace(
            self.found,
            status=status,
            estimates={n: numbers[n] for n in self.found.estimates},
            dataset=at_mean.dataset.assign(dict(profile.fields())),
            fit=at_mean.fit,
            provenance={**self.found.provenance, "posterior": made},
        )
