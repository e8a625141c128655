"""Names, unknowns and states as they were given, checked and completed by the data and the equation."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from mollifier.data.observations import Observations
from mollifier.errors import ConfigurationError, check_known
from mollifier.problem.solution import HISTORY, owner
from mollifier.problem.unknowns import FieldUnknown, ScalarUnknown, StateUnknown, Unknown, value_axis

# Names that a solution needs itself.
_ALWAYS = re.compile(r"observation|step|residual(_\d+)?|condition_\d+")
_EXAMPLE = "states={'p': StateUnknown()}"


def completed_states(states: Mapping[str, StateUnknown], data: Observations) -> dict[str, StateUnknown]:
    """States with their coordinates filled in, in the order of the data's.

    >>> data = Observations({"u": [1.0, 2.0]}, {"x": [0.0, 1.0], "t": [0.0, 0.5]}, noise=0.01)
    >>> completed_states({"p": StateUnknown()}, data)["p"].over
    ('x', 't')
    """
    if not isinstance(states, Mapping):
        raise ConfigurationError(f"states={states!r} was given; a mapping was expected, as {_EXAMPLE}.")
    found = {}
    for name, state in states.items():
        if not isinstance(name, str) or not isinstance(state, StateUnknown):
            raise ConfigurationError(
                f"The state {name!r} was given as {state!r}; a StateUnknown was expected, as in {_EXAMPLE}."
            )
        if name in data.coordinates:
            raise ConfigurationError(f"The state '{name}' is also a coordinate; rename one of them.")
        text = f"The state '{name}' varies over '{{}}', not a coordinate."
        check_known(state.over or (), data.coordinates, ConfigurationError, text)
        over = tuple(c for c in data.coordinates if state.over is None or c in state.over)
        if is_measured(name, data):
            over = data.coordinates_of(name)
            if state.bounded:
                raise ConfigurationError(
                    f"The state '{name}' has data and bounds; bounds are for states without data. Leave "
                    "them out: the data and the equations determine it."
                )
        found[name] = replace(state, over=over)
    return found


def is_measured(name: str, data: Observations) -> bool:
    """Whether the data hold a value of a variable."""
    return name in data.variables and bool(data.dataset[name].notnull().any())


def _over(
    name: str,
    unknown: FieldUnknown,
    data: Observations,
    fields: Sequence[str],
    hidden: Mapping[str, StateUnknown],
    written: Sequence[str] | None,
) -> tuple[str, ...]:
    """What an unknown field varies over: as given, or as the equation writes it, or all coordinates."""
    varied, allowed = written if unknown.over is None else unknown.over, (*fields, *hidden, *data.coordinates)
    for c in varied or ():
        if c in data.variables and c not in fields:
            raise ConfigurationError(
                f"The unknown '{name}' varies over '{c}', which the equation does not differentiate; "
                f"make it a field, as in fields={[*fields, c]}, or name coordinates."
            )
        text = f"The unknown '{name}' varies over '{c}', not a coordinate."
        check_known([c], allowed, ConfigurationError, text)
        if c in hidden and hidden[c].range == (-math.inf, math.inf):
            raise ConfigurationError(
                f"The unknown '{name}' varies over '{c}', which was not measured: give both bounds of '{c}', "
                f"as in states={{'{c}': StateUnknown(lower=0, upper=1)}}."
            )
    over = data.coordinates if varied is None else tuple(c for c in allowed if c in varied)
    if unknown.monotone and len(over) > 1:
        raise ConfigurationError(
            f"The unknown '{name}' is to be {unknown.monotone} and varies over {', '.join(over)}; one "
            "coordinate or field was expected."
        )
    return over


def completed_unknowns(
    unknowns: Mapping[str, Unknown],
    data: Observations,
    constants: Mapping[str, float],
    fields: Sequence[str],
    hidden: Mapping[str, StateUnknown],
    arguments: Mapping[str, Sequence[str]],
) -> dict[str, Unknown]:
    """Unknowns with what they vary over filled in and checked: where not given, as the equation writes it."""
    example = "unknowns={'D': ScalarUnknown(), 'k': FieldUnknown(over=('x', 'y'))}"
    if not isinstance(unknowns, Mapping):
        raise ConfigurationError(
            f"unknowns={unknowns!r} was given; names with unknowns were expected, as in {example}."
        )
    if not unknowns:
        raise ConfigurationError(f"No unknowns were given; name at least one, as in {example}.")
    result: dict[str, Unknown] = {}
    for name, unknown in unknowns.items():
        if not isinstance(name, str):
            raise ConfigurationError(f"The unknown {name!r} has no name; text was expected, as in {example}.")
        taken = {
            "coordinate": data.coordinates,
            "variable of the data": data.variables,
            "constant": constants,
            "state": hidden,
        }
        for what, held in taken.items():
            if name in held:
                raise ConfigurationError(f"The unknown '{name}' is also a {what}; rename one of them.")
        if isinstance(unknown, ScalarUnknown):
            if name in arguments:
                written = f"{name}({', '.join(arguments[name])})"
                raise ConfigurationError(
                    f"The equation writes {written}, and '{name}' is a number; a field was expected, as in "
                    f"FieldUnknown(over={tuple(arguments[name])}), or a * before the bracket."
                )
            result[name] = unknown
            continue
        if not isinstance(unknown, FieldUnknown):
            raise ConfigurationError(
                f"The unknown '{name}' was given as {unknown!r}; a ScalarUnknown or a FieldUnknown was "
                f"expected, as in {example}. A number that is known belongs to constants, a starting value "
                "to ScalarUnknown(initial=...)."
            )
        result[name] = replace(unknown, over=_over(name, unknown, data, fields, hidden, arguments.get(name)))
    return result


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
    taken |= {n: f"what a solution says of '{m}'" for n in known if (m := owner(n, known))}
    for name, what in taken.items():
        raise ConfigurationError(f"'{name}' is reserved for {what}; choose another name, as my_{name}.")
