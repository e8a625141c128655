"""MATLAB files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.io import loadmat
from scipy.io.matlab import matfile_version

from mollifier.data.arrays import Arrays, as_vectors
from mollifier.data.readers.hdf5 import load_arrays
from mollifier.data.readers.registry import Reader


def load_mat(path: Path) -> Arrays:
    """Arrays of a file of version 5, by SciPy, or 7.3, which is HDF5 with the axes in reverse order."""
    if matfile_version(str(path))[0] == 2:
        found = load_arrays(path)
        return as_vectors(Arrays({n: a.T for n, a in found.values.items()}, refused=found.refused))
    content = {n: a for n, a in loadmat(str(path)).items() if not n.startswith("__")}
    plain = {n: a for n, a in content.items() if isinstance(a, np.ndarray) and a.dtype.kind in "fiubcU"}
    refused = {n: "it is a cell, struct or object" for n in content if n not in plain}
    return as_vectors(Arrays(plain, refused=refused))


READER = Reader((".mat",), load_mat)
