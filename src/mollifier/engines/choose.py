"""Which engine suits a problem, and why."""

from __future__ import annotations

from mollifier.engines.registry import ENGINES
from mollifier.errors import ConfigurationError
from mollifier.problem.inverse_problem import InverseProblem


def _unconditional(problem: InverseProblem, name: str) -> str | None:
    """Why an engine cannot take a problem with conditions at places; None if it can."""
    if not problem.system.conditions or ENGINES[name].imposes_conditions:
        return None
    able = " or ".join(f"'{n}'" for n, engine in ENGINES.items() if engine.imposes_conditions)
    return f"engine '{name}' imposes no conditions at places, engine {able} does"


def _unseen(problem: InverseProblem, name: str) -> str | None:
    """Why an engine cannot take a problem with a state that was not measured; None if it can."""
    if not problem.hidden or ENGINES[name].hidden_states:
        return None
    able = " or ".join(f"'{n}'" for n, engine in ENGINES.items() if engine.hidden_states)
    return f"'{problem.hidden[0]}' has no data, which engine '{name}' needs, engine {able} does not"


def incapable(problem: InverseProblem, name: str) -> str | None:
    """Why an engine cannot take a problem whatever its size; None if it can."""
    return _unconditional(problem, name) or _unseen(problem, name)


def choose(problem: InverseProblem) -> tuple[str, str]:
    """The first registered engine that suits a problem, and the reason in one line.

    Dense data on a grid go to the weak engine where the equation has a weak form; other data to the joint
    engine while nodes can fill the domain; the rest to the network.

    Raises
    ------
    ConfigurationError
        If none suits it.

    Examples
    --------
    >>> import numpy as np
    >>> from mollifier import Observations, ScalarUnknown
    >>> x, t = np.random.default_rng(0).random((2, 300))
    >>> obs = Observations({"u": np.exp(-t) * np.sin(3 * x)}, {"x": x, "t": t}, noise=0.01)
    >>> choose(InverseProblem("u_t = D*u_xx", obs, {"D": ScalarUnknown()}))
    ('joint', 'the data are scattered over x, t')
    """
    against: list[str] = []
    for name, engine in ENGINES.items():
        reason = incapable(problem, name) or engine.unsuited(problem)
        if reason is None:
            return name, ", and ".join(against) or engine.advantage(problem)
        against.append(reason)
    raise ConfigurationError(f"No engine suits the problem: {'; '.join(against)}. Name one with engine=.")
