"""Chromatin images and masks: stacks, flags, labels, nuclei, polygons, and messages for bad images."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from microscope_files import shared
from mollifier.chromatin.images import read_image, read_labels
from mollifier.chromatin.localizations import Localizations
from mollifier.chromatin.mask import (
    NucleusDetection,
    nuclei_from_data,
    nuclei_from_labels,
    nucleus_from_polygon,
    otsu,
    read_polygon,
)
from mollifier.errors import DataError

tifffile = pytest.importorskip("tifffile", reason="images need tifffile (pip install 'mollifier[chromatin]')")
RNG = np.random.default_rng(0)


# Images

COUNTS = RNG.poisson(200, (5, 20, 24)).astype(np.uint16)


def test_ome_tiff(tmp_path):
    path = tmp_path / "a.ome.tif"
    meta = {"axes": "TYX", "PhysicalSizeX": 0.1, "PhysicalSizeXUnit": "µm", "PhysicalSizeY": 120.0,
            "PhysicalSizeYUnit": "nm", "TimeIncrement": 500.0, "TimeIncrementUnit": "ms"}  # fmt: skip
    tifffile.imwrite(path, COUNTS, metadata=meta)
    image = read_image(path)
    np.testing.assert_array_equal(image, COUNTS)
    np.testing.assert_allclose(image.t, [0, 0.5, 1, 1.5, 2])
    np.testing.assert_allclose(image.x, 100 * (np.arange(24) + 0.5))
    np.testing.assert_allclose(np.diff(image.y), 120)
    assert image.attrs["pixel_size_from"] == "OME metadata"


def test_ome_uneven_time_stamps(tmp_path):
    """Uneven time stamps of ome."""
    path = tmp_path / "a.ome.tif"
    size = {"axes": "TYX", "PhysicalSizeX": 0.1, "PhysicalSizeY": 0.1}
    plane = {"DeltaT": [3.0, 4.0, 6.0, 9.0, 10.0], "DeltaTUnit": ["s"] * 5}
    tifffile.imwrite(path, COUNTS, metadata={**size, "Plane": plane})
    np.testing.assert_allclose(read_image(path).t, [0, 1, 3, 6, 7])
    plane["DeltaT"] = [3.0, 4.0, 4.0, 9.0, 10.0]
    tifffile.imwrite(path, COUNTS, metadata={**size, "Plane": plane})
    with pytest.raises(DataError, match="do not increase"):
        read_image(path)
    np.testing.assert_allclose(read_image(path, frame_interval=2.0).t, [0, 2, 4, 6, 8])


def test_imagej_stack_and_channels(tmp_path):
    path = tmp_path / "a.tif"
    both = np.stack([COUNTS, 2 * COUNTS], axis=1)
    meta = {"axes": "ZCYX", "unit": "um", "spacing": 0.3}
    tifffile.imwrite(path, both, imagej=True, resolution=(5, 4), metadata=meta)
    with pytest.raises(DataError, match=r"2 channels.*--channel"):
        read_image(path)
    image = read_image(path, channel=1)
    np.testing.assert_array_equal(image, 2 * COUNTS)
    steps = [float(image[d][1] - image[d][0]) for d in "xyz"]
    np.testing.assert_allclose(steps, [200, 250, 300])


def test_image_options_override_metadata(tmp_path):
    """Flags overrule and fill in."""
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, COUNTS)
    with pytest.raises(DataError, match="--axes"):
        read_image(path, pixel_size=100)
    image = read_image(path, pixel_size=100, frame_interval=3)
    assert image.dims == ("t", "y", "x")
    assert image.attrs["pixel_size_from"] == "--pixel-size"
    assert read_image(path, pixel_size=100, axes="zyx").dims == ("z", "y", "x")
    tifffile.imwrite(path, COUNTS[0], resolution=(1e5, 1e5), resolutionunit="CENTIMETER")
    assert float(np.diff(read_image(path).x)[0]) == pytest.approx(100)


CEILING = np.where(COUNTS > 230, 230, COUNTS)
BAD_IMAGES = {
    "no pixel size": (COUNTS[0], {}, {}, "--pixel-size"),
    "an implausible one": (
        COUNTS[0],
        {"resolution": (72, 72), "resolutionunit": "INCH"},
        {},
        "352778 nm.*--pix",
    ),
    "an implausible flag": (COUNTS[0], {}, {"pixel_size": 0.1}, "0.1 nm"),
    "time stamps missing": (
        COUNTS,
        {},
        {"pixel_size": 100, "axes": "tyx"},
        "Time stamps are missing.*--frame-int",
    ),
    "a negative interval": (COUNTS, {}, {"pixel_size": 100, "frame_interval": -1}, "positive number"),
    "one frame": (COUNTS[:1], {}, {"pixel_size": 100, "axes": "tyx", "frame_interval": 1}, "has one frame"),
    "saturated": (CEILING, {}, {"pixel_size": 100, "axes": "zyx"}, "saturated.*230"),
    "negative counts": (COUNTS[0].astype("i4") - 200, {}, {"pixel_size": 100}, "negative counts"),
    "empty": (0 * COUNTS[0], {}, {"pixel_size": 100}, "empty"),
    "not finite": (np.where(COUNTS[0] > 230, np.nan, COUNTS[0]), {}, {"pixel_size": 100}, "no finite"),
    "a colour picture": (np.stack([COUNTS[0]] * 3, -1).astype("u1"), {"photometric": "rgb"}, {}, "colour"),
    "wrong axes": (COUNTS, {}, {"axes": "zy"}, "--axes zy was given"),
    "an axis twice": (COUNTS, {}, {"axes": "yyx"}, "--axes yyx was given"),
}


@pytest.mark.parametrize("case", BAD_IMAGES)
def test_bad_images(tmp_path, case):
    array, written, options, message = BAD_IMAGES[case]
    path = tmp_path / "bad.tif"
    tifffile.imwrite(path, array, **written)
    with pytest.raises(DataError, match=message):
        read_image(path, **options)


def test_image_files_that_are_no_images(tmp_path):
    """Files that are no images."""
    path = tmp_path / "a.tif"
    with pytest.raises(DataError, match="no file"):
        read_image(path)
    path.write_bytes(b"II*\0 but nothing else")
    with pytest.raises(DataError, match="no image"):
        read_image(path)


def test_labels(tmp_path):
    path, other = tmp_path / "labels.tif", tmp_path / "image.tif"
    labels = np.zeros((20, 24), np.uint16)
    labels[5:9, 6:12] = 3
    tifffile.imwrite(path, labels)
    tifffile.imwrite(other, COUNTS[0])
    image = read_image(other, pixel_size=100)
    np.testing.assert_array_equal(read_labels(path, like=image), labels)
    assert read_labels(path, pixel_size=50).x[0] == 25
    tifffile.imwrite(path, labels[:10])
    with pytest.raises(DataError, match="shape"):
        read_labels(path, like=image)
    tifffile.imwrite(path, 0 * labels)
    with pytest.raises(DataError, match="mask is empty"):
        read_labels(path, like=image)
    tifffile.imwrite(path, labels + 0.5)
    with pytest.raises(DataError, match="whole numbers"):
        read_labels(path, like=image)


# Nuclei


def test_nuclei_of_real_stack():
    """Every whole nucleus of a real stack."""
    image = read_image(shared("nuclei.tif"), axes="zyx", pixel_size=260, z_step=290)
    nuclei = nuclei_from_labels(read_labels(shared("nuclei_label.tif"), like=image))
    assert {n.name for n in nuclei} == {"2", "3", "4", "5", "6", "7", "8", "11", "12", "13", "14"}
    assert set(nuclei.left_out) == {"1", "9", "10", "15", "16", "17", "18", "19", "20"}
    one = nuclei[11]
    assert one.plane == 34
    y0, y1 = float(one.mask.y[1]) / 260, float(one.mask.y[-2]) / 260
    assert 72 < y0 < y1 < 121


def grid(n: int = 60) -> dict[str, np.ndarray]:
    return {"y": 200.0 * np.arange(n), "x": 200.0 * np.arange(n)}


def test_nuclei_moving_or_absent():
    """Nuclei that move or come and go."""
    labels = np.zeros((3, 60, 60), int)
    for k in range(3):
        labels[k, 10 + k : 30 + k, 5:25] = 1
        labels[k, 35:50, 35:50] = 2 if k else 0
    nuclei = nuclei_from_labels(xr.DataArray(labels, {"t": [0.0, 1.0, 2.0], **grid()}, ("t", "y", "x")))
    assert [n.name for n in nuclei] == ["1"]
    assert nuclei["1"].mask.dims == ("x", "y", "t")
    assert nuclei["1"].area == pytest.approx(400 * 200**2)
    assert nuclei.left_out == {"2": "is present in 2 of 3 frames"}


def test_nuclei_none_whole():
    """No whole nucleus is an error."""
    labels = xr.DataArray(np.zeros((60, 60), int), grid(), ("y", "x"))
    with pytest.raises(DataError, match="mask is empty"):
        nuclei_from_labels(labels)
    labels[0:30, 5:30] = 1
    labels[40:43, 40:43] = 2
    with pytest.raises(DataError, match="1 touches the edge; 2 is small"):
        nuclei_from_labels(labels)


SQUARE = [[1000.0, 2000.0], [9000.0, 2000.0], [9000.0, 8000.0], [1000.0, 8000.0]]
HOLE = [[3000.0, 3000.0], [5000.0, 3000.0], [5000.0, 5000.0], [3000.0, 5000.0]]


def test_polygons(tmp_path):
    path = tmp_path / "a.txt"
    np.savetxt(path, SQUARE)
    assert nucleus_from_polygon(read_polygon(path), pixel=100).area == pytest.approx(48e6)
    path = tmp_path / "a.csv"
    pd.DataFrame(np.array(SQUARE) / 1e3, columns=["x [um]", "y [um]"]).to_csv(path, index=False)
    assert nucleus_from_polygon(read_polygon(path), pixel=100).area == pytest.approx(48e6)
    path = tmp_path / "a.geojson"
    polygon = {"type": "Polygon", "coordinates": [(np.array(r) / 100).tolist() for r in (SQUARE, HOLE)]}
    feature = {"type": "Feature", "properties": {}, "geometry": polygon}
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    nucleus = nucleus_from_polygon(read_polygon(path, unit="px", pixel_size=100), pixel=100)
    assert nucleus.area == pytest.approx(44e6)
    assert not nucleus.mask.sel(x=4000, y=4000, method="nearest")
    assert nucleus.mask.sel(x=2000, y=4000, method="nearest")


def test_bad_polygons(tmp_path):
    path = tmp_path / "a.geojson"
    for text, message in (("{", "no GeoJSON"), ('{"type": "Point", "coordinates": [1, 2]}', "0 rings")):
        path.write_text(text)
        with pytest.raises(DataError, match=message):
            read_polygon(path)
    path = tmp_path / "a.txt"
    path.write_text("1 2\n3 4\n")
    with pytest.raises(DataError, match="fewer than three"):
        read_polygon(path)
    with pytest.raises(DataError, match="pixels"):
        read_polygon(path, unit="px")


def test_nuclei_detected_in_image_and_localisations():
    """Nuclei from an image and from localisations."""
    x, y = np.meshgrid(200.0 * np.arange(100), 200.0 * np.arange(100), indexing="ij")
    bright = (np.hypot(x - 6e3, y - 6e3) < 4e3) | (np.hypot(x - 15e3, y - 14e3) < 3e3)
    counts = np.random.default_rng(1).poisson(np.where(bright, 80.0, 10.0)).astype(float)
    coords = {"x": x[:, 0], "y": y[0]}
    nuclei = nuclei_from_data(xr.DataArray(counts, coords, ("x", "y")))
    assert sorted(round(n.area / 1e6, 1) for n in nuclei) == pytest.approx([np.pi * 9, np.pi * 16], rel=0.06)
    with pytest.raises(DataError, match="mask is empty"):
        nuclei_from_data(xr.DataArray(counts, coords, ("x", "y")), NucleusDetection(threshold=1e9))
    angle, radius = RNG.uniform(0, 2 * np.pi, 30_000), 5e3 * np.sqrt(RNG.random(30_000))
    round_one = Localizations(radius * np.cos(angle), radius * np.sin(angle))
    assert next(iter(nuclei_from_data(round_one))).area == pytest.approx(np.pi * 25e6, rel=0.05)


def test_otsu_between_two_classes():
    values = np.concatenate([RNG.normal(10, 1, 4000), RNG.normal(20, 1, 1000)])
    assert 13 < otsu(values) < 17


def test_ome_set_without_one_of_its_files_is_refused(tmp_path):
    """The TIFF library fills the planes of a missing file with zeros."""
    import re

    counts = np.random.default_rng(0).poisson(50, (2, 32, 32)).astype(np.uint16)
    size = {f"PhysicalSize{c}": 0.1 for c in "XY"} | {f"PhysicalSize{c}Unit": "um" for c in "XY"}
    whole = tmp_path / "whole.ome.tif"
    tifffile.imwrite(whole, counts, metadata={"axes": "TYX", "TimeIncrement": 2.0, **size})
    with tifffile.TiffFile(whole) as tiff:
        described = str(tiff.ome_metadata)
    names = {
        f"{name}.ome.tif": f"urn:uuid:{8 * d}-1111-1111-1111-{12 * d}" for name, d in (("a", "1"), ("b", "2"))
    }
    parts = "".join(
        f'<TiffData IFD="0" FirstT="{t}" PlaneCount="1"><UUID FileName="{name}">{uuid}</UUID></TiffData>'
        for t, (name, uuid) in enumerate(names.items())
    )
    described = re.sub(r"<TiffData[^>]*/>", parts, described)
    for k, (name, uuid) in enumerate(names.items()):
        text = re.sub(r'UUID="[^"]*"', f'UUID="{uuid}"', described, count=1)
        tifffile.imwrite(tmp_path / name, counts[k], description=text.encode(), metadata=None)
    np.testing.assert_array_equal(read_image(tmp_path / "a.ome.tif").values, counts)
    (tmp_path / "b.ome.tif").unlink()
    with pytest.raises(DataError, match=r"lacks 1 of its 2 planes.*all files of the set were expected"):
        read_image(tmp_path / "a.ome.tif")


def test_image_with_several_positions_is_refused(tmp_path):
    """The first one would be read without a word."""
    path = tmp_path / "a.ome.tif"
    meta = {"axes": "YX", "PhysicalSizeX": 0.1, "PhysicalSizeY": 0.1}
    with tifffile.TiffWriter(path, ome=True) as writer:
        for seed in range(3):
            counts = np.random.default_rng(seed).poisson(50, (32, 32)).astype(np.uint16)
            writer.write(counts, metadata=meta)
    with pytest.raises(DataError, match="holds 3 images of one size"):
        read_image(path)


def test_image_damaged_anywhere_is_read_or_refused(tmp_path):
    """tifffile raises six kinds of errors on such files, and gives empty arrays."""
    path = tmp_path / "a.tif"
    counts = np.random.default_rng(0).poisson(50, (4, 24, 24)).astype(np.uint16)
    meta = {"axes": "TYX", "unit": "um", "finterval": 2.0}
    tifffile.imwrite(path, counts, imagej=True, resolution=(10, 10), metadata=meta)
    whole, rng, refused = path.read_bytes(), np.random.default_rng(1), 0
    for _ in range(150):
        damaged = bytearray(whole)
        at = int(rng.integers(0, 400))
        damaged[at : at + int(rng.integers(1, 9))] = rng.bytes(3)
        path.write_bytes(damaged)
        try:
            read_image(path)
        except DataError:
            refused += 1
    assert refused > 50
