"""Files to `Observations`: NetCDF, HDF5, Zarr, GRIB, tables, NumPy, MATLAB, TIFF, and what xarray opens."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from os.path import isdir
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from mollifier.data import arrays as unlabelled
from mollifier.data import errorbars, selection, tables
from mollifier.data.building import Roles, noted
from mollifier.data.errorbars import Noise
from mollifier.data.observations import Observations
from mollifier.data.readers.engines import engine_reader
from mollifier.data.readers.registry import READERS, Reader, reader_of, suffix_of, suffixes
from mollifier.data.values import is_number, names_in_parts, real_array
from mollifier.data.wide import stacked
from mollifier.errors import DataError, check_known
from mollifier.io.arguments import typed
from mollifier.io.draws import Rng
from mollifier.io.files import require_file

_LOG = logging.getLogger(__name__)
_PICKLES = (".pkl", ".pickle", ".pt", ".pth", ".joblib")


@dataclass(frozen=True)
class Loaded:
    """The content of a file, from which `read` reads more than once.

    >>> import tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "rods.csv"
    >>> rows = [f"{rod},{x},{rod * x}" for rod in (1, 2) for x in range(5)]
    >>> _ = path.write_text("rod,x,u" + chr(10) + chr(10).join(rows))
    >>> file = Loaded.of(path)
    >>> [float(read(file, select={"rod": r}, values="u").dataset["u"].sum()) for r in (1, 2)]
    [10.0, 20.0]
    """

    content: Any

    @classmethod
    def of(
        cls, path: str | Path, format: str | None = None, chunks: Mapping[str, int] | None = None
    ) -> Loaded:
        """Load a file; errors as those of `read`."""
        file = Path(path)
        reader = _reader(file, format)
        if chunks is not None and reader.lazy is None:
            able = ", ".join(n for n, r in READERS.items() if r.lazy is not None)
            raise DataError(
                f"chunks={dict(chunks)} was given for '{file}'; files that are read in blocks: {able}. For "
                "others take Observations.from_dataset(xarray.open_dataset(file, chunks={}))."
            )
        _LOG.info("reading '%s'", file)
        with _guard(file):
            return cls(reader.load(file) if chunks is None or not reader.lazy else reader.lazy(file, chunks))

    @property
    def columns_of_names(self) -> list[str]:
        """Columns of a table that may number experiments, as those of subjects' names."""
        return tables.columns_of_names(self.content[0]) if isinstance(self.content, tuple) else []


