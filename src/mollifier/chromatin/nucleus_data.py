"""The nuclei in files of microscopes: the mask and the data of each, read one file at a time."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import xarray as xr

from mollifier.chromatin.formats.registry import format_of
from mollifier.chromatin.images import read_image, read_labels
from mollifier.chromatin.localizations import Localizations, read_localizations
from mollifier.chromatin.mask import (
    Nuclei,
    Nucleus,
    nuclei_from_data,
    nuclei_from_labels,
    nucleus_from_polygon,
    read_polygon,
    tracked,
)
from mollifier.chromatin.rasters import at_one_time, holds, in_plane, on_grid
from mollifier.chromatin.settings import StudySettings
from mollifier.errors import ConfigurationError, DataError, MollifierError

# Left out of the names of fields of view, each once, from the end.
_SUFFIXES = (".gz", ".tif", ".tiff", ".zarr", ".ome", ".csv", ".txt", ".tsv", ".hdf5", ".h5", ".smlm")
_SUFFIXES += (".npy", ".npz", ".mat", ".json", ".nd2", ".czi", ".lif")


@dataclass(frozen=True, eq=False)
class NucleusData:
    """One nucleus and its data."""

    #: Name of the file without suffix, and name of the nucleus in it.
    field: str
    name: str
    group: str  #: Group of the file; empty without groups.
    mask: xr.DataArray  #: Over x and y in nm (and t in s).
    times: tuple[float, ...] = (0.0,)  #: Of the frames, in s.
    #: Localisations around the nucleus, one table for each time; empty for an image.
    frames: tuple[Localizations, ...] = ()
    #: The whole plane over x and y (and t), or a dataset as of `mollifier.chromatin.movies.settled`; None for
    #: localisations.
    image: xr.DataArray | xr.Dataset | None = None
    #: The same nucleus with a mark of euchromatin, where these data are of one of heterochromatin.
    euchromatin: NucleusData | None = None


@dataclass(frozen=True)
class Unread:
    """A field of view that cannot be read, with the error."""

    field: str
    group: str
    error: str


def read_nuclei(files: Sequence[str | Path], settings: StudySettings) -> Iterator[NucleusData | Unread]:
    """Every nucleus of every file, with one file at a time in memory; an unreadable file stops no other.

    Raises `ConfigurationError` if there are no files, two have one name, or the settings contradict one
    another.
    """
    paths = [Path(f) for f in files]
    checked(paths, settings)
    fields = [paths] if settings.time_lapse else [[p] for p in paths]
    for k, group_of_files in enumerate(fields):
        name = field_name(group_of_files[0])
        group = (settings.groups or {}).get(group_of_files[0].name, "")
        labels = settings.labels[min(k, len(settings.labels) - 1)] if settings.labels else None
        try:
            yield from list(_field(group_of_files, name, group, labels, settings))
        except (MollifierError, OSError) as error:
            yield Unread(name, group, str(error))


def checked(paths: Sequence[Path], settings: StudySettings) -> None:
    """Refuse settings that contradict one another or the files."""
    names = [folder_name(field_name(p)).casefold() for p in paths]  # one folder on disks that ignore case
    twice = sorted({n for n in names if names.count(n) > 1})
    if not names or (twice and not settings.time_lapse):
        said = f"more than one file is called {twice[0]!r}" if twice else "no file was given"
        raise ConfigurationError(f"One or more files of different names were expected; {said}.")
    if settings.time_lapse and (len(paths) < 2 or settings.frame_interval is None):
        step = "no time" if settings.frame_interval is None else f"{settings.frame_interval:g} s"
        raise ConfigurationError(
            f"--time-lapse (time_lapse=True) was given with {len(paths)} file(s) and {step} between them; "
            "two or more files, and the time between them as --frame-interval 60 (frame_interval=60), were "
            "expected. Time stamps are missing otherwise. One file with several frames needs no "
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
    for suffix in _SUFFIXES:
        name = name[: -len(suffix)] if name.lower().endswith(suffix) and len(name) > len(suffix) else name
    return name


def folder_name(name: str) -> str:
    """The name of a folder for a field of view or nucleus: letters, digits, dots, dashes and underscores.

    >>> folder_name("cell 1/a"), folder_name("..")
    ('cell_1_a', '_')
    """
    safe = re.sub(r"[^\w.\-]+", "_", name)
    return safe if safe.strip(".") else "_"


def _field(
    paths: Sequence[Path], name: str, group: str, labels: str | None, s: StudySettings
) -> Iterator[NucleusData]:
    kinds = {format_of(p).image is not None for p in paths}
    if len(kinds) > 1:
        raise DataError("Images and tables were given as frames of one time-lapse; one kind was expected.")
    channels = [s.channel] if s.euchromatin_channel is None else [s.channel, s.euchromatin_channel]
    if kinds == {True}:
        images = [_image(paths, s, c) for c in channels]
        nuclei = _nuclei(sum(images[1:], images[0]).assign_attrs(images[0].attrs), labels, s)
        each = [[_plane(image, n) for image in images] for n in nuclei]
    else:
        options = {"unit": s.unit, "pixel_size": s.pixel_size, "columns": s.columns, "span": s.span}
        tables = [[read_localizations(p, **options, channel=c) for p in paths] for c in channels]
        every = [t for part in tables for t in part]
        x, y = (np.concatenate([getattr(t, c) for t in every]) for c in ("x", "y"))
        pooled = every[0] if len(every) == 1 else Localizations(x, y, field=every[0].field)
        nuclei = _nuclei(pooled, labels, s)
        times = [k * (s.frame_interval or 0.0) for k in range(len(paths))]
        if s.windows > 1:
            divided = [part[0].windows(s.windows, s.frame_interval) for part in tables]
            times, tables = divided[0][0], [parts for _, parts in divided]
        at = tuple(times)
        each = [[(at, tuple(_around(t, n.mask) for t in part), None) for part in tables] for n in nuclei]
    for nucleus, marks in zip(nuclei, each, strict=True):
        first, *second = (NucleusData(name, nucleus.name, group, nucleus.mask, *mark) for mark in marks)
        yield replace(first, euchromatin=second[0] if second else None)


def _plane(image: xr.DataArray, nucleus: Nucleus) -> tuple[tuple[float, ...], tuple[()], xr.DataArray]:
    """Times of the frames, no localisations, and the plane of an image that a nucleus lies in."""
    plane = image if nucleus.plane is None else image.isel(z=nucleus.plane)
    plane = plane.drop_vars("z", errors="ignore").transpose(*(d for d in ("x", "y", "t") if d in plane.dims))
    return tuple(plane["t"].values.tolist()) if "t" in plane.dims else (0.0,), (), plane


def _image(paths: Sequence[Path], s: StudySettings, channel: int | str | None) -> xr.DataArray:
    lapse = len(paths) > 1
    options = {
        "pixel_size": s.pixel_size, "z_step": s.z_step, "axes": s.axes, "channel": channel,
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


def _nuclei(
    data: xr.DataArray | Localizations, labels: str | None, s: StudySettings
) -> Nuclei | list[Nucleus]:
    """From a polygon, labels, or the data themselves."""
    image = None if isinstance(data, Localizations) else data
    if s.polygon is not None:
        if image is not None and "z" in image.dims:
            raise DataError(
                f"The image has {image.sizes['z']} planes and a polygon lies in one; give labels (--labels), "
                "or the plane as an image."
            )
        rings = read_polygon(s.polygon, unit=s.unit or "nm", pixel_size=s.pixel_size)
        return [nucleus_from_polygon(rings)]
    if image is not None and s.follow:
        return _followed(image, labels, s)
    if labels is not None:
        like = (
            image.isel(t=0, drop=True) if image is not None and "t" in image.dims and s.time_lapse else image
        )
        found = read_labels(labels, like=like, pixel_size=s.pixel_size)
        return nuclei_from_labels(found, min_area=s.detection.min_area)
    nuclei = nuclei_from_data(data if isinstance(data, Localizations) else in_plane(data), s.detection)
    if image is None or "z" not in image.dims:
        return nuclei
    # The plane that is brightest inside the mask.
    stack = image.mean([d for d in image.dims if d not in ("x", "y", "z")]).transpose("z", "x", "y")
    inside = [on_grid(n.mask, image["x"].values, image["y"].values) for n in nuclei]
    planes = [int(np.argmax(stack.values[:, here].mean(1))) for here in inside]
    return [replace(n, plane=k) for n, k in zip(nuclei, planes, strict=True)]


def _followed(image: xr.DataArray, labels: str | None, s: StudySettings) -> Nuclei:
    """Nuclei in every frame of a time-lapse, linked by their overlap."""
    if "t" not in image.dims or "z" in image.dims:
        raise DataError(
            f"An image over {', '.join(map(str, image.dims))} was given with --follow; x, y and t were "
            "expected."
        )
    if labels is not None:
        found = read_labels(labels, like=image)
    else:
        found = image.transpose("x", "y", "t").copy(data=np.zeros([image.sizes[d] for d in "xyt"], dtype=int))
        x, y = found["x"].values, found["y"].values
        for k in range(image.sizes["t"]):
            for nucleus in nuclei_from_data(image.isel(t=k, drop=True), s.detection):
                found.values[..., k][on_grid(nucleus.mask, x, y)] = int(nucleus.name)
    return nuclei_from_labels(tracked(found), min_area=s.detection.min_area)


def _around(locs: Localizations, mask: xr.DataArray) -> Localizations:
    """The localisations in the box of the mask."""
    keep = holds(xr.ones_like(at_one_time(mask)), locs.x, locs.y)
    if not keep.any():
        raise DataError(
            "The mask is empty: no localisation lies in its box. Are both in one unit and from one origin?"
        )
    return locs.select(keep)
