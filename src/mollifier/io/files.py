"""Files written whole or not at all, and refused early with a reason."""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import json
import math
import os
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr

from mollifier.errors import DataError, MollifierError, did_you_mean
from mollifier.io.hdf5_file import open_hdf5

TEMPORARY = re.compile(r"\.[0-9a-f]{32}\.tmp(\.\w+)?")  # Names of files that are being written.

_MOST_NAMES = 200  # in a folder, for the nearest one to be named
_MOST_LISTED = 10  # for all to be listed
_JSON = "json:"  # marks an attribute that netCDF cannot carry as it is
_FULL = "Free some space, or write to another disk."
_DENIED = "Choose a folder you may write to, or change its permissions."
_REMEDIES = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EFBIG: "The file is larger than this disk or account allows; write to another disk.",
    errno.EACCES: _DENIED,
    errno.EPERM: _DENIED,
    errno.EROFS: _DENIED,
    errno.ENOTDIR: "A part of the path is a file; name a folder instead.",
    errno.EEXIST: "A file of that name is in the way; name a folder instead.",
    errno.EISDIR: "A folder of that name is in the way; name a file instead.",
    errno.ENAMETOOLONG: "Use a shorter name.",
    errno.ELOOP: "It is a symbolic link, which is not followed here; remove the link.",
}


class OutputError(MollifierError):
    """A file or folder that cannot be written; ``path`` says which."""

    def __init__(self, message: str, path: str | os.PathLike[str] | None = None) -> None:
        super().__init__(message)
        self.path = None if path is None else Path(path)