@typed("noise", "rng")
def read(
    path: str | Path | pd.DataFrame | Loaded,
    values: str | Sequence[str] | Mapping[str, str] | None = None,
    *,
    coordinates: str | Sequence[str] | Mapping[str, float] | None = None,
    noise: Noise | str = None,
    select: Mapping[str, Any] | None = None,
    replicates: str | Sequence[str] | None = None,
    units: Mapping[str, str] | None = None,
    periodic: Mapping[str, Any] | None = None,
    rename: Mapping[str, str] | None = None,
    dims: Mapping[str, Sequence[str]] | None = None,
    wide: Mapping[str, str] | None = None,
    mask: str | None = None,
    window: Mapping[str, tuple[float | None, float | None]] | None = None,
    trusted: Mapping[str, Any] | None = None,
    mask_outliers: bool = False,
    sample: int | None = None,
    rng: Rng = 0,
    gridded: bool | None = None,
    format: str | None = None,
    chunks: Mapping[str, int] | None = None,
) -> Observations:
    """Read a file, or a table of pandas. Names in every option are those after renaming.

    Parameters
    ----------
    path
        Of a format that `mollifier.data.readers.registry.READERS` holds. Pickles are never loaded.
        Or a table of pandas, with one row for each sample, or a file that is loaded already.
    values
        Variables to keep, all by default; a mapping ``{"u": "usol"}`` also renames ``usol``.
    coordinates
        Names, where they are not clear from the file; their order decides between dimensions of equal length.
        Or dimension -> step from each sample to the next, as ``{"x": 0.65, "t": 60}``, for arrays and images
        without coordinate values or with wrong ones.
    noise, units, periodic
        As for `Observations`; noise may name a variable or column of standard errors.
    select
        Dimension, coordinate or column -> value, or list of values, to keep.
    replicates
        Dimensions or columns that count repeats of the same field; ``replicate`` by default.
    rename
        Name in the file -> name requested.
    dims
        Array -> names of its dimensions, for files of unlabelled arrays.
    wide
        Of a table with one column for each well, sensor or depth: ``{"u": "well"}`` makes them values of u
        along a coordinate ``well`` of their headers. ``select={"well": [...]}`` keeps some.
    mask
        A variable that is zero (or false, or missing) where values are to be left out.
    window
        Coordinate -> (lower, upper).
    trusted
        Coordinate -> value where the samples are taken as measured: `Observations.trust`,
        before the random sample.
    mask_outliers
        Whether fill values, dead sensors and isolated values are left out: `Observations.mask_outliers`.
    sample, rng
        Keep this many random points, as scattered observations; ``rng`` is a seed or a generator.
    gridded
        Overrules the choice between a grid and scattered points for a table.
    format
        Name or suffix of the format, where the file's own suffix misleads; or an engine of `xarray`.
    chunks
        Values along each dimension that are read at a time, ``{}`` for those of the file: the data then stay
        there, and engine "weak" reads them in blocks. By default so where they would take more than a quarter
        of the machine's memory.

    Raises
    ------
    DataError
        If the file is missing, unreadable, of unknown kind, or holds nothing that can serve.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "rod.csv"
    >>> rows = [f"{x},{t},{x * t}" for x in range(5) for t in range(4)]
    >>> _ = path.write_text("x [m],t [s],T [K]" + chr(10) + chr(10).join(rows))
    >>> obs = read(path, rename={"T": "u"}, noise=0.01)
    >>> obs.grid().shape, obs.units
    ((5, 4), {'u': 'K', 'x': 'm', 't': 's'})
    >>> read(pd.read_csv(path), "T").grid().shape
    (5, 4)
    """
    content = _content(path, format, chunks)
    names: dict[Any, str] = dict(rename or {})
    if isinstance(values, Mapping):
        names.update({old: str(new) for new, old in values.items() if old != new})
    requested = _listed(tuple(values) if isinstance(values, Mapping) else values)
    steps = coordinates if isinstance(coordinates, Mapping) else {}
    axes, repeats = None if isinstance(coordinates, Mapping) else _listed(coordinates), _listed(replicates)
    noise = _noise_of(noise, requested)
    errors = [v for v in noise.values() if isinstance(v, str)] if isinstance(noise, Mapping) else []
    content, names, parts = unlabelled.in_parts(content, names)
    requested, dims, units = (names_in_parts(n, parts) for n in (requested, dims, units))
    roles = Roles(requested, axes, repeats, [*errors, *([mask] if mask else [])])
    content, found = _named(content, names, roles, dims)
    if wide is not None:
        content, found, roles = _stacked(content, found, wide, roles)
    content, roles = _chosen(content, roles, select or {}, gridded)
    content = _stepped(content, steps)
    content = content if mask is None else _masked(content, mask, errors)
    for name in found.keys() & content.variables.keys():
        content[name].attrs.setdefault("units", found[name])
    obs = Observations.from_dataset(
        content,
        names_in_parts(noise, parts),
        variables=requested,
        coordinates=roles.coordinates,
        replicates=roles.replicates,
        units=units,
        periodic=periodic,
    )
    obs = obs.window(**window) if window else obs
    obs = obs.trust(**trusted) if trusted else obs
    obs = obs.mask_outliers() if mask_outliers else obs
    return obs if sample is None else obs.thin(sample, rng)


