"""States with no data of their own, checked against the data of the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from mollifier.data.observations import Observations
from mollifier.errors import ConfigurationError, check_known
from mollifier.problem.unknowns import StateUnknown

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
