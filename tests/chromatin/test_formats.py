"""Formats of microscope files: SMLM archives, OME-Zarr folders, and images of Nikon, Zeiss and Leica."""

from __future__ import annotations

import json
import sys
import zipfile
from datetime import timedelta
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mollifier.chromatin.formats.images import open_vendor_image
from mollifier.chromatin.formats.registry import FORMATS, Format, LocalizationTable, format_of
from mollifier.chromatin.images import read_image
from mollifier.chromatin.localizations import read_localizations
from mollifier.chromatin.result import fingerprint
from mollifier.chromatin.settings import StudySettings
from mollifier.errors import DataError

N = 200
RNG = np.random.default_rng(0)
X, Y = RNG.uniform(0, 9000, (2, N))
FRAME = np.sort(RNG.integers(1, 5000, N))
COUNTS = RNG.poisson(200, (3, 2, 20, 24)).astype(np.uint16)


def smlm(path: Path, channels: tuple[str, ...] = ("alexa647",), unit: str = "um", **info: Any) -> Path:
    """As the specification's example: patches of pixels beside the columns, an offset to add."""
    rows = np.zeros(N, [("frame", "<u4"), ("x", "<f4"), ("y", "<f8"), ("patch", "<u4", (2, 2))])
    rows["frame"], rows["x"], rows["y"] = FRAME, X / 1e3 - 14, Y / 1e3
    form = {
        "type": "table", "mode": "binary", "headers": ["frame", "x", "y", "patch"],
        "shape": [1, 1, 1, [2, 2]],
        "dtype": ["uint32", "float32", "float64", "uint32"], "units": ["frame", unit, unit, "photon"],
    }  # fmt: skip
    files = [
        {
            "name": f"{c}.bin",
            "type": "table",
            "format": "f",
            "channel": c,
            "rows": N,
            "offset": {"x": 14},
            **info,
        }
        for c in channels
    ]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("manifest.json", json.dumps({"formats": {"f": form}, "files": files}))
        for c in channels:
            archive.writestr(f"{c}.bin", rows.tobytes())
    return path


def test_smlm(tmp_path: Path):
    """Positions with their unit and offset; two tables are two channels."""
    locs = read_localizations(smlm(tmp_path / "a.smlm"))
    np.testing.assert_allclose(locs.x, X, atol=2e-3)
    np.testing.assert_allclose(locs.y, Y)
    np.testing.assert_array_equal(np.asarray(locs.frame), FRAME)
    both = smlm(tmp_path / "b.smlm", ("647", "561"))
    with pytest.raises(DataError, match=r"holds 2 channels \(561, 647\); choose one, as --channel 561"):
        read_localizations(both)
    np.testing.assert_allclose(read_localizations(both, channel=561).y, Y)


@pytest.mark.parametrize(
    ("info", "said"),
    [({"rows": N + 1}, "bytes for 201 rows"), ({"format": "g"}, "'g'"), ({"offset": [1]}, "get")],
)
def test_smlm_damaged(tmp_path: Path, info: dict[str, Any], said: str):
    with pytest.raises(DataError, match=f"cannot be read .*{said}.*Export it as CSV"):
        read_localizations(smlm(tmp_path / "a.smlm", **info))


def ome_zarr(path: Path, version: str, unit: str = "micrometer") -> Path:
    zarr = pytest.importorskip("zarr", reason="OME-Zarr needs zarr (pip install 'mollifier[zarr]')")
    axes = [{"name": n, "type": "space", "unit": unit} for n in "yx"]
    axes = [{"name": "t", "type": "time", "unit": "second"}, {"name": "c", "type": "channel"}, *axes]
    level = {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [1.0, 1.0, 0.1, 0.2]}]}
    whole = [{"type": "scale", "scale": [2.5, 1.0, 1.0, 1.0]}]
    scales = [{"axes": axes, "datasets": [level], "coordinateTransformations": whole}]
    group = zarr.open_group(str(path), mode="w", zarr_format=2 if version == "0.4" else 3)
    group.create_array("0", data=COUNTS)
    group.attrs.update({"multiscales": scales} if version == "0.4" else {"ome": {"multiscales": scales}})
    return path


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_ome_zarr(tmp_path: Path, version: str):
    """Scales of the level and of the pyramid multiply; several channels need a choice."""
    path = ome_zarr(tmp_path / "a.ome.zarr", version)
    with pytest.raises(DataError, match="has 2 channels; say which"):
        read_image(path)
    image = read_image(path, channel=1)
    np.testing.assert_array_equal(image, COUNTS[:, 1])
    np.testing.assert_allclose(image.t, [0, 2.5, 5])
    np.testing.assert_allclose([np.diff(image.y)[0], np.diff(image.x)[0]], [100, 200])
    assert image.attrs["pixel_size_from"] == "OME-Zarr metadata"


def test_ome_zarr_in_a_study(tmp_path: Path):
    """The fingerprint from which a study resumes depends on the pixels in the folder."""
    path = ome_zarr(tmp_path / "a.ome.zarr", "0.5")
    before = fingerprint([path], StudySettings())
    next(p for p in sorted((path / "0" / "c").rglob("*")) if p.is_file()).write_bytes(b"other")
    assert list(before) == ["a"]
    assert fingerprint([path], StudySettings()) != before
    with pytest.raises(DataError, match=r"cannot be read .*Save it as OME-TIFF"):
        read_image(path)


