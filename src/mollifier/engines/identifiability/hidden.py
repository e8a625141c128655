"""What the structure of the equations says of states that were not measured.

Each equation can determine one hidden state. Where there are as many equations as hidden states in them, or
fewer, the states make these equations hold whatever the unknowns are (Dulmage and Mendelsohn, Canad. J. Math.
10:517, 1958): such equations, their states and the unknowns that are in no other equation are undetermined.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import maximum_bipartite_matching

from mollifier.engines.identifiability.undetermined import listed
from mollifier.equations.system import Equation
from mollifier.problem.inverse_problem import InverseProblem


def open_states(problem: InverseProblem) -> tuple[list[str], list[str]]:
    """Hidden states that nothing determines, and unknowns in no other equation than those they make hold.

    Hidden states over fewer coordinates than the data make no equation hold.

    >>> from mollifier import Observations, ScalarUnknown, StateUnknown
    >>> data = Observations({"u": [1.0, 0.8, 0.7]}, {"t": [0.0, 0.1, 0.2]}, noise=0.01)
    >>> unknowns, states = dict.fromkeys("ab", ScalarUnknown()), {"v": StateUnknown()}
    >>> open_states(InverseProblem(["u_t = -a*u", "v_t = u - b*v"], data, unknowns, states=states))
    (['v'], ['b'])
    >>> open_states(InverseProblem(["u_t = v - a*u", "v_t = u - b*v"], data, unknowns, states=states))
    ([], [])
    """
    hidden = [n for n in problem.hidden if problem.coordinates_of(n) == problem.coordinates]
    equations = problem.system.equations
    held = [[n in held_by(problem, e) for n in hidden] for e in equations]
    if not hidden:
        return [], []
    matched = maximum_bipartite_matching(sp.csr_array(np.array(held, dtype=np.int8)), perm_type="column")
    determined, reached = set(), {i for i, m in enumerate(matched) if m < 0}
    queue = list(reached)
    while queue:
        for state in np.flatnonzero(held[queue.pop()]):
            determined.add(hidden[state])
            for equation in np.flatnonzero(matched == state):
                if equation not in reached:
                    reached.add(int(equation))
                    queue.append(int(equation))
    kept = {n for i in reached for n in held_by(problem, equations[i])}
    free = [n for n in hidden if n not in determined]
    return free, [n for n in problem.unknowns if free and n not in kept]


def open_text(free: list[str], lost: list[str]) -> str:
    """What `open_states` found, in a sentence.

    >>> open_text(["v"], ["b"])
    'no equation determines v: those that contain it can be satisfied whatever b is'
    """
    numbers = f" whatever {listed(lost)} is" if lost else " in many ways"
    return f"no equation determines {listed(free)}: those that contain it can be satisfied{numbers}"


def visible(problem: InverseProblem) -> InverseProblem | None:
    """The equations that hold no state which was hardly measured, as a problem; None where there are none.

    >>> from mollifier import Observations, ScalarUnknown, StateUnknown
    >>> data = Observations({"u": [1.0, 0.8, 0.7]}, {"t": [0.0, 0.1, 0.2]}, noise=0.01)
    >>> unknowns, states = dict.fromkeys("ab", ScalarUnknown()), {"v": StateUnknown()}
    >>> seen = visible(InverseProblem(["u_t = -a*u", "v_t = u - b*v"], data, unknowns, states=states))
    >>> list(seen.unknowns), seen.all_states
    (['a'], ('u',))
    """
    if not problem.states:
        return problem
    kept = [e for e in problem.system.equations if not held_by(problem, e) & {*problem.states}]
    named = {n for e in kept for n in held_by(problem, e)}
    unknowns = {n: u for n, u in problem.unknowns.items() if n in named}
    if not unknowns:
        return None
    fields = tuple(f for f in problem.fields if f in named)
    texts = [e.text for e in kept]
    return replace(problem, equation=texts, unknowns=unknowns, fields=fields, states={}, conditions=())


def held_by(problem: InverseProblem, equation: Equation) -> set[str]:
    """States and unknowns that an equation names, differentiated or not, and the states of its laws."""
    named = {problem.system.names.resolve(s).derivative.field for s in equation.symbols}
    return named | {c for n in named for c in problem.laws.get(n, ())}


def shifted(problem: InverseProblem) -> str:
    """Why a hidden state that a law varies over is free up to a constant; empty where none is.

    Where only its derivatives enter, the law of a state that is larger everywhere is the same curve, moved.
    """
    named = [problem.system.names.resolve(s).derivative for s in problem.system.symbols]
    for name, states in problem.laws.items():
        for c in states:
            if c in problem.hidden and all(d.total for d in named if d.field == c):
                return (
                    f"only derivatives of {c} enter beside {name}({c}): a constant added to {c} moves "
                    f"{name} along its axis, and all equations hold as before. Give a value of {c}, as by a "
                    "condition"
                )
    return ""
