"""Localisations of single molecules: positions in nm, read from tables and checked."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from mollifier.chromatin.columns import LENGTHS, Columns, read_columns
from mollifier.chromatin.ranges import nanometres
from mollifier.data.lengths import known_unit
from mollifier.errors import DataError
from mollifier.mollify.arrays import Array, Index, Mask

# Plausible sides of a field of view in nm: from a cropped domain to a whole slide.
SPAN = (1_000.0, 1_000_000.0)
_CROWDED = 0.1  # Implausible mean density of molecules per nm^2.
# Largest ratio of the sides of a field, and largest plausible median precision in nm.
_ASPECT, _PRECISION = 100.0, 500.0
# Least plausible depth in nm.
_THIN = 10.0
_ENOUGH = 20
_HELD = 0.99  # Share of the localisations that the camera's field of the metadata must hold.


@dataclass(frozen=True, eq=False)
class Localizations:
    """Single-molecule localisations.

    Raises `DataError` if shapes differ, there are no localisations, positions are not finite, or counts are
    negative.

    >>> locs = Localizations([0.0, 500.0, 1500.0], [0.0, 250.0, 900.0])
    >>> len(locs), locs.bounds, len(locs.window(x=(0, 600)))
    (3, (0.0, 1500.0, 0.0, 900.0), 2)
    """

    #: Positions in nm, shape (n,).
    x: Array
    y: Array
    frame: Index | None = None  #: Camera frame of each, integers, shape (n,); None if unknown.
    precision: Array | None = None  #: Standard error of x and of y in nm, shape (n,); NaN where unknown.
    photons: Array | None = None  #: Detected photons, shape (n,), none negative.
    #: (x0, x1, y0, y1) of the field of view in nm; by default the bounding box of the positions.
    field: tuple[float, float, float, float] | None = None
    #: Source, format, unit and columns.
    provenance: Mapping[str, str] = dataclasses.field(default_factory=dict)
    #: Positions along the optical axis in nm, shape (n,), NaN where unknown; maps do not use them. None for a
    #: table in two dimensions.
    z: Array | None = None
    #: Number of the trace, in which MINFLUX localises one molecule many times, integers, shape (n,).
    trace: Index | None = None

    def __post_init__(self) -> None:
        for name in ("x", "y", "z", "precision", "photons"):
            if (given := getattr(self, name)) is not None:
                object.__setattr__(self, name, _column(name, given, len(np.atleast_1d(self.x))))
        if self.x.size == 0:
            raise DataError("There are no localisations (0 rows); at least one was expected.")
        for name in ("x", "y"):
            _refuse(~np.isfinite(getattr(self, name)), f"{name} is no finite number", "drop those rows")
        for what, counted in {"photon count": self.photons, "precision": self.precision}.items():
            if counted is not None:
                _refuse(counted < 0, f"the {what} is negative", "filter those rows out")
        for name in ("frame", "trace"):
            if (given := getattr(self, name)) is not None:
                number = _column(name, given, self.x.size)
                _refuse(
                    ~np.isfinite(number) | (number != np.floor(number)) | (number < 0),
                    f"the {name} is no whole number from 0 on",
                    f"columns may be swapped: name them, as --columns {name}=NAME "
                    f"(columns={{'{name}': 'NAME'}})",
                )
                object.__setattr__(self, name, number.astype(np.int64))

    def __len__(self) -> int:
        return self.x.size

    def __repr__(self) -> str:
        x0, x1, y0, y1 = self.bounds
        frames = "" if self.frame is None else f", {np.unique(self.frame).size:,} frames"
        depth = f", z {self.depth}" if self.depth else ""
        size = f"{(x1 - x0) / 1e3:.4g} x {(y1 - y0) / 1e3:.4g} um"
        return f"Localizations({len(self):,} over {size}{frames}{depth})"

    @property
    def depth(self) -> str:
        """The range of z, as "-310 to 290 nm"; empty for a table in two dimensions."""
        return "" if self.z is None else f"{np.nanmin(self.z):,.0f} to {np.nanmax(self.z):,.0f} nm"

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """(x0, x1, y0, y1) of the field of view, in nm."""
        if self.field is not None:
            return self.field
        return float(self.x.min()), float(self.x.max()), float(self.y.min()), float(self.y.max())

    def select(self, rows: ArrayLike) -> Self:
        """The chosen rows (a mask or indices), of the same field of view; `DataError` if none is left."""
        parts = {n: a[rows] for n in _COLUMNS if (a := getattr(self, n)) is not None}
        return replace(self, field=self.bounds, **parts)

    def window(
        self, x: tuple[float, float] | None = None, y: tuple[float, float] | None = None
    ) -> Localizations:
        """The localisations in a rectangle, in nm, which becomes the field of view."""
        x0, x1, y0, y1 = self.bounds
        (x0, x1), (y0, y1) = x or (x0, x1), y or (y0, y1)
        inside = (self.x >= x0) & (self.x <= x1) & (self.y >= y0) & (self.y <= y1)
        return replace(self.select(inside), field=(x0, x1, y0, y1))

    def windows(self, count: int, interval: float | None) -> tuple[list[float], list[Self]]:
        """Middle times in s and the localisations of even intervals of frames.

        ``interval`` is the time in s from frame to frame. Raises `DataError` if it or the frames are not
        known, or there are fewer frames than intervals.
        """
        if self.frame is None or interval is None:
            lacking = "frames are not known" if self.frame is None else "the time between frames is not given"
            raise DataError(
                f"windows={count} was given and time stamps are missing: {lacking}. Set --columns frame=NAME "
                "and --frame-interval SECONDS."
            )
        first, last = int(self.frame.min()), int(self.frame.max()) + 1
        if not 1 <= count <= last - first:
            raise DataError(
                f"windows={count} was given for {last - first} frames; a number from 1 to that was expected."
            )
        edges = np.linspace(first, last, count + 1)
        which = np.clip(np.searchsorted(edges, self.frame, "right") - 1, 0, count - 1)
        middle = interval * (edges[1:] + edges[:-1]) / 2
        return middle.tolist(), [self.select(which == k) for k in range(count)]

    def save(self, path: str | Path) -> Path:
        """Write a ThunderSTORM CSV in nm; a name that ends in ``.gz`` is compressed."""
        names = {"frame": "frame", "x": "x [nm]", "y": "y [nm]", "z": "z [nm]", "trace": "trace"}
        names |= {"photons": "intensity [photon]", "precision": "uncertainty_xy [nm]"}
        table = pd.DataFrame({h: a for n, h in names.items() if (a := getattr(self, n)) is not None})
        table.to_csv(path, index=False)
        return Path(path)


_COLUMNS = ("x", "y", "z", "trace", "frame", "precision", "photons")


def _column(name: str, given: ArrayLike, size: int) -> Array:
    array = np.asarray(given)
    if array.dtype.kind not in "fiu" or array.shape != (size,):
        raise DataError(
            f"{name} has shape {array.shape} and dtype {array.dtype}; numbers of shape ({size},) were "
            "expected."
        )
    return array.astype(np.float64, copy=False)


def _refuse(bad: Mask, what: str, fix: str) -> None:
    if bad.any():
        first = int(np.argmax(bad)) + 1
        raise DataError(f"In {int(bad.sum()):,} of {bad.size:,} rows {what}, first in row {first}; {fix}.")


def read_localizations(
    path: str | Path,
    *,
    unit: str | None = None,
    pixel_size: float | None = None,
    columns: Mapping[str, str] | Sequence[str] | None = None,
    span: tuple[float, float] = SPAN,
    channel: int | str | None = None,
) -> Localizations:
    """Read a table of localisations: text (also gzipped), Picasso HDF5, SMLM, or a file of arrays.

    Parameters
    ----------
    path
        ThunderSTORM or Picasso CSV, any CSV or text with named columns, two bare columns x and y, Picasso
        HDF5 (whose YAML file, or embedded metadata, gives the pixel size). Known by content, not by suffix.
    unit
        "nm", "um" or "px" of x, y and the precision; by default from the header, else px for Picasso and nm
        for others.
    pixel_size
        Size of a camera pixel in nm, for positions in pixels.
    columns
        Role (x, y, z, frame, trace, precision, precision_x, precision_y, photons, channel) -> name of the
        column; or the roles in order for a file without a header.
    span
        Smallest and largest plausible side of the field of view, in nm.
    channel
        Value in the column of channels whose rows are kept; needed where a table holds several.

    Raises
    ------
    DataError
        If the file cannot be read, a unit or column is missing, or the values are not plausible: wrong
        units, swapped columns, negative counts, one frame, no rows. The message names the fix.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "cell.csv"
    >>> rows = ["frame,x [um],y [um]", "1,0.5,1.0", "2,3.5,2.0", "2,2.5,4.0"]
    >>> _ = path.write_text(chr(10).join(rows))
    >>> read_localizations(path)
    Localizations(3 over 3 x 3 um, 2 frames)
    """
    file = Path(path)
    found = read_columns(file, columns, channel)
    scale, units = _scales(file, found, unit, pixel_size)
    values: dict[str, Any] = {
        role: a * scale[role] if role in scale else a for role, a in found.values.items()
    }
    sides = [values.pop(r) for r in ("precision_x", "precision_y") if r in values]
    precision = values.get("precision")
    if precision is None and sides:
        precision = np.sqrt(np.mean(np.square(sides), axis=0))
    if precision is not None:
        # Failed fits report an infinite or zero precision; the position may still be good.
        known = np.isfinite(precision) & (precision != 0)
        precision = np.where(known, precision, np.nan) if known.any() else None
    z = values.get("z")
    if z is not None:
        # Programs write one value, mostly 0, for tables in two dimensions.
        known = np.isfinite(z)
        z = np.where(known, z, np.nan) if known.any() and np.ptp(z[known]) > 0 else None
    camera = None
    if found.rows.field_px is not None and units == "px":
        camera = (0.0, found.rows.field_px[0] * scale["x"], 0.0, found.rows.field_px[1] * scale["y"])
        held = [(values[c] >= 0) & (values[c] <= camera[k]) for c, k in (("x", 1), ("y", 3))]
        # Metadata of another file do not describe the field.
        camera = camera if np.mean(held[0] & held[1]) > _HELD else None
    used = ", ".join(f"{r}={n!r}" for r, n in found.names.items())
    provenance = {"source": file.name, "format": found.rows.kind, "unit": units, "columns": used}
    try:
        locs = Localizations(
            values["x"], values["y"], values.get("frame"), precision, values.get("photons"), camera,
            provenance, z, values.get("trace"),
        )  # fmt: skip
        _plausible(locs, units, span)
    except DataError as error:
        raise DataError(f"'{file}': {error}") from error
    return locs


def _scales(
    file: Path, found: Columns, unit: str | None, pixel_size: float | None
) -> tuple[dict[str, float], str]:
    """Nanometres in a unit of each column of lengths, and the unit of x."""
    stated = found.units.get("x")
    if found.units.get("y", stated) != stated:
        raise DataError(f"'{file}' has x in {stated} and y in {found.units.get('y')}; one unit was expected.")
    given = None if unit is None else known_unit(unit) or unit
    strange = [u for role in LENGTHS if (u := found.units.get(role)) and known_unit(u) is None]
    if strange and given is None:
        raise DataError(
            f"'{file}' says {strange[0]!r} in its header, which is no known unit; nm, um or px was expected. "
            "Give the unit, as --unit nm."
        )
    if stated and given and stated != given and stated not in strange:
        raise DataError(
            f"'{file}' says {stated} in its header and --unit {unit} was given; leave out --unit, or correct "
            "the header if that is wrong."
        )
    if pixel_size is not None and not (given or stated) and found.rows.unit != "px":
        raise DataError(
            f"'{file}' states no unit, and a pixel size of {pixel_size:g} nm was given, which positions in "
            "nm do not need. Add --unit px (unit='px') if they are in pixels, or else --unit nm."
        )
    units = given or stated or found.rows.unit
    size = pixel_size if pixel_size is not None else found.rows.pixel_size
    own = {role: u for role, u in found.units.items() if u not in strange}
    return {
        role: nanometres(own.get(role, units), size, f"The values of {role} in '{file}'")
        for role in LENGTHS
        if role in found.values
    }, units


def _plausible(locs: Localizations, unit: str, span: tuple[float, float]) -> None:
    """Refuse implausible values: wrong units, swapped columns, one frame."""
    if locs.frame is not None and len(locs) > 1 and np.ptp(locs.frame) == 0:
        raise DataError(
            f"All {len(locs):,} localisations are in one frame ({locs.frame[0]}); molecules that blink over "
            "many frames were expected. Is this one image's table, or another column than the frame?"
        )
    if len(locs) < _ENOUGH:
        return
    for name in ("x", "y"):
        values = getattr(locs, name)
        if _counts(values) and not (locs.frame is not None and _counts(locs.frame)):
            raise DataError(
                f"Column {name} counts up in whole numbers as a frame or row number does; columns may be "
                "swapped. Name them, as --columns x=NAME,y=NAME."
            )
    sides = np.array([np.ptp(locs.x), np.ptp(locs.y)])
    if sides.max() > _ASPECT * sides.min():
        raise DataError(
            f"The positions span {sides[0]:,.6g} x {sides[1]:,.6g} nm: one of the columns is no position. "
            "Name the columns, as --columns x=NAME,y=NAME."
        )
    crowded = len(locs) / float(np.prod(sides)) > _CROWDED
    if not span[0] <= sides.max() <= span[1] or crowded:
        why = f", {len(locs) / float(np.prod(sides)):.3g} to the nm^2" if crowded else ""
        raise DataError(
            f"The positions, read in {unit}, span {sides[0]:,.6g} x {sides[1]:,.6g} nm{why}; a field of "
            f"{span[0] / 1e3:g} to {span[1] / 1e3:g} um was expected. Give the unit (--unit nm, um or px, "
            "with --pixel-size for px), or the plausible span if the field is right."
        )
    depth = _THIN if locs.z is None else float(np.nanmax(locs.z) - np.nanmin(locs.z))
    if not _THIN <= depth <= max(sides.max(), _THIN):
        raise DataError(
            f"Column z spans {depth:,.4g} nm in a field of {sides.max():,.6g} nm: its unit is another than "
            "that of x. State it in the header, as 'z [nm]'."
        )
    blur = 0.0 if locs.precision is None else float(np.nanmedian(locs.precision))
    if blur > _PRECISION:
        raise DataError(
            f"The median precision is {blur:,.4g} nm, more than diffraction blurs; the column may hold "
            "photons, or be in another unit. Name the right one, as --columns precision=NAME."
        )


def _counts(values: Array | Index) -> bool:
    """Whether values are integers that never decrease, as frame and row numbers."""
    return bool((np.diff(values) >= 0).all() and (values == np.floor(values)).all())
