"""Files that xarray opens by the engine of another package."""

from functools import partial

import numpy as np
import pytest
import xarray as xr

from mollifier.data.read import read
from mollifier.data.readers import engines
from mollifier.errors import DataError


class Numbers(xr.backends.BackendEntrypoint):
    """Numbers in a row, in files that end in ``.row``."""

    def open_dataset(self, filename_or_obj, *, drop_variables=None, **options):
        with open(filename_or_obj) as stream:
            return xr.Dataset({"u": ("x", np.array(stream.read().split(), float))}, {"x": np.arange(3.0)})

    def guess_can_open(self, filename_or_obj):
        return str(filename_or_obj).endswith(".row")


@pytest.fixture
def rows(monkeypatch):
    found = {**xr.backends.list_engines(), "numbers": Numbers()}
    monkeypatch.setattr(engines, "list_engines", lambda: found)
    opened = partial(xr.open_dataset, engine=Numbers)
    monkeypatch.setattr(engines.xr, "open_dataset", lambda path, engine, **others: opened(path, **others))


@pytest.mark.parametrize(("name", "options"), [("a.row", {}), ("a.dat", {"format": "numbers"})])
def test_engine_by_file_or_by_name(rows, tmp_path, name, options):
    """An installed engine that takes a file reads it, or the one that is named."""
    (tmp_path / name).write_text("1 2 4")
    assert read(tmp_path / name, **options).dataset["u"].values.tolist() == [1, 2, 4]


def test_engines_with_readers_of_their_own_are_not_taken(tmp_path):
    """So that nothing passes by what a reader refuses."""
    xr.Dataset({"u": ("x", [1.0, 2.0])}, {"x": [0.0, 1.0]}).to_netcdf(tmp_path / "a.dat", engine="h5netcdf")
    with pytest.raises(DataError, match=r"suffix '\.dat'"):
        read(tmp_path / "a.dat")
    assert engines.engine_reader(tmp_path / "a.dat", "h5netcdf") is None


def test_grib_without_its_package(tmp_path, monkeypatch):
    """The extra that installs it is named."""
    monkeypatch.setattr("mollifier.io.files.find_spec", lambda name: None)
    (tmp_path / "a.grib2").write_bytes(b"GRIB")
    with pytest.raises(DataError, match=r"needs the package cfgrib: pip install 'mollifier\[grib\]'"):
        read(tmp_path / "a.grib2")


def test_grib(tmp_path):
    """Four forecasts of a temperature, with latitudes from north to south."""
    pytest.importorskip("cfgrib", reason="GRIB needs cfgrib", exc_type=ImportError)
    codes = pytest.importorskip("eccodes", reason="GRIB needs ecCodes", exc_type=ImportError)
    grid = dict(
        Ni=8, Nj=6, iDirectionIncrementInDegrees=1, jDirectionIncrementInDegrees=1, dataDate=20200101,
        latitudeOfFirstGridPointInDegrees=50, latitudeOfLastGridPointInDegrees=45,
        longitudeOfFirstGridPointInDegrees=0, longitudeOfLastGridPointInDegrees=7, shortName="2t",
    )  # fmt: skip
    values = 280 + np.random.default_rng(0).random((4, 6, 8))
    with open(tmp_path / "a.grib2", "wb") as stream:
        for k in range(4):
            message = codes.codes_grib_new_from_samples("regular_ll_sfc_grib2")
            for key, value in {**grid, "dataTime": 600 * k, "bitsPerValue": 24}.items():
                codes.codes_set(message, key, value)
            codes.codes_set_values(message, values[k].ravel())
            codes.codes_write(message, stream)
            codes.codes_release(message)
    obs = read(tmp_path / "a.grib2", "t2m")
    assert obs.bounds["latitude"] == (45.0, 50.0)
    assert obs.bounds["time"] == (0.0, 3 * 21600.0)
    found = obs.dataset["t2m"].transpose("time", "latitude", "longitude").values
    np.testing.assert_allclose(found, values[:, ::-1], atol=1e-4)
    assert [p.name for p in tmp_path.iterdir()] == ["a.grib2"]