@pytest.mark.parametrize("own", [{"filters": [{"id": "pickle"}]}, {"compressor": {"id": "pickle"}}])
def test_ome_zarr_loads_no_pickles(tmp_path: Path, own: dict[str, Any]):
    """A codec that could run code is refused, not tried."""
    path = ome_zarr(tmp_path / "a.zarr", "0.4")
    described = path / "0" / ".zarray"
    described.write_text(json.dumps(json.loads(described.read_text()) | own))
    with pytest.raises(DataError, match=r"cannot be read .*Save it as OME-TIFF"):
        read_image(path, channel=0)


def test_ome_zarr_that_names_no_single_image(tmp_path: Path):
    ome_zarr(tmp_path / "plate.zarr" / "A1", "0.4")
    (tmp_path / "plate.zarr" / ".zattrs").write_text('{"plate": {}}')
    with pytest.raises(DataError, match=r"several images or wells \(A1\); name one, as '.*plate.zarr/A1'"):
        read_image(tmp_path / "plate.zarr")
    (tmp_path / "plain").mkdir()
    with pytest.raises(DataError, match="is a folder"):
        read_image(tmp_path / "plain")
    with pytest.raises(DataError, match="does not state its pixel size"):
        read_image(ome_zarr(tmp_path / "a.zarr", "0.4", "parsec"), channel=0)


def test_czi(tmp_path: Path):
    """A file that Zeiss's library wrote."""
    pytest.importorskip("bioio_czi", reason="CZI needs bioio-czi (pip install 'mollifier[bioio]')")
    czi = pytest.importorskip("pylibCZIrw.czi", reason="the test writes its file with pylibCZIrw")
    path = tmp_path / "a.czi"
    with czi.create_czi(str(path)) as file:
        for t, plane in enumerate(COUNTS[:, 0]):
            file.write(data=plane[..., None], plane={"T": t, "Z": 0, "C": 0})
        file.write_metadata(document_name="a", scale_x=1e-7, scale_y=1.2e-7, scale_z=3e-7)
    with pytest.raises(DataError, match="--frame-interval"):
        read_image(path)
    image = read_image(path, frame_interval=2.0)
    np.testing.assert_array_equal(image, COUNTS[:, 0])
    np.testing.assert_allclose([np.diff(image.y)[0], np.diff(image.x)[0]], [120, 100])


@pytest.fixture
def bioio(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """An image as bioio and its plugin for ND2 give it."""
    sizes = SimpleNamespace(X=0.1, Y=0.12, Z=0.3)
    image = SimpleNamespace(scenes=("one",), time_interval=timedelta(seconds=4), physical_pixel_sizes=sizes)
    image.get_image_data = lambda order: COUNTS[:, :1, None]
    package, plugin = ModuleType("bioio"), ModuleType("bioio_nd2")
    package.BioImage = lambda file, reader: image  # type: ignore[attr-defined]
    plugin.Reader = None  # type: ignore[attr-defined]
    for module in (package, plugin):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr("mollifier.chromatin.formats.images.find_spec", lambda name: name)
    return image


def test_vendor_image(tmp_path: Path, bioio: SimpleNamespace):
    """Sizes in um and an interval as a duration; several positions are refused."""
    path = tmp_path / "a.nd2"
    path.write_bytes(b"nd2")
    image = read_image(path)
    np.testing.assert_array_equal(image, COUNTS[:, 0])
    np.testing.assert_allclose(image.t, [0, 4, 8])
    np.testing.assert_allclose(np.diff(image.y)[0], 120)
    bioio.scenes = ("one", "two")
    with pytest.raises(DataError, match=r"holds 2 positions \(one, two\)"):
        read_image(path)
    bioio.scenes, bioio.get_image_data = ("one",), lambda order: 1 / 0
    with pytest.raises(DataError, match=r"cannot be read .*Save it as OME-TIFF"):
        read_image(path)


def test_vendor_image_without_bioio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The message names what to install."""
    monkeypatch.setattr("mollifier.chromatin.formats.images.find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"needs bioio and bioio-lif: pip install 'mollifier\[bioio\]'"):
        open_vendor_image(tmp_path / "a.lif")


def test_formats_registry_takes_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """An entry of a plugin comes before text, which is anything; an image is no table."""
    path = tmp_path / "a.abc"
    path.write_bytes(b"ABC")
    with pytest.raises(DataError, match="no image: TIFF, OME-Zarr, ND2, CZI or LIF"):
        read_image(path)
    rows = LocalizationTable(["x", "y"], 2, lambda index: {"x": X, "y": Y}, "ABC")
    own = Format(lambda path, beginning: beginning.startswith(b"ABC"), table=lambda path: rows)
    monkeypatch.setattr(FORMATS, "_entries", dict(FORMATS._entries))
    FORMATS.register("abc", own)
    assert format_of(path) is own
    np.testing.assert_array_equal(read_localizations(path).x, X)
    (tmp_path / "a.tif").write_bytes(b"II*\x00")
    with pytest.raises(DataError, match="is an image; a table"):
        read_localizations(tmp_path / "a.tif")
