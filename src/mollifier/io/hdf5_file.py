"""HDF5 files opened so that nothing outside them is read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py

from mollifier.errors import DataError
from mollifier.io.memory import require_memory

_DEEPEST, _MOST = 50, 10_000  # groups within groups; groups and arrays


def is_hdf5(path: Path) -> bool:
    """Whether a file begins as HDF5 files do."""
    with path.open("rb") as stream:
        return stream.read(8) == b"\x89HDF\r\n\x1a\n"


@contextmanager
def open_hdf5(path: Path) -> Iterator[tuple[Any, dict[str, Any]]]:
    """An open HDF5 file, and its arrays by their path in it.

    Raises `DataError` if the file is damaged, leads to other files, is nested too deep, or holds too many
    groups, or more than the memory can.
    """
    try:
        with h5py.File(path, "r") as file:
            found = dict(_arrays(path, file))
            require_memory(sum(a.nbytes for a in found.values()), path)
            yield file, found
    except DataError:
        raise
    except Exception as error:
        # HDF5 raises many exceptions on a damaged file.
        raise DataError(f"'{path}' cannot be read as HDF5 ({error}); it may be cut short.") from error


def _arrays(path: Path, file: Any) -> Iterator[tuple[str, Any]]:
    """Name -> array, alphabetically, groups entered where they are met."""
    waiting, seen = [(name, 1, file) for name in sorted(file, reverse=True)], set()
    while waiting:
        name, depth, group = waiting.pop()
        last = name.rsplit("/", 1)[-1]
        link = group.get(last, getlink=True)
        if isinstance(link, h5py.SoftLink):  # another name of what is met elsewhere
            continue
        if isinstance(link, h5py.ExternalLink):
            raise _outside(path, name, f"a link to '{link.filename}'")
        item = group[last]
        address = h5py.h5o.get_info(item.id).addr  # pyrefly: ignore[missing-attribute]
        if address in seen:
            continue
        seen.add(address)
        if depth > _DEEPEST or len(seen) > _MOST:
            raise DataError(
                f"'{path}' has groups nested more than {_DEEPEST} deep, or more than {_MOST:,} groups and "
                "arrays. Copy what is needed into a file."
            )
        if isinstance(item, h5py.Dataset):
            if item.external or item.is_virtual:
                raise _outside(path, name, "stored in another file")
            yield name, item
        elif isinstance(item, h5py.Group):
            waiting += [(f"{name}/{n}", depth + 1, item) for n in sorted(item, reverse=True)]


def _outside(path: Path, name: str, what: str) -> DataError:
    return DataError(
        f"'{path}' cannot be read: '{name}' is {what}, and nothing outside the file is opened. Copy the data "
        "into one file, with h5repack or by h5py."
    )
