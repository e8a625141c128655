"""What the directive `generated` writes, as Markdown, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import fields, is_dataclass
from typing import Any

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

import mollifier
from mollifier.cli.app import app
from mollifier.data.readers.registry import READERS
from mollifier.engines.registry import ENGINES
from mollifier.equations.functions import FUNCTIONS
from mollifier.problem.entries import (
    ConditionEntry,
    DataEntry,
    DomainEntry,
    Entries,
    IntervalsEntry,
    StateEntry,
    UnknownEntry,
)
from mollifier.problem.settings import keys_of
from mollifier.problem.status import MEANINGS, NO_ANSWER, SETTLED

ROOMS = {
    "data": "Data",
    "problem": "Problems and their answers",
    "engines": "Solving",
    "diagnostics": "Before and after solving",
    "reporting": "Pictures and pages",
    "mollify": "The layer",
    "errors": "Errors",
}
RETURNED = {
    "problem": ("problem_file.ProblemFile",),
    "diagnostics": (
        "check.findings.Check",
        "validation.validate.Validation",
        "compare.comparison.Comparison",
    ),
    "errors": ("GridError", "EquationError", "DataError", "ConfigurationError", "CheckpointError"),
}
"""Classes that the public functions return or raise, by room."""
SHARED = ("as_json", "quiet", "no_colour", "debug")
"""Options of every command, described once on the page."""


def _table(head: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    lines = [list(head), ["---"] * len(list(head)), *map(list, rows)]
    cells = (" | ".join(" ".join(str(c).split()).replace("|", "\\|") for c in line) for line in lines)
    return "\n".join(f"| {line} |" for line in cells) + "\n"


def _directive(kind: str, place: str, *options: str) -> str:
    inner = "\n".join([f".. {kind}:: {place}", *(f"   :{o}:" for o in options)])
    return f"```{{eval-rst}}\n{inner}\n```\n"


def api() -> str:
    """Everything in ``mollifier.__all__``, by room."""
    homes = {n: mollifier._HOME[n] for n in mollifier.__all__ if n in mollifier._HOME}
    text = []
    for room, title in ROOMS.items():
        text.append(f"## {title}\n")
        for name, home in homes.items():
            if home.partition(".")[0] != room:
                continue
            value = getattr(mollifier, name)
            kind = "autoclass" if isinstance(value, type) else "autofunction"
            text.append(_directive(kind, f"mollifier.{name}", *(["members"] if kind == "autoclass" else [])))
        places = (f"mollifier.{room}.{place}" for place in RETURNED.get(room, ()))
        text += [_directive("autoclass", place, "members") for place in places]
    return "\n".join(text)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value is None or value == "" or isinstance(value, BaseModel) or is_dataclass(value):
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _keys(model: type[BaseModel], prefix: str = "") -> list[tuple[str, str, str]]:
    rows = ((n, f) for n, f in model.model_fields.items())
    return [(f"`{prefix}{n}`", _default(f), f.description or "") for n, f in rows]


def problem_file_keys() -> str:
    """The keys of a problem file but for the settings of engines."""
    head = ("key", "default", "meaning")
    sections = {
        "The file": (Entries, ""),
        "data": (DataEntry, "data."),
        "unknowns": (UnknownEntry, "unknowns.NAME."),
        "states": (StateEntry, "states.NAME."),
        "domain": (DomainEntry, "domain."),
        "conditions": (ConditionEntry, "conditions[]."),
        "intervals": (IntervalsEntry, "intervals."),
    }
    return "\n".join(f"### {title}\n\n{_table(head, _keys(m, p))}" for title, (m, p) in sections.items())


def settings_keys() -> str:
    """The settings of engines: each key with the engines that use it."""
    users: dict[tuple[str, str, str], list[str]] = {}
    for name, engine in ENGINES.items():
        for key, section in keys_of(engine.settings).items():
            if section is None:
                own = [r for r in _keys(engine.settings) if r[0] == f"`{key}`"]
            else:
                own = _keys(section, f"{key}.") if issubclass(section, BaseModel) else []
            for row in own:
                users.setdefault(row, []).append(name)
    rows = ((*row, ", ".join(names)) for row, names in sorted(users.items()))
    return _table(("key", "default", "meaning", "engines"), rows)


def commands() -> str:
    """Every command with its arguments and options."""
    root: Any = typer.main.get_command(app)
    text = []
    for name in root.list_commands(None):
        command = root.commands[name]
        text.append(f"## mollifier {name}\n\n{_prose(command.help)}\n")
        rows = []
        for p in command.params:
            if p.name in SHARED:
                continue
            kind = (
                ", ".join(f"`{o}`" for o in p.opts)
                if p.param_type_name == "option"
                else f"`{p.metavar or p.name}`"
            )
            shown = "" if p.default in (None, False, "") or p.required else f"`{p.default}`"
            rows.append((kind, shown, getattr(p, "help", "") or ""))
        text.append(_table(("argument or option", "default", "meaning"), rows))
        if command.epilog:
            text.append(f"{command.epilog}\n")
    return "\n".join(text)


def _prose(text: str | None) -> str:
    paragraphs = (" ".join(p.split()) for p in (text or "").replace("\b", "").split("\n\n"))
    return "\n\n".join(paragraphs).replace("*", "\\*").replace("<", "\\<")


def functions() -> str:
    """The functions of the equation language."""

    def rows() -> Iterable[tuple[str, str, str]]:
        for name, f in FUNCTIONS.items():
            yield f"`{name}({'x, y, ...' if f.many else 'x'})`", f.domain, "yes" if f.antiderivative else ""

    return _table(("function", "defined for", "in fluxes of the weak form"), rows())


def formats() -> str:
    """The file formats that can be read."""
    return _table(
        ("format", "suffixes"),
        ((f"`{n}`", ", ".join(f"`{s}`" for s in r.suffixes)) for n, r in READERS.items()),
    )


def statuses() -> str:
    """Why a run ended."""
    return _table(
        ("status", "meaning", "an answer", "standard errors"),
        (
            (f"`{n}`", m, "no" if n in NO_ANSWER else "yes", "yes" if n in SETTLED else "no")
            for n, m in MEANINGS.items()
        ),
    )


def tuning() -> str:
    """The numbers that steer the engines: names and defaults."""
    text = []
    for name, engine in ENGINES.items():
        model = keys_of(engine.settings)["tuning"]
        if model is None:
            continue
        text.append(f"### {name}\n\n{_table(('key', 'default'), _defaults(model()))}")
    return "\n".join(text)


def _defaults(record: Any, prefix: str = "tuning.") -> list[tuple[str, str]]:
    rows = []
    for f in fields(record):
        value = getattr(record, f.name)
        inner = is_dataclass(value) and not isinstance(value, type)
        rows += _defaults(value, f"{prefix}{f.name}.") if inner else [(f"`{prefix}{f.name}`", f"`{value}`")]
    return rows


PARTS: dict[str, Callable[[], str]] = {
    f.__name__.replace("_", "-"): f
    for f in (api, problem_file_keys, settings_keys, commands, functions, formats, statuses, tuning)
}
