"""Settings of a run: checked against the model of the engine that runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from mollifier.engines.base import Engine
from mollifier.engines.registry import ENGINES, starters
from mollifier.errors import ConfigurationError, check_known, did_you_mean
from mollifier.io.arguments import typed
from mollifier.problem.problem_file import ProblemFile, load
from mollifier.problem.settings import keys_at, keys_of, validated

Given = BaseModel | Mapping[str, Any] | None
Place = tuple[str, ...]


def plain(settings: Given) -> dict[str, Any]:
    """What was given, as a mapping; `ConfigurationError` if it is none."""
    if isinstance(settings, BaseModel):
        return settings.model_dump(exclude_unset=True)
    if not isinstance(settings, Mapping | None):
        raise ConfigurationError(
            f"settings was given as {settings!r}; a mapping was expected, as in "
            "{'collocation': {'radius': 0.1}}."
        )
    return dict(settings or {})


def settings_for(engine: Engine, settings: Given, why: str = "") -> Any:
    """The settings of an engine, all of which it uses.

    They were given as an instance of the engine's model, or as a mapping; ``why`` it was chosen is said if
    the user did not name it. Raises `ConfigurationError` if a key is unknown, belongs to other engines, or
    has a wrong value.

    >>> settings_for(ENGINES["joint"], {"training": {"steps": 5}}).training.steps
    5
    >>> settings_for(ENGINES["weak"], {"training": {"steps": 5}})
    Traceback (most recent call last):
    mollifier.errors.ConfigurationError: 'training.steps' was given to engine 'weak', which does not use it;
    engines that do: joint, network.
    """
    if isinstance(settings, engine.settings):
        return settings
    given = plain(settings)
    _refuse_unused(given, [engine], why)
    return validated(engine.settings, given)


def used_by(settings: Given, engines: Sequence[Engine]) -> dict[str, Any]:
    """The part of the settings that some of the engines use.

    >>> used_by({"joint": {"cells": 9}, "held_out": 0.2}, [ENGINES["network"]])
    {'held_out': 0.2}
    """
    return _split(plain(settings), [e.settings for e in engines])[0]


def check_settings(settings: Given, engines: Sequence[Engine]) -> dict[str, Any]:
    """Settings for several engines: refuse what none of them uses, and wrong values.

    Returns what was given, as a mapping. Raises `ConfigurationError` as `settings_for` does.
    """
    given = plain(settings)
    _refuse_unused(given, engines)
    for engine in engines:
        validated(engine.settings, used_by(given, [engine]))
    return given


@typed()
def load_problem(path: str | Path, overrides: Sequence[str] = (), engine: str | None = None) -> ProblemFile:
    """Read a problem file, with its engine and settings checked; the data are not read.

    Parameters
    ----------
    path, overrides
        As for `mollifier.problem.problem_file.load`.
    engine
        That runs, or "auto" if any may; the file's by default.

    Raises
    ------
    ConfigurationError
        As `mollifier.problem.problem_file.load`, and if the engine, the start or a setting is not known, or
        the engine does not use a setting.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "rod.yaml"
    >>> _ = path.write_text("equation: u_t = D*u_xx\\ndata: {file: rod.csv}\\nunknowns: {D: {lower: 0}}\\n")
    >>> load_problem(path, ["training.steps=50"]).settings
    {'training': {'steps': 50}}
    """
    keys = dict.fromkeys(k for e in ENGINES.values() for k in keys_of(e.settings))
    file = load(path, overrides, tuple(keys))
    try:
        check_settings(file.settings, runners(engine or file.engine, file.start))
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from None
    return file


def runners(engine: str, start: str | None = None) -> list[Engine]:
    """The engines that may run for a choice of engine and start, either of which may be "auto".

    Raises `ConfigurationError` if there is no such engine or start.
    """
    check_known([engine], ("auto", *ENGINES), ConfigurationError, f"There is no engine {engine!r}.")
    if start is not None:
        text = f"start was given as '{start}'; a solution or one of {', '.join(starters())} was expected."
        check_known([start], starters(), ConfigurationError, text)
    if "auto" in (engine, start):
        return list(ENGINES.values())
    return [ENGINES[n] for n in (engine, start) if n is not None]


def _refuse_unused(given: Mapping[str, Any], engines: Sequence[Engine], why: str = "") -> None:
    _, rest = _split(given, [e.settings for e in engines])
    if not rest:
        return
    path, place = rest[0], ".".join(rest[0])
    users = [n for n, e in ENGINES.items() if path[-1] in keys_at(e.settings, path[:-1])]
    if not users:
        known = [k for e in ENGINES.values() for k in keys_at(e.settings, path[:-1])]
        raise ConfigurationError(f"Unknown key '{place}'.{did_you_mean(path[-1], known)}")
    names = ", ".join(f"'{e.name}'" for e in engines)
    one = len(engines) == 1
    chosen = f" (chosen because {why})" if why else ""
    raise ConfigurationError(
        f"'{place}' was given to engine{'' if one else 's'} {names}{chosen}, which {'does' if one else 'do'} "
        f"not use it; engines that do: {', '.join(users)}."
    )


def _split(given: Mapping[str, Any], models: Sequence[type]) -> tuple[dict[str, Any], list[Place]]:
    """The part that some of the models have, and the places of the rest."""
    part: dict[str, Any] = {}
    rest: list[Place] = []
    for key, value in given.items():
        found = [keys_of(m)[key] for m in models if key in keys_of(m)]
        sections = [s for s in found if s is not None]
        if not found:
            rest.append((str(key),))
        elif sections and isinstance(value, Mapping):
            part[key], more = _split(value, sections)
            rest += [(str(key), *place) for place in more]
        else:
            part[key] = value
    return part, rest
