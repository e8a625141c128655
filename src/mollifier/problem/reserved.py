"""Names that a solution needs itself, and which no part of a problem may carry."""

from __future__ import annotations

import re
from collections.abc import Iterable

from mollifier.errors import ConfigurationError
from mollifier.problem.solution import HISTORY
from mollifier.problem.unknowns import value_axis

_ALWAYS = re.compile(r"observation|step|residual(_\d+)?|condition_\d+")
_SUFFIXES = ("_sd", "_prior_sd", "_ratio", "_fitted", "_held_out", "_modes", "_visits")


def check_names(names: Iterable[str], scalars: Iterable[str], laws: Iterable[str] = ()) -> None:
    """Refuse names under which a solution keeps something else.

    They are those of coordinates, fields, unknowns and known coefficients; ``scalars`` of unknown numbers,
    whose paths are columns of the history, and ``laws`` of the fields that laws vary over.

    >>> check_names(["x", "u", "k"], ["loss"])
    Traceback (most recent call last):
    mollifier.errors.ConfigurationError: 'loss' is reserved for a column of a solution's history; choose
    another name, as my_loss.
    """
    known = dict.fromkeys(names)
    taken = {n: "a dimension or a residual of a solution" for n in known if _ALWAYS.fullmatch(n)}
    taken |= {value_axis(f): f"the values of '{f}'" for f in laws if value_axis(f) in known}
    taken |= {n: "a column of a solution's history" for n in scalars if n in HISTORY}
    for n in known:
        for m in known:
            if n != m and n in {f"{m}{s}" for s in _SUFFIXES}:
                taken[n] = f"what a solution says of '{m}'"
    for name, what in taken.items():
        raise ConfigurationError(f"'{name}' is reserved for {what}; choose another name, as my_{name}.")