@contextmanager
def reported(path: Path):
    """Turn the operating system's refusals into an `OutputError` that names the path."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)  # the same words on every system
        remedy = _REMEDIES.get(error.errno or 0, "Check that its folder exists and can be written to.")
        raise OutputError(f"Cannot write '{path}': {reason}. {remedy}", path) from error


def require_file(file: Path) -> None:
    """Refuse a path that is no file, before it is opened.

    Raises `DataError` if it is missing, with the nearest name there is; a folder; or a pipe or device, which
    can be read only once, or for ever.
    """
    try:
        file.stat()
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise DataError(f"{str(file)[:200]!a} cannot be opened: {why}.") from None
    if file.is_dir():
        raise DataError(f"'{file}' is a folder; a file was expected. Name its files, as '{file}'/*.csv.")
    if file.exists() and not file.is_file():
        raise DataError(f"'{file}' is a pipe or a device; a file was expected. Save its content to one.")
    if not file.exists():
        there = [p.name for p in file.parent.iterdir()] if file.parent.is_dir() else []
        hint = did_you_mean(file.name, there) if len(there) < _MOST_NAMES else ""
        hint = hint if len(there) < _MOST_LISTED or hint.startswith(" Did") else ""
        where = "" if file.parent.is_dir() else f" Nor is there a folder '{file.parent}'."
        raise DataError(f"There is no file '{file}'.{hint}{where}")


def require_package(path: Path, package: str, extra: str) -> None:
    """Raise `DataError` where a package that a file needs is missing; ``extra`` is ours that installs it."""
    if find_spec(package) is None:
        raise DataError(f"'{path}' needs the package {package}: pip install 'mollifier[{extra}]'.")


def ensure_folder(path: str | os.PathLike[str]) -> Path:
    """The folder, made if need be, and proved writable by writing and removing a small file.

    Call it before a run, so that a refusal costs nothing. Raises `OutputError` if the folder cannot be made
    or written to.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as parent:
    ...     folder = ensure_folder(Path(parent) / "out" / "run")
    ...     folder.is_dir(), list(folder.iterdir())
    (True, [])
    """
    folder = Path(path)
    probe = folder / f".{uuid.uuid4().hex}.tmp"
    with reported(folder):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            probe.write_bytes(b"mollifier")
        finally:
            with suppress(OSError):
                probe.unlink(missing_ok=True)
    return folder


def require_writable(path: str | os.PathLike[str]) -> Path:
    """A file's path, before its content is computed; its folder is made if need be.

    Raises `OutputError` if it is a folder, or its folder cannot be written to.
    """
    target = Path(path)
    with reported(target):
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, "")
    ensure_folder(target.parent)
    return target


def write_atomically(path: str | os.PathLike[str], writer: Callable[[Path], object]) -> Path:
    """Write a file so that readers see the old one or the whole new one, never a part.

    The folder is made if need be. Nothing is left behind on failure, an interrupt included. ``writer`` is
    called with a temporary path, of the same suffix in the same folder, where it writes the content. Raises
    `OutputError` if the disk is full, or the path cannot be written to.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = write_atomically(Path(folder) / "a.txt", lambda p: p.write_text("whole"))
    ...     path.read_text(), len(list(path.parent.iterdir()))
    ('whole', 1)
    """
    target = Path(path)
    temporary = target.parent / f".{uuid.uuid4().hex}.tmp{target.suffix}"
    with reported(target):
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            writer(temporary)
            _flush(temporary, os.O_RDWR)  # the content is on the disk before the name points to it
            os.replace(temporary, target)
            _flush_names(target.parent)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
    return target


def _flush(path: Path, flags: int) -> None:
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _flush_names(folder: Path) -> None:
    """Have a folder's names on the disk, so that a power cut brings back no older file.

    Where a folder cannot be opened or flushed (Windows, some network disks) the system decides when.
    """
    with suppress(OSError):
        _flush(folder, os.O_RDONLY)


def write_text(path: str | os.PathLike[str], text: str) -> Path:
    """Write text as UTF-8 with plain line ends, as `write_atomically` does."""
    return write_atomically(path, lambda p: p.write_bytes(text.encode("utf-8")))


def write_json(path: str | os.PathLike[str], value: Any) -> Path:
    """Write strict JSON, as `write_atomically` does: keys sorted, NaN and infinities as null."""
    text = json.dumps(jsonable(value), indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return write_text(path, text + "\n")


def write_rows(
    path: str | os.PathLike[str], rows: Sequence[Mapping[str, Any]], columns: Sequence[str]
) -> Path:
    """Write records as CSV, as `write_atomically` does; what a record lacks stays empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return write_text(path, text.getvalue())


def jsonable(value: Any) -> Any:
    """The value in JSON's own types: a result is never lost because its provenance holds an odd object.

    NaN and infinities become None; arrays, tuples and sets become lists; dates become ISO text; anything else
    becomes its ``str``.

    >>> jsonable({"n": np.int64(3), "loss": float("nan"), "shape": (2, 3), "file": Path("u.nc")})
    {'n': 3, 'loss': None, 'shape': [2, 3], 'file': 'u.nc'}
    """
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(k): jsonable(v) for k, v in value.items()}
    if isinstance(value, set | frozenset):
        return sorted((jsonable(v) for v in value), key=str)
    if isinstance(value, list | tuple):
        return [jsonable(v) for v in value]
    return value.isoformat() if isinstance(value, date) else str(value)


def write_groups(path: Path, attrs: Mapping[str, Any], groups: Mapping[str, xr.Dataset]) -> Path:
    """Write datasets by group name to one netCDF-4 file, as `write_atomically` does.

    Its SHA-256 goes to ``.sha256`` beside it; ``attrs`` are those of the file.
    """
    # In memory first: HDF5 on a full disk fails with ambiguous errors, or not at all.
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.attrs.update({k: _pack(v) for k, v in attrs.items()})
        for group, dataset in groups.items():
            plain = _map_attrs(dataset.drop_encoding(), _pack)
            _write_group(file.create_group(group, track_order=True), plain)
    content = buffer.getvalue()
    checksum = path.with_suffix(".sha256")
    with reported(path):
        checksum.unlink(missing_ok=True)  # so that an interrupt leaves no checksum rather than a wrong one
        _flush_names(path.parent)
    write_atomically(path, lambda p: p.write_bytes(content))
    write_text(checksum, f"{hashlib.sha256(content).hexdigest()}  {path.name}\n")
    return path


