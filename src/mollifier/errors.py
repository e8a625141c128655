"""Errors that say what was given, what was expected, and what usually fixes it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class MollifierError(ValueError):
    """Base of every error this package raises on purpose."""


class GridError(MollifierError):
    """An axis, a grid or a derivative order that the grid cannot carry."""


class EquationError(MollifierError):
    """An equation that cannot be read, or that names what does not exist."""


class DataError(MollifierError):
    """A file or an array that cannot serve as observations."""


class ConfigurationError(MollifierError):
    """A problem file or an option with a wrong key or value."""


class CheckpointError(MollifierError):
    """A saved run that cannot be read back."""


def did_you_mean(name: object, candidates: Iterable[str]) -> str:
    """A closing hint that names the nearest candidate, or lists them when none is near.

    A name that is no text is near to none.

    >>> did_you_mean("conductivty", ["conductivity", "source"])
    " Did you mean 'conductivity'?"
    >>> did_you_mean("q", ["k", "s"])
    ' Known names: k, s.'
    """
    known = sorted(set(candidates))
    close = difflib.get_close_matches(str(name), known, n=1)
    if close:
        return f" Did you mean '{close[0]}'?"
    return f" Known names: {', '.join(known)}." if known else ""


def check_known(
    given: str | Iterable[object], known: Iterable[str], error: type[MollifierError], message: str
) -> None:
    """Refuse a name, or the first of several, that is none of those known, with a hint.

    >>> check_known(["k", "q"], ["k", "s"], DataError, "There is no '{}'.")
    Traceback (most recent call last):
    mollifier.errors.DataError: There is no 'q'. Known names: k, s.
    """
    there = [*known]
    for name in [given] if isinstance(given, str) else given:
        if name not in there:
            raise error(message.replace("{}", str(name), 1) + did_you_mean(name, there))
