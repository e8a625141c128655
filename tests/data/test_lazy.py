"""Data that stay in their file, and those that do not."""

import sys

import numpy as np
import pytest

from mollifier.data.lazy import loaded


def test_loaded_of_arrays_in_memory_needs_no_dask(monkeypatch: pytest.MonkeyPatch):
    """Every weak solve calls it; dask is of the extra ``cluster``."""
    monkeypatch.setitem(sys.modules, "dask", None)
    values = np.zeros(3)
    assert loaded({"u": values})["u"] is values
