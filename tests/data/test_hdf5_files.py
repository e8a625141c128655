"""HDF5 and files that are HDF5 inside: links, fill values, groups, and MATLAB 7.3."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from mollifier.data.read import read
from mollifier.errors import DataError
from written_data import T, U, X, check, labelled


def _hdf5(path, fill):
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        file["x"], file["t"] = np.arange(20.0), np.arange(15.0)
        fill(h5py, file)
    return path


def _external(h5py, file):
    file.create_dataset("u", shape=(20, 15), dtype="u1", external=[("/etc/hostname", 0, 300)])


def _virtual(h5py, file):
    layout = h5py.VirtualLayout((20, 15), "f8")
    layout[:] = h5py.VirtualSource("gone.h5", "s", (20, 15))
    file.create_virtual_dataset("u", layout, fillvalue=-7)


def _linked(h5py, file):
    file["u"] = h5py.ExternalLink("other.h5", "/u")


def _linked_group(h5py, file):
    file["g"] = h5py.ExternalLink("other.h5", "/")
    file["u"] = h5py.SoftLink("/g/u")


@pytest.mark.parametrize("fill", [_external, _virtual, _linked, _linked_group])
@pytest.mark.parametrize("name", ["a.h5", "a.nc"])
def test_hdf5_that_leads_out_of_its_file(tmp_path, fill, name):
    """External storage, virtual datasets and links to other files are refused, as pickles are."""
    path = _hdf5(tmp_path / name, fill)
    with pytest.raises(DataError, match="nothing outside the file is opened"):
        read(path)


def test_hdf5_nested_too_deep_or_with_too_many_groups(tmp_path):
    def nest(_, file):
        group = file
        for _ in range(5000):
            group = group.create_group("g")

    def many(_, file):
        for k in range(10_001):
            file.create_group(str(k))

    for fill in (nest, many):
        with pytest.raises(DataError, match=r"nested more than 50 deep, or more than 10,000 groups"):
            read(_hdf5(tmp_path / "a.h5", fill))


def test_hdf5_fill_values_and_packed_numbers(tmp_path):
    def fill(_, file):
        file["u"] = np.where(np.eye(20, 15) > 0, -9999, 7)
        file["u"].attrs["_FillValue"] = -9999
        file["v"] = np.full((20, 15), 300, "i2")
        file["v"].attrs.update(scale_factor=0.01, add_offset=1.0)

    found = read(_hdf5(tmp_path / "a.h5", fill)).dataset
    assert np.isnan(found["u"].values).sum() == 15
    np.testing.assert_allclose(found["v"].values, 4.0)


def test_netcdf_with_groups_only_names_the_format(tmp_path):
    xr.Dataset().to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    labelled().to_netcdf(tmp_path / "a.nc", engine="h5netcdf", mode="a", group="run")
    with pytest.raises(DataError, match="format='hdf5' reads those inside"):
        read(tmp_path / "a.nc")
    check(read(tmp_path / "a.nc", format="hdf5"))


def _mat_73(path, fill):
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w", userblock_size=512) as file:
        file["x"], file["t"] = X[None], T[:, None]
        fill(file)
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")
    return path


def test_mat_73_text_empty_and_sparse_arrays_are_left_out(tmp_path):
    """Text is an array of whole numbers there, and an empty array holds its shape."""

    def fill(file):
        file["u"], file["note"], file["none"] = U.T, np.arange(12, dtype="u2")[:, None], np.array([0, 9])
        file["note"].attrs["MATLAB_class"] = np.bytes_("char")
        file["none"].attrs["MATLAB_empty"] = 1
        sparse = file.create_group("s")
        sparse.attrs["MATLAB_sparse"] = 12
        sparse["data"], sparse["ir"] = np.arange(9.0), np.arange(9)

    path = _mat_73(tmp_path / "a.mat", fill)
    check(read(path))
    for name, why in (("note", "MATLAB's char"), ("none", "it is empty")):
        with pytest.raises(DataError, match=f"'{name}' cannot be read: .*{why}"):
            read(path, name)


@pytest.mark.parametrize("kind", ["npz", "mat", "mat 7.3", "columns"])
def test_complex_numbers_whose_imaginary_parts_are_rounding(tmp_path, kind):
    from scipy.io import savemat

    off = U * (1 + 1e-17j)
    path = tmp_path / "a"
    if kind == "mat 7.3":
        both = np.zeros(U.T.shape, [("real", "f8"), ("imag", "f8")])
        both["real"], both["imag"] = off.T.real, off.T.imag
        path = _mat_73(tmp_path / "a.mat", lambda file: file.update(u=both))
    elif kind == "mat":
        path = tmp_path / "a.mat"
        savemat(path, {"x": X, "t": T, "u": off})
    else:
        path = tmp_path / "a.npz"
        np.savez(path, **({"t": T, "u": off[3]} if kind == "columns" else {"x": X, "t": T, "u": off}))
    with pytest.warns(UserWarning, match="'u' holds complex numbers with imaginary parts of rounding alone"):
        obs = read(path)
    if kind == "columns":
        np.testing.assert_array_equal(obs.dataset["u"].values, U[3])
    else:
        check(obs)


def test_hdf5_names_of_one_array_are_read_once(tmp_path):
    def fill(h5py, file):
        file["u"] = np.ones((20, 15))
        file["group/again"] = file["u"]
        file["soft"] = h5py.SoftLink("/u")

    assert read(_hdf5(tmp_path / "a.h5", fill)).variables == ("again",)
