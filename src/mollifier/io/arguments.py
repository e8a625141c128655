"""Arguments of public functions, held against their annotations."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import cache, wraps
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, ParamSpec, TypeVar, Union, get_args, get_origin

import numpy as np

from mollifier.errors import ConfigurationError, check_known

P = ParamSpec("P")
Result = TypeVar("Result")

# What stands for a class of an annotation, and the words for it.
_KINDS: dict[Any, tuple[type, ...]] = {int: (Integral,), float: (Real,), bool: (bool, np.bool_)}
_WORDS: dict[Any, str] = {
    Integral: "a whole number", Real: "a number", bool: "True or False", np.bool_: "True or False",
    str: "text", Mapping: "a mapping", Callable: "a function", Iterable: "a sequence", NoneType: "None",
}  # fmt: skip


def typed(*apart: str) -> Callable[[Callable[P, Result]], Callable[P, Result]]:
    """A decorator that refuses names of no parameter, and kinds of arguments that no annotation names.

    The outermost kind counts: a number, text, a mapping, a sequence, a class. An annotation that names
    anything else, or that is imported for types only, admits everything. The function itself checks the
    parameters ``apart``.

    >>> @typed()
    ... def thin(n: int, rename: Mapping[str, str] | None = None) -> int:
    ...     return int(n)
    >>> thin(np.int64(3))
    3
    >>> thin(3, rename=["u"])
    Traceback (most recent call last):
    mollifier.errors.ConfigurationError: thin was given rename=['u']; a mapping or None was expected.
    """

    def decorated(function: Callable[P, Result]) -> Callable[P, Result]:
        signature = inspect.signature(function)
        known = signature.parameters
        open_ended = any(p.kind is p.VAR_KEYWORD for p in known.values())
        name_of = function.__qualname__.removesuffix(".__init__")
        unknown = f"{name_of} has no argument '{{}}'."
        kinds = cache(lambda: {n: k for n, k in _kinds(function).items() if n not in apart})

        @wraps(function)
        def checked(*args: P.args, **kwargs: P.kwargs) -> Result:
            check_known(kwargs, [*known, *(kwargs if open_ended else ())], ConfigurationError, unknown)
            try:
                given = signature.bind(*args, **kwargs).arguments
            except TypeError:
                return function(*args, **kwargs)  # which says what is missing
            for name, value in given.items():
                expected = kinds().get(name, (object,))
                if not isinstance(value, expected):
                    words = " or ".join(dict.fromkeys(map(_words, expected)))
                    raise ConfigurationError(
                        f"{name_of} was given {name}={value!r:.80}; {words} was expected."
                    )
            return function(*args, **kwargs)

        return checked

    return decorated


def _kinds(function: Callable[..., Any]) -> dict[str, tuple[type, ...]]:
    """Parameter -> classes that it admits; those are left out that admit anything."""
    found: dict[str, tuple[type, ...]] = {}
    names = inspect.unwrap(function).__globals__
    for name, parameter in inspect.signature(function).parameters.items():
        if isinstance(parameter.annotation, str) and parameter.kind is not parameter.VAR_KEYWORD:
            with suppress(NameError, AttributeError, TypeError):  # a name that is imported for types only
                found[name] = _classes(eval(parameter.annotation, names))  # text of our own source
    return {name: kinds for name, kinds in found.items() if kinds}


def _classes(hint: Any) -> tuple[type, ...]:
    """Classes that a hint admits; empty for any."""
    origin = get_origin(hint) or hint
    if origin in (Union, UnionType):
        parts = [_classes(h) for h in get_args(hint)]
        return () if () in parts else tuple(k for part in parts for k in part)
    if hint is None:
        return (NoneType,)
    if not isinstance(origin, type) or origin is object or getattr(origin, "_is_protocol", False):
        return ()
    plain = origin.__module__ in ("builtins", "collections.abc")
    if plain and issubclass(origin, Mapping):
        return (Mapping,)
    return (
        (Iterable,)
        if plain and origin is not str and issubclass(origin, Iterable)
        else _KINDS.get(origin, (origin,))
    )


def _words(kind: type) -> str:
    article = "an" if kind.__name__[0] in "AEIO" else "a"
    return _WORDS.get(kind, f"{article} {kind.__name__}")
