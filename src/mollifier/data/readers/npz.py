"""NumPy archives; pickled objects are never loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mollifier.data.arrays import Arrays, as_vectors
from mollifier.data.readers.registry import Reader
from mollifier.errors import DataError
from mollifier.io.memory import require_memory


def load_npz(path: Path) -> Arrays:
    """Arrays of an archive by name, (n, 1) and (1, n) as (n,); those of objects are refused by name."""
    values: dict[str, NDArray[Any]] = {}
    refused: dict[str, str] = {}
    with np.load(path, allow_pickle=False) as file:
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise DataError(
                f"'{path}' holds one bare array; an archive of named arrays (numpy.savez) was expected."
            )
        require_memory(sum(member.file_size for member in (file.zip.infolist() if file.zip else ())), path)
        for name in file.files:
            try:
                values[name] = file[name]
            except ValueError as error:
                if "pickle" not in str(error):
                    raise
                refused[name] = "it holds pickled objects, which are never loaded: save it as numbers"
    return as_vectors(Arrays(values, refused=refused))


READER = Reader((".npz",), load_npz)