def _content(
    source: str | Path | pd.DataFrame | Loaded, format: str | None, chunks: Mapping[str, int] | None
) -> Any:
    """What was loaded, or is in memory: a copy of it."""
    if isinstance(source, pd.DataFrame):
        return tables.of_frame(source)
    return (
        deepcopy(source.content) if isinstance(source, Loaded) else Loaded.of(source, format, chunks).content
    )


def _noise_of(noise: Noise | str, requested: list[str] | None) -> Noise:
    """The noise with percentages as fractions; a name is that of the one variable's standard errors."""
    noise = _fraction(noise)
    if not isinstance(noise, str):
        return noise
    if requested is None or len(requested) != 1:
        raise DataError(
            f"noise='{noise}' names one variable; say whose error it is, as noise={{'u': '{noise}'}}."
        )
    return {requested[0]: noise}


def _fraction(noise: Any) -> Any:
    """A text such as "2 %" as 0.02, in mappings too.

    >>> _fraction({"u": "2%", "v": {"fraction": "0.5 %"}, "w": "error"})
    {'u': 0.02, 'v': {'fraction': 0.005}, 'w': 'error'}
    """
    if isinstance(noise, Mapping):
        return {k: _fraction(v) for k, v in noise.items()}
    found = re.fullmatch(r"\s*([\d.]+)\s*%\s*", noise) if isinstance(noise, str) else None
    return float(found[1]) / 100 if found else noise


def _named(
    content: Any, names: dict[Any, str], roles: Roles, dims: Mapping[str, Sequence[str]] | None
) -> tuple[Any, dict[str, str]]:
    """What was loaded, renamed: a table, or a dataset with named dimensions; and the units of a table."""
    found: dict[str, str] = {}
    if isinstance(content, unlabelled.Arrays):
        content = unlabelled.rename(content, names)
        unlabelled.refuse_objects(content, roles.variables)
        table = None if dims or content.dims else unlabelled.columns(content, roles.coordinates)
        if table is not None:
            plain = {n: real_array(n, c) if c.dtype.kind == "c" else c for n, c in table.items()}
            found, content = content.units, pd.DataFrame(plain)
        else:
            content = unlabelled.assemble(content, roles, dims)
    elif isinstance(content, tuple):
        content, found = content[0], {str(names.get(n, n)): u for n, u in content[1].items()}
        unlabelled.check_rename(names, content.columns)
        content = content.rename(columns=names)
    else:
        content = selection.rename(content, names)
    return content, found


def _masked(content: xr.Dataset, mask: str, errors: Sequence[str]) -> xr.Dataset:
    """Without measured values (no ``errors`` or error bars) where a variable is zero or missing."""
    check_known(mask, map(str, content.variables), DataError, "Mask '{}' is not in the data.")
    keep = content[mask].fillna(0) != 0
    content = content.drop_vars(mask)
    measured = set(map(str, content.data_vars)) - {*errors} - errorbars.linked(content)
    return selection.mask(content, sorted(measured), keep)


def _stacked(
    content: Any, units: dict[str, str], wide: Mapping[str, str], roles: Roles
) -> tuple[pd.DataFrame, dict[str, str], Roles]:
    """A wide table with one row for each sample, its units, and the roles with its new coordinate."""
    if not isinstance(content, pd.DataFrame):
        raise DataError(f"wide={dict(wide)} was given for data that are no table; dims names dimensions.")
    over = next(iter(wide.values()), "")
    axes = [c for c in roles.coordinates or tables.axes_of([str(c) for c in content]) if c != over]
    rows, units = stacked(content, units, wide, [*axes, *(roles.replicates or ()), *roles.errors])
    return rows, units, replace(roles, coordinates=roles.coordinates or [over, *axes])


