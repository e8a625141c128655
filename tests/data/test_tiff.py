"""Images and films as fields."""

import numpy as np
import pytest

from mollifier.data.read import read
from mollifier.errors import DataError

tifffile = pytest.importorskip("tifffile", reason="images need tifffile")

FILM = np.random.default_rng(0).random((5, 6, 7)).astype(np.float32)


def test_film_with_sizes_in_its_metadata(tmp_path):
    """Pixels in um and times in s, from OME-XML, whatever the units in the file."""
    size = {
        "PhysicalSizeX": 500.0,
        "PhysicalSizeXUnit": "nm",
        "PhysicalSizeY": 0.25,
        "PhysicalSizeYUnit": "µm",
    }
    metadata = {"axes": "TYX", "TimeIncrement": 2.0, "TimeIncrementUnit": "min", **size}
    tifffile.imwrite(tmp_path / "a.ome.tif", FILM, metadata=metadata)
    obs = read(tmp_path / "a.ome.tif", noise=0.1)
    assert obs.units == {"t": "s", "y": "um", "x": "um"}
    assert obs.bounds["t"] == (0.0, 480.0)
    assert (obs.bounds["y"], obs.bounds["x"]) == ((0.0, 1.25), (0.0, 3.0))
    np.testing.assert_array_equal(obs.dataset["u"].transpose("t", "y", "x"), FILM)


def test_film_without_sizes_needs_steps(tmp_path):
    """Pages without a name are frames; steps in coordinates are in the units given."""
    tifffile.imwrite(tmp_path / "a.tif", FILM)
    with pytest.raises(DataError, match=r"'t' .* has no coordinate values.*coordinates=\{'t': 1.0\}"):
        read(tmp_path / "a.tif")
    steps = {"x": 0.65, "y": 0.65, "t": 60}
    obs = read(tmp_path / "a.tif", {"T": "u"}, coordinates=steps, units={"x": "mm", "t": "s"})
    assert obs.bounds["x"] == (0.0, pytest.approx(3.9))
    assert (obs.variables, obs.bounds["t"], obs.units) == (("T",), (0.0, 240.0), {"x": "mm", "t": "s"})


def test_film_with_channels(tmp_path):
    """A channel is selected by its number."""
    metadata = {"axes": "TCYX", "unit": "um", "finterval": 2.0}
    both = np.stack([FILM, FILM + 1], axis=1)
    tifffile.imwrite(tmp_path / "a.tif", both, imagej=True, resolution=(10, 10), metadata=metadata)
    obs = read(tmp_path / "a.tif", select={"channel": 1})
    np.testing.assert_array_equal(obs.dataset["u"].transpose("t", "y", "x"), FILM + 1)
    assert obs.bounds["x"][1] == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("steps", "message"),
    [({"x": 1.0, "z": 1.0}, "'z', no dimension of the data"), ({"x": 0.0}, "a positive number was expected")],
)
def test_steps_that_cannot_be(steps, message, tmp_path):
    """A step belongs to a dimension, and is positive."""
    tifffile.imwrite(tmp_path / "a.tif", FILM)
    with pytest.raises(DataError, match=message):
        read(tmp_path / "a.tif", coordinates=steps)


def test_image_that_is_cut_short(tmp_path):
    """As any damaged file."""
    tifffile.imwrite(tmp_path / "a.tif", FILM)
    (tmp_path / "a.tif").write_bytes((tmp_path / "a.tif").read_bytes()[:300])
    with pytest.raises(DataError, match="cut short"):
        read(tmp_path / "a.tif")
