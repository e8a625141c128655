"""HDF5 files opened so that nothing outside them is read."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mollifier.errors import DataError

_DEEPEST = 50  # groups within groups
_OUTSIDE = (
    "'{path}' cannot be read: '{name}' is {what}, and nothing outside the file is opened. Copy the data into "
    "one file, with h5repack or by h5py."
)


def is_hdf5(path: Path) -> bool:
    """Whether a file begins as HDF5 files do."""
    with path.open("rb") as stream:
        return stream.read(8) == b"\x89HDF\r\n\x1a\n"


def open_hdf5(path: Path) -> Any:
    """An open HDF5 file; `DataError` if h5py is missing, it leads to other files, or is nested too deep."""
    if find_spec("h5py") is None:
        raise DataError(f"'{path}' is an HDF5 file and needs the package h5py: pip install h5py.")
    file = import_module("h5py").File(path, "r")
    try:
        for name, data in datasets(file):
            if data.external or data.is_virtual:
                raise DataError(_OUTSIDE.format(path=path, name=name, what="stored in another file"))
    except BaseException:
        file.close()
        raise
    return file


def datasets(file: Any) -> Iterator[tuple[str, Any]]:
    """Path in the file -> array, alphabetically, groups entered where they are met; raises as `open_hdf5`."""
    h5py = import_module("h5py")
    waiting, seen = [(name, 1, file) for name in sorted(file, reverse=True)], set()
    while waiting:
        path, depth, group = waiting.pop()
        name = path.rsplit("/", 1)[-1]
        link = group.get(name, getlink=True)
        if isinstance(link, h5py.ExternalLink):
            raise DataError(
                _OUTSIDE.format(path=file.filename, name=path, what=f"a link to '{link.filename}'")
            )
        if isinstance(link, h5py.SoftLink):  # another name of what is met elsewhere
            continue
        item = group[name]
        address = h5py.h5o.get_info(item.id).addr
        if address in seen:
            continue
        seen.add(address)
        if isinstance(item, h5py.Dataset):
            yield path, item
        elif isinstance(item, h5py.Group):
            if depth >= _DEEPEST:
                raise DataError(f"'{file.filename}' has groups nested more than {_DEEPEST} deep.")
            waiting += [(f"{path}/{n}", depth + 1, item) for n in sorted(item, reverse=True)]
