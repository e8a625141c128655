"""Options of the command `mollifier chromatin` that say how nuclei are read, and the settings from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_type_hints

from mollifier.cli.options import option
from mollifier.errors import ConfigurationError, check_known

if TYPE_CHECKING:
    from mollifier.chromatin.settings import StudySettings


@dataclass(frozen=True)
class StudyOptions:
    """The options, as given."""

    labels: Annotated[
        list[Path] | None, option("Label images of nuclei: one for each file, or one for all.", "LABELS.tif")
    ] = None
    mask: Annotated[
        Path | None, option("Outline of the nucleus: GeoJSON or a table of vertices.", "POLYGON")
    ] = None
    groups: Annotated[
        Path | None, option("A table with columns file and group, and replicate.", "GROUPS.csv")
    ] = None
    control: Annotated[str | None, option("Group that the others are compared with.", "GROUP")] = None
    unit: Annotated[str | None, option("Unit of positions: nm, um or px.")] = None
    pixel_size: Annotated[float | None, option("Pixel size of the camera.", "NM")] = None
    z_step: Annotated[float | None, option("Distance between planes.", "NM")] = None
    axes: Annotated[str | None, option("Dimensions of an image, as zyx, tyx or tcyx.")] = None
    channel: Annotated[
        str | None, option("Channel of an image, from 0; of a table, the value in its column of channels.")
    ] = None
    euchromatin_channel: Annotated[
        str | None,
        option("Channel of a mark of euchromatin, beside one of heterochromatin (--channel).", "CHANNEL"),
    ] = None
    saturated: Annotated[float | None, option("Largest share of pixels that may have the highest value.")] = (
        None
    )
    columns: Annotated[
        str | None, option("x=NAME,y=NAME for a table, or frame,x,y for one without header.")
    ] = None
    frame_interval: Annotated[float | None, option("Seconds from frame to frame.", "S")] = None
    time_lapse: Annotated[bool, option("The files are frames of one field of view, in this order.")] = False
    windows: Annotated[int, option("Number of intervals of frames of one table.", min=1)] = 1
    in_time: Annotated[bool, option("Let the rate vary in time too.")] = False
    follow: Annotated[bool, option("Follow nuclei that move, turn and deform in a time-lapse of images.")] = (
        False
    )
    bleaching: Annotated[bool, option("Divide images by the decay of each nucleus's signal.")] = False
    treatment: Annotated[
        float | None, option("Time of a treatment: the rate changes once after it.", "S")
    ] = None
    pixel: Annotated[float | None, option("Pixel size of the density.", "NM")] = None
    width: Annotated[float | None, option("Full width at half maximum of the density's kernel.", "NM")] = None
    psf_sd: Annotated[float | None, option("Standard deviation of the microscope's blur.", "NM")] = None
    outline: Annotated[str, option("given, or fitted: moved to where the signal falls.")] = "given"
    margin: Annotated[
        float | None,
        option("Distance from the outline at which the map begins; by default the resolution.", "NM"),
    ] = None
    levels: Annotated[
        str | None, option("Quantiles of each nucleus (own) or of the control, or of the free energy.")
    ] = None
    domains: Annotated[
        str, option("Definition of domains: auto, clusters or map (ours), kant2024 or o-snap.")
    ] = "auto"
    overrides: Annotated[
        list[str] | None,
        option(
            "One setting, as energy.well=6 or levels.euchromatin_quantile=0.4.", "KEY=VALUE", flags="--set"
        ),
    ] = None
    assume: Annotated[
        list[str] | None,
        option(
            "Standard deviation of something assumed, as diffusion=0.1, levels=0.05 or outline=0.", "KEY=SD"
        ),
    ] = None
    quick: Annotated[bool, option("Use fewer test functions: a coarser map, sooner.")] = False
    preview: Annotated[
        bool, option("In seconds: repeats left in, a kernel of 100 nm, domains of the map, a coarser map.")
    ] = False


def study_settings(given: StudyOptions) -> StudySettings:
    """The settings that the options say; single values by ``--set`` and ``--assume`` last."""
    from mollifier.chromatin.comparison import read_groups
    from mollifier.chromatin.settings import DEFINITIONS, PREVIEW, DomainRule, StudySettings

    table = None if given.groups is None else read_groups(given.groups)
    alone = table is None or given.euchromatin_channel is not None
    levels, domains = given.levels or ("own" if alone else "control"), given.domains
    kinds = get_type_hints(StudySettings)
    choices = {
        "domains": (domains, ("auto", "clusters", "map", *DEFINITIONS)),
        "outline": (given.outline, get_args(kinds["outline"])),
        "levels": (levels, get_args(kinds["levels"])),
    }
    for name, (value, known) in choices.items():
        check_known(value, known, ConfigurationError, f"--{name} {{}} was given.")
    alike = {n: v for n, v in vars(given).items() if v is not None and n in kinds and n != "assume"}
    chosen: dict[str, Any] = alike | {
        "columns": column_roles(given.columns),
        "over": ("x", "y", "t") if given.in_time else ("x", "y"),
        "levels": levels,
        "domains": "clusters" if domains in DEFINITIONS else domains,
        "rule": DEFINITIONS.get(domains, DomainRule()),
        "labels": tuple(map(str, given.labels or ())),
        "polygon": None if given.mask is None else str(given.mask),
        "groups": None if table is None else table.groups,
        "replicates": None if table is None else table.replicates,
    }
    if given.preview:
        if domains not in ("auto", "map"):
            raise ConfigurationError(
                f"--domains {domains} was given with --preview, whose domains are those of the map; leave "
                "one of them out."
            )
        chosen |= PREVIEW | {"rule": DomainRule(), "width": given.width or PREVIEW["width"]}
    settings = StudySettings(**chosen)
    for text in given.overrides or ():
        settings = _with_value(settings, text, "--set")
    for text in given.assume or ():
        settings = _with_value(settings, text, "--assume", "assume.")
    return settings


# What keys begin with -> the setting that they are of; the energy is a part of the model.
_PARTS = {
    "levels": "thresholds",
    "domain": "rule",
    "nucleus": "detection",
    "model": "model",
    "assume": "assume",
}


def _with_value(settings: StudySettings, text: str, flag: str, ahead: str = "") -> StudySettings:
    """The settings with one number replaced, as ``levels.euchromatin_quantile=0.4``; all keys begin so."""
    parts = {p: getattr(settings, n) for p, n in _PARTS.items()} | {"energy": settings.model.energy}
    known = {
        f"{p}.{n}": v for p, part in parts.items() for n, v in vars(part).items() if not isinstance(v, str)
    }
    del known["model.energy"]
    key, middle, value = (t.strip() for t in text.partition("="))
    if not middle:
        raise ConfigurationError(f"{flag} {text} was given; KEY=VALUE was expected.")
    there = [k.removeprefix(ahead) for k in known if k.startswith(ahead)]
    check_known(key, there, ConfigurationError, f"{flag} {text} was given; there is no '{{}}'.")
    try:
        number = float(value)
    except ValueError:
        raise ConfigurationError(f"{flag} {text} was given; a number was expected.") from None
    whole = isinstance(known[ahead + key], int)
    if whole and not number.is_integer():
        raise ConfigurationError(f"{flag} {text} was given; a whole number was expected.")
    part, _, name = (ahead + key).partition(".")
    changed: Any = replace(parts[part], **{name: int(number) if whole else number})
    if part == "energy":
        part, changed = "model", replace(settings.model, energy=changed)
    return replace(settings, **{_PARTS[part]: changed})


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
