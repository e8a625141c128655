"""Which engine suits a problem, and why."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from mollifier.engines.registry import ENGINES
from mollifier.engines.weak.form import carried
from mollifier.engines.weak.hidden import without_hidden
from mollifier.equations.moving import moving_edge
from mollifier.errors import ConfigurationError
from mollifier.problem.inverse_problem import InverseProblem

#: What a problem may ask that not every engine takes, each with whether it does: see `Engine.questions`.
QUESTIONS: Mapping[str, Callable[[InverseProblem], bool]] = {
    "conditions that give no boundary term": lambda problem: not carried(without_hidden(problem) or problem),
    "data read in blocks (obs.load() takes them into memory)": lambda problem: problem.data.whole is not None,
    "edges at unknown places": lambda problem: moving_edge(problem.system) is not None,
    "hidden states that it cannot eliminate": lambda problem: without_hidden(problem) is None,
    "laws of the state": lambda problem: bool(problem.laws),
    "monotone fields": lambda problem: any(u.monotone for u in problem.unknown_fields.values()),
    "noise that values share": lambda problem: any(map(problem.data.noise_effects, problem.fields)),
    "unknowns of each experiment": lambda problem: any(
        set(u.over or ()) & set(problem.experiments) for u in problem.unknown_fields.values()
    ),
}


def unable(problem: InverseProblem, name: str) -> str | None:
    """Why an engine cannot take a problem, and which can; None if it does."""
    for question, asked in QUESTIONS.items():
        if asked(problem) and question not in ENGINES[name].questions:
            able = " or ".join(f"'{n}'" for n, engine in ENGINES.items() if question in engine.questions)
            return f"engine '{name}' takes no {question}, engine {able} does"
    return None


def choose(problem: InverseProblem) -> tuple[str, str]:
    """The first registered engine that suits a problem, and the reason in one line.

    Dense data on a grid go to the weak engine where the equation has a weak form; other data to the joint
    engine while nodes can fill the domain; the rest to the network. Raises `ConfigurationError` if none suits
    it.

    >>> import numpy as np
    >>> from mollifier import Observations, ScalarUnknown
    >>> x, t = np.random.default_rng(0).random((2, 300))
    >>> obs = Observations({"u": np.exp(-t) * np.sin(3 * x)}, {"x": x, "t": t}, noise=0.01)
    >>> choose(InverseProblem("u_t = D*u_xx", obs, {"D": ScalarUnknown()}))
    ('joint', 'the data are scattered over x, t')
    """
    against: list[str] = []
    for name, engine in ENGINES.items():
        reason = unable(problem, name) or engine.unsuited(problem)
        if reason is None:
            return name, ", and ".join(against) or engine.advantage(problem)
        against.append(reason)
    raise ConfigurationError(f"No engine suits the problem: {'; '.join(against)}. Name one with engine=.")
