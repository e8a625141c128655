"""From files to the nuclei in them: what of a file one nucleus needs, read one file at a time."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import xarray as xr

from mollifier.chromatin.density import on_grid
from mollifier.chromatin.domains import DomainRule
from mollifier.chromatin.fractions import Thresholds
from mollifier.chromatin.images import SATURATED, read_image, read_labels
from mollifier.chromatin.localizations import SPAN, Localizations, read_localizations
from mollifier.chromatin.mask import (
    Finding,
    Nuclei,
    Nucleus,
    nuclei_from_data,
    nuclei_from_labels,
    nucleus_from_polygon,
    read_polygon,
)
from mollifier.chromatin.model import ChromatinModel
from mollifier.errors import ConfigurationError, DataError, MollifierError

_TIFF = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")


@dataclass(frozen=True)
class StudySettings:
    """All choices of an analysis; lengths in nm, times in s.

    Attributes
    ----------
    unit, pixel_size, columns, span
        Of localisation tables, as for `read_localizations`.
    channel
        Of an image, its number from 0; of a table, the value in its column of channels.
    z_step, frame_interval, axes, saturated
        Of images, as for `read_image`. ``frame_interval`` is also the time from file to file of a time-lapse
        and from frame to frame of ``windows``.
    labels, polygon, finding
        Where nuclei are: label images (one a file, or one for all), a polygon for all files, or else how they
        are found in the data.
    time_lapse
        The files are frames of one field of view, in their order; otherwise each is a field of its own.
    method, pixel, width, windows, merge
        Of the map of localisations, as for `density`.
    psf_sd
        Blur of an image; it sets the resolution that is stated.
    thresholds, levels
        How a signal is read as three phases. With levels "own" the quantiles are those of each nucleus, which
        makes all look alike; with "control" they are those of the control nuclei, each beside its own mean.
    rule, domains
        What a domain is; "clusters" of localisations or places on the "map" ("auto": clusters where there are
        localisations of one time).
    model
        Of the free energy and rates: assumed.
    over, prior, quick
        As for `infer_rate`.
    margin
        How far within the mask the map of rates begins; one resolution where absent. A mask that reaches
        beyond the nucleus spoils the map, one that is a little too small does not.
    sensitivity
        Whether the rate is found again with every parameter of the model moved by a fifth.
    groups, control
        File name -> group, and which group the others are compared with.
    """

    unit: str | None = None
    pixel_size: float | None = None
    columns: Mapping[str, str] | tuple[str, ...] | None = None
    span: tuple[float, float] = SPAN
    z_step: float | None = None
    frame_interval: float | None = None
    axes: str | None = None
    channel: int | str | None = None
    saturated: float = SATURATED
    labels: tuple[str, ...] = ()
    polygon: str | None = None
    finding: Finding = field(default_factory=Finding)
    time_lapse: bool = False
    method: Literal["kernel", "voronoi"] = "kernel"
    pixel: float | None = None
    width: float | None = None
    windows: int = 1
    merge: bool = True
    psf_sd: float | None = None
    thresholds: Thresholds = field(default_factory=Thresholds)
    levels: Literal["own", "control"] = "own"
    rule: DomainRule = field(default_factory=DomainRule)
    domains: Literal["auto", "clusters", "map"] = "auto"
    model: ChromatinModel = field(default_factory=ChromatinModel)
    over: tuple[str, ...] = ("x", "y")
    prior: str = "h2"
    quick: bool = False
    margin: float | None = None
    sensitivity: bool = False
    groups: Mapping[str, str] | None = None
    control: str | None = None

    def __post_init__(self) -> None:
        for name in ("z_step", "frame_interval", "pixel", "width"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ConfigurationError(f"{name}={value} was given; a positive number was expected.")
        if self.psf_sd is not None and not (math.isfinite(self.psf_sd) and self.psf_sd >= 0):
            raise ConfigurationError(
                f"psf_sd={self.psf_sd} was given; a number of nm, 0 or more, was expected."
            )
        if not 0 < self.saturated <= 1:
            raise ConfigurationError(
                f"saturated={self.saturated} was given; a share of the pixels above 0, up to 1, was expected."
            )
        if self.control is not None and self.groups is None:
            raise ConfigurationError(
                f"The control group '{self.control}' was given without groups; a table was expected, as "
                "--groups groups.csv."
            )


@dataclass(frozen=True, eq=False)
class Sample:
    """One nucleus and what was recorded of it.

    Attributes
    ----------
    field, name
        Of the file it is from, without suffix, and its own in it.
    group
        Empty where there are none.
    mask
        Over x and y (and t).
    frames
        Localisations around it, one a time of ``times``; empty for an image.
    image
        The whole plane, over x and y (and t); None for localisations.
    """

    field: str
    name: str
    group: str
    mask: xr.DataArray
    times: tuple[float, ...] = (0.0,)
    frames: tuple[Localizations, ...] = ()
    image: xr.DataArray | None = None


@dataclass(frozen=True)
class Unread:
    """A field of view that cannot be read, and why."""

    field: str
    group: str
    error: str


def samples(files: Sequence[str | Path], settings: StudySettings) -> Iterator[Sample | Unread]:
    """Every nucleus of every file, one file at a time in memory; a file that cannot be read stops no other.

    Raises
    ------
    ConfigurationError
        If there are no files, two have one name, or the settings contradict one another.
    """
    paths = [Path(f) for f in files]
    checked(paths, settings)
    fields = [paths] if settings.time_lapse else [[p] for p in paths]
    for k, group_of_files in enumerate(fields):
        name = field_name(group_of_files[0])
        group = (settings.groups or {}).get(group_of_files[0].name, "")
        labels = settings.labels[min(k, len(settings.labels) - 1)] if settings.labels else None
        try:
            found = list(_field(group_of_files, name, group, labels, settings))
        except (MollifierError, OSError) as error:
            yield Unread(name, group, str(error))
            continue
        yield from found


def checked(paths: Sequence[Path], settings: StudySettings) -> None:
    """Refuse what no file can mend."""
    names = [folder_name(field_name(p)) for p in paths]
    twice = sorted({n for n in names if names.count(n) > 1})
    if not names or (twice and not settings.time_lapse):
        said = f"more than one file is called {twice[0]!r}" if twice else "no file was given"
        raise ConfigurationError(f"One or more files of different names were expected; {said}.")
    if settings.time_lapse and (len(paths) < 2 or settings.frame_interval is None):
        raise ConfigurationError(
            f"A time-lapse from {len(paths)} file(s) with frame interval {settings.frame_interval} was asked "
            "for; two or more files and the time between them were expected, as --frame-interval 60. Time "
            "stamps are missing otherwise. A file that holds several frames is a time-lapse without "
            "--time-lapse."
        )
    fields = 1 if settings.time_lapse else len(paths)
    if settings.labels and len(settings.labels) not in (1, fields):
        raise ConfigurationError(
            f"{len(settings.labels)} label images were given for {fields} field(s) of view; one for all, or "
            "one for each in the same order, were expected."
        )
    if settings.labels and settings.polygon:
        raise ConfigurationError("Labels and a polygon were given; one of --labels and --mask was expected.")
    if settings.groups is not None:
        missing = [p.name for p in paths if p.name not in settings.groups]
        if missing and not settings.time_lapse:
            raise ConfigurationError(
                f"The table of groups lacks {', '.join(missing[:5])}; one row for every file was expected."
            )


def field_name(path: Path) -> str:
    """A file's name without its suffixes.

    >>> field_name(Path("a/cell_1.ome.tif")), field_name(Path("dose.5.csv.gz"))
    ('cell_1', 'dose.5')
    """
    name = path.name
    for suffix in (".gz", ".tif", ".tiff", ".ome", ".csv", ".txt", ".tsv", ".hdf5", ".h5"):
        name = name[: -len(suffix)] if name.lower().endswith(suffix) and len(name) > len(suffix) else name
    return name


def folder_name(name: str) -> str:
    """The name of a folder for a field of view or nucleus: letters, digits, dots, dashes and underscores.

    >>> folder_name("cell 1/a"), folder_name("..")
    ('cell_1_a', '_')
    """
    safe = re.sub(r"[^\w.\-]+", "_", name)
    return safe if safe.strip(".") else "_"


def is_image(path: Path) -> bool:
    """Whether a file is a TIFF, by its suffix or its first bytes."""
    named = path.suffix.lower() in (".tif", ".tiff")
    if named or not path.is_file():
        return named
    with path.open("rb") as stream:
        return stream.read(4) in _TIFF


def _field(
    paths: Sequence[Path], name: str, group: str, labels: str | None, s: StudySettings
) -> Iterator[Sample]:
    kinds = {is_image(p) for p in paths}
    if len(kinds) > 1:
        raise DataError("Images and tables were given as frames of one time-lapse; one kind was expected.")
    if kinds == {True}:
        image = _image(paths, s)
        for nucleus in _in_image(image, labels, s):
            plane = image if nucleus.plane is None else image.isel(z=nucleus.plane)
            dims = [d for d in ("x", "y", "t") if d in plane.dims]
            plane = plane.drop_vars("z", errors="ignore").transpose(*dims)
            times = tuple(plane["t"].values.tolist()) if "t" in plane.dims else (0.0,)
            yield Sample(name, nucleus.name, group, nucleus.mask, times, (), plane)
        return
    options = {
        "unit": s.unit,
        "pixel_size": s.pixel_size,
        "columns": s.columns,
        "span": s.span,
        "channel": s.channel,
    }
    tables = [read_localizations(p, **options) for p in paths]
    times = tuple(k * (s.frame_interval or 0.0) for k in range(len(tables)))
    for nucleus in _in_tables(tables, labels, s):
        near = tuple(_around(t, nucleus.mask) for t in tables)
        yield Sample(name, nucleus.name, group, nucleus.mask, times, near)


def _image(paths: Sequence[Path], s: StudySettings) -> xr.DataArray:
    lapse = len(paths) > 1
    options = {
        "pixel_size": s.pixel_size, "z_step": s.z_step, "axes": s.axes, "channel": s.channel,
        "frame_interval": None if lapse else s.frame_interval, "saturated": s.saturated,
    }  # fmt: skip
    frames = [read_image(p, **options) for p in paths]
    if not lapse:
        return frames[0]
    shapes = {(f.dims, f.shape) for f in frames}
    if len(shapes) > 1 or "t" in frames[0].dims:
        raise DataError(
            f"The files of the time-lapse hold images over {sorted(map(str, shapes))}; one frame each, all "
            "of one shape, was expected."
        )
    times = xr.Variable("t", (s.frame_interval or 0.0) * np.arange(len(frames)), {"units": "s"})
    return xr.concat(frames, times, join="override", combine_attrs="override")


def _in_image(image: xr.DataArray, labels: str | None, s: StudySettings) -> Nuclei | list[Nucleus]:
    if s.polygon is not None:
        if "z" in image.dims:
            raise DataError(
                f"The image has {image.sizes['z']} planes and a polygon lies in one; give labels (--labels), "
                "or the plane as an image of its own."
            )
        rings = read_polygon(s.polygon, unit=s.unit or "nm", pixel_size=s.pixel_size)
        return [nucleus_from_polygon(rings)]
    if labels is not None:
        like = image
        if "t" in image.dims and s.time_lapse:
            like = image.isel(t=0, drop=True)
        return nuclei_from_labels(read_labels(labels, like=like), min_area=s.finding.min_area)
    flat = image.mean([d for d in image.dims if d not in ("x", "y")])
    nuclei = nuclei_from_data(flat, s.finding)
    if "z" not in image.dims:
        return nuclei
    return [Nucleus(n.name, n.mask, _brightest(image, n.mask)) for n in nuclei]


def _brightest(image: xr.DataArray, mask: xr.DataArray) -> int:
    """The plane with most light inside the mask."""
    stack = image.mean([d for d in image.dims if d not in ("x", "y", "z")]).transpose("z", "x", "y")
    inside = on_grid(mask, image["x"].values, image["y"].values)
    return int(np.argmax(stack.values[:, inside].mean(1)))


def _in_tables(
    tables: Sequence[Localizations], labels: str | None, s: StudySettings
) -> Nuclei | list[Nucleus]:
    if s.polygon is not None:
        rings = read_polygon(s.polygon, unit=s.unit or "nm", pixel_size=s.pixel_size)
        return [nucleus_from_polygon(rings)]
    if labels is not None:
        return nuclei_from_labels(read_labels(labels, pixel_size=s.pixel_size), min_area=s.finding.min_area)
    if len(tables) == 1:
        return nuclei_from_data(tables[0], s.finding)
    x, y = (np.concatenate([getattr(t, c) for t in tables]) for c in ("x", "y"))
    return nuclei_from_data(Localizations(x, y, field=tables[0].field), s.finding)


def _around(locs: Localizations, mask: xr.DataArray) -> Localizations:
    """Localisations in the box of the mask, all that one nucleus needs."""
    box = {c: (float(mask[c].min()), float(mask[c].max())) for c in ("x", "y")}
    keep = np.ones(len(locs), dtype=bool)
    for c, (low, high) in box.items():
        half = float(mask[c][1] - mask[c][0]) / 2
        values = getattr(locs, c)
        keep &= (values >= low - half) & (values <= high + half)
    if not keep.any():
        raise DataError(
            "The mask is empty: no localisation lies in its box. Are both in one unit and from one origin?"
        )
    return locs.select(keep)
