"""Unknowns as they were given, checked and completed by the data and the equation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from mollifier.data.observations import Observations
from mollifier.errors import ConfigurationError, check_known
from mollifier.problem.unknowns import FieldUnknown, ScalarUnknown, StateUnknown, Unknown


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