def _write_group(group: h5py.Group, dataset: xr.Dataset) -> None:
    """Write a dataset as netCDF-4 does: dimensions are HDF5 dimension scales.

    Through h5netcdf it took ten times as long, a third of a short solve.
    """
    variables, attrs = xr.conventions.cf_encoder(*xr.conventions.encode_dataset_coordinates(dataset))
    group.attrs.update(attrs)
    for name, v in variables.items():
        text = v.dtype.kind in "OU"
        packed = {"compression": "gzip", "shuffle": True} if v.ndim and v.size and not text else {}
        values, kind = (v.values.astype(object), h5py.string_dtype()) if text else (v.values, v.dtype)
        group.create_dataset(str(name), data=values, dtype=kind, **packed).attrs.update(v.attrs)
    for d, size in dataset.sizes.items():
        scale = str(d)
        if d not in variables:
            group.create_dataset(d, (size,), ">f4")
            scale = f"This is a netCDF dimension but not a netCDF variable.{size:10d}"
        group[d].make_scale(scale)
    for name, v in variables.items():
        for axis, d in enumerate(v.dims if name not in dataset.dims else ()):
            group[name].dims[axis].attach_scale(group[d])


def verify_checksum(path: Path) -> None:
    """Compare a file with the ``.sha256`` beside it, where there is one.

    A damaged HDF5 file can do worse than fail: an attempt to read it may never end. Raises `OSError` if they
    differ.
    """
    checksum = path.with_suffix(".sha256")
    if not checksum.is_file():
        return
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found not in checksum.read_text(encoding="utf-8", errors="replace").split():
        raise OSError(
            f"its content differs from the checksum in '{checksum.name}', which you may delete if the change "
            "was meant"
        )


def read_groups(path: Path) -> tuple[dict[str, Any], dict[str, xr.Dataset]]:
    """Read back what `write_groups` wrote: the attributes of the file, and the datasets by group name.

    Raises `OSError` if the file differs from its checksum, or is damaged (h5py and xarray also raise other
    errors then).
    """
    import h5netcdf
    from xarray.backends import H5NetCDFStore

    verify_checksum(path)
    with open_hdf5(path):  # refuses what leads out of the file
        pass

    def read(group: str | None = None) -> xr.Dataset:
        # Units such as "hours" stay numbers with a unit.
        options: dict[str, Any] = {"decode_times": False, "decode_timedelta": False}
        dataset = xr.open_dataset(H5NetCDFStore(file, group=group), **options)
        return _map_attrs(dataset.load().drop_encoding(), _unpack)

    with h5netcdf.File(path, "r", decode_vlen_strings=True) as file:
        return dict(read().attrs), {name: read(name) for name in file.groups}


def _pack(value: Any) -> Any:
    """An attribute as netCDF can hold it; anything else becomes JSON text."""
    if isinstance(value, str) and value and not value.startswith(_JSON):
        return value
    if isinstance(value, int | float | np.number) and not isinstance(value, bool):
        return value
    return _JSON + json.dumps(jsonable(value), ensure_ascii=False)


def _unpack(value: Any) -> Any:
    if isinstance(value, str) and value.startswith(_JSON):
        return json.loads(value[len(_JSON) :])
    return value


def _map_attrs(dataset: xr.Dataset, function: Callable[[Any], Any]) -> xr.Dataset:
    """A shallow copy with every attribute put through a function."""
    result = dataset.copy()
    result.attrs = {k: function(v) for k, v in dataset.attrs.items()}
    for v in result.variables.values():
        v.attrs = {k: function(w) for k, w in v.attrs.items()}
    return result