def _chosen(
    content: Any, roles: Roles, select: Mapping[str, Any], gridded: bool | None
) -> tuple[xr.Dataset, Roles]:
    """The selected rows or slices as a dataset, and the roles with what is settled by them."""
    axes, repeats = roles.coordinates, roles.replicates
    if isinstance(content, pd.DataFrame):
        content = tables.select_rows(content, select)
        axes = None if axes is None else [c for c in axes if c in content or c not in select]
        content, axes, repeats = tables.tabulate(content, replace(roles, coordinates=axes), gridded)
        content = noted(content, "selected", *(f"{k} = {v}" for k, v in select.items()))
        return content, replace(roles, coordinates=axes, replicates=repeats)
    for name, value in select.items():
        content = selection.pick(content, (), name in content.dims, name, value)
        axes = None if axes is None else [c for c in axes if c != name or c in content.coords]
        repeats = None if repeats is None else [r for r in repeats if r in content.dims]
    return content, replace(roles, coordinates=axes, replicates=repeats)


def _stepped(content: xr.Dataset, steps: Mapping[str, float]) -> xr.Dataset:
    """With coordinate values at even steps from zero along some dimensions."""
    for name, step in steps.items():
        text = "coordinates gives a step along '{}', no dimension of the data."
        check_known(name, map(str, content.dims), DataError, text)
        if not (is_number(step) and step > 0):
            raise DataError(
                f"coordinates gives {step!r} as the step along '{name}'; a positive number was expected."
            )
        content = content.assign_coords({name: step * np.arange(content.sizes[name])})
    return content


def _listed(names: str | Sequence[str] | None) -> list[str] | None:
    """Names as a list, each once."""
    listed = [names] if isinstance(names, str) else list(names or ())
    twice = [n for n in listed if listed.count(n) > 1]
    if twice:
        raise DataError(f"'{twice[0]}' is named twice in {listed}; once was expected.")
    return None if names is None else listed


def _reader(file: Path, format: str | None) -> Reader:
    """What reads the file, by the format given or its suffix; checked before it is opened."""
    reader = None if format is None else engine_reader(file, format)
    suffix = Path(file.name.lower().removesuffix(".gz")).suffix
    suffix = suffix if format is None or reader else suffix_of(format)
    if not isdir(file):
        require_file(file)
    if suffix in _PICKLES:
        raise DataError(
            f"'{file}' is a pickle, which can run code when loaded and is never read; save arrays with "
            "numpy.savez or xarray.Dataset.to_netcdf."
        )
    reader = reader or reader_of(suffix)
    if isdir(file) and not (reader and reader.folder):
        stores = [s for r in READERS.values() if r.folder for s in r.suffixes]
        raise DataError(
            f"'{file}' is a folder; one file was expected (a folder can only be {', '.join(stores)})."
        )
    reader = reader or engine_reader(file)
    if reader is None:
        raise DataError(
            f"'{file}' has the suffix '{suffix}'; one of {', '.join(suffixes())} was expected, or a file "
            "that an engine of xarray opens. Give format='csv' (or another) where the name misleads; export "
            "a spreadsheet or another table as CSV, and save arrays with numpy.savez."
        )
    return reader


@contextmanager
def _guard(file: Path) -> Iterator[None]:
    """Whatever a library raises on a bad file, as one error that says which file."""
    try:
        yield
    except DataError:
        raise
    except pd.errors.EmptyDataError as error:
        raise DataError(f"'{file}' is empty; a header and one row a sample were expected.") from error
    except PermissionError as error:
        raise DataError(f"'{file}' may not be read: {error.strerror}.") from error
    except Exception as error:
        # The readers of five libraries fail in as many ways on a truncated or mislabelled file.
        text = str(error).strip().splitlines()
        why = text[0] if text else type(error).__name__
        raise DataError(
            f"'{file}' cannot be read as {file.suffix or 'a data file'} ({type(error).__name__}: {why}). It "
            "may be damaged, cut short or of another kind; format='...' reads it as another kind."
        ) from error
