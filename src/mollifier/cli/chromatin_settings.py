"""Settings of a study of chromatin from the options of its command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

from mollifier.errors import ConfigurationError, check_known

if TYPE_CHECKING:
    from mollifier.chromatin.settings import StudySettings


def chosen_settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of the settings from the options."""
    from mollifier.chromatin.comparison import read_groups
    from mollifier.chromatin.settings import DEFINITIONS, PREVIEW, DomainRule, StudySettings

    alike = ("unit", "pixel_size", "z_step", "axes", "channel", "frame_interval", "time_lapse", "windows")
    alike += ("pixel", "width", "psf_sd", "margin", "quick", "control")
    alike += ("follow", "bleaching", "treatment", "euchromatin_channel", "outline", "method")
    mask, groups = given["mask"], given["groups"]
    table = None if groups is None else read_groups(groups)
    alone = groups is None or given["euchromatin_channel"] is not None
    whose, domains = given["levels"] or ("own" if alone else "control"), given["domains"]
    check_known(
        domains, ("auto", "clusters", "map", *DEFINITIONS), ConfigurationError, "--domains {} was given."
    )
    for option, value in (("outline", given["outline"]), ("method", given["method"]), ("levels", whose)):
        known = get_args(get_type_hints(StudySettings)[option])
        check_known(value, known, ConfigurationError, f"--{option} {{}} was given.")
    chosen = {name: given[name] for name in alike} | {
        "columns": column_roles(given["columns"]),
        "over": ("x", "y", "t") if given["in_time"] else ("x", "y"),
        "levels": whose,
        "domains": "clusters" if domains in DEFINITIONS else domains,
        "rule": DEFINITIONS.get(domains, DomainRule()),
        "labels": tuple(str(p) for p in given["labels"] or []),
        "polygon": None if mask is None else str(mask),
        "groups": None if table is None else table.groups,
        "replicates": None if table is None else table.replicates,
    }
    if given["preview"]:
        if domains not in ("auto", "map"):
            raise ConfigurationError(
                f"--domains {domains} was given with --preview, whose domains are those of the map; leave "
                "one of them out."
            )
        chosen |= PREVIEW | {"rule": DomainRule(), "width": given["width"] or PREVIEW["width"]}
    if given["saturated"] is not None:
        chosen["saturated"] = given["saturated"]
    return chosen


def settings_with(
    given: Mapping[str, Any], overrides: Sequence[str], assume: Sequence[str] = ()
) -> StudySettings:
    """The settings with single values replaced, as ``levels.euchromatin_quantile=0.4``; of ``assume`` those
    whose keys begin with it."""
    import dataclasses

    from mollifier.chromatin.settings import StudySettings

    base = StudySettings(**given)
    parts: dict[str, Any] = {
        "levels": base.thresholds, "domain": base.rule, "nucleus": base.detection,
        "model": base.model, "energy": base.model.energy, "assume": base.assume,
    }  # fmt: skip
    known = {
        f"{p}.{f.name}"
        for p, part in parts.items()
        for f in dataclasses.fields(part)
        if not isinstance(getattr(part, f.name), str) and f.name != "energy"
    }
    every = [("--set", "", text) for text in overrides] + [("--assume", "assume.", text) for text in assume]
    for option, ahead, text in every:
        key, middle, value = (t.strip() for t in text.partition("="))
        there = [k.removeprefix(ahead) for k in known if k.startswith(ahead)]
        if not middle:
            raise ConfigurationError(f"{option} {text} was given; KEY=VALUE was expected.")
        check_known(key, there, ConfigurationError, f"{option} {text} was given; there is no '{{}}'.")
        part, _, name = (ahead + key).partition(".")
        try:
            as_number = float(value)
        except ValueError:
            raise ConfigurationError(f"{option} {text} was given; a number was expected.") from None
        whole = isinstance(getattr(parts[part], name), int)
        if whole and not as_number.is_integer():
            raise ConfigurationError(f"{option} {text} was given; a whole number was expected.")
        parts[part] = dataclasses.replace(parts[part], **{name: int(as_number) if whole else as_number})
    model = dataclasses.replace(parts["model"], energy=parts["energy"])
    return dataclasses.replace(
        base, thresholds=parts["levels"], rule=parts["domain"], detection=parts["nucleus"], model=model,
        assume=parts["assume"],
    )  # fmt: skip


def column_roles(text: str | None) -> Mapping[str, str] | tuple[str, ...] | None:
    """Role -> name, or the roles in order.

    >>> column_roles("x=Pos X,y=Pos Y"), column_roles("frame,x,,y")
    ({'x': 'Pos X', 'y': 'Pos Y'}, ('frame', 'x', '', 'y'))
    """
    if text is None:
        return None
    parts = [p.strip() for p in text.split(",")]
    named = [p.partition("=") for p in parts]
    if all(middle for _, middle, _ in named):
        return {role.strip(): name.strip() for role, _, name in named}
    if any(middle for _, middle, _ in named):
        raise ConfigurationError(f"--columns {text} was given; x=NAME,y=NAME or frame,x,y was expected.")
    return tuple(parts)
