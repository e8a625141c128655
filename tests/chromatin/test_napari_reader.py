"""The reader for napari: its manifest, and layers that lie over the image."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import yaml

import mollifier
from mollifier.chromatin.napari_reader import get_reader
from mollifier.chromatin.result import NucleusResult

MANIFEST = Path(mollifier.__file__).parent / "napari.yaml"


def saved(folder: Path, **attrs: str) -> Path:
    place = {"x": 50.0 + 100 * np.arange(4), "y": 250.0 + 100 * np.arange(3)}
    field = xr.DataArray(np.arange(12.0).reshape(4, 3), place, ("x", "y"))
    fields = xr.Dataset({"signal": field, "phi_h": field / 12, "phi_e": 1 - field / 12}, attrs=attrs)
    domains = pd.DataFrame({"x": [150.0], "y": [350.0], "radius": [80.0], "place": ["lamina"]})
    rate = xr.Dataset({"lam": field.where(field > 2), "lam_sd": field, "identifiability": field / 12})
    NucleusResult("cell", "1", fields=fields, rate=rate, domains=domains).save(folder)
    return folder / "result.nc"


@pytest.mark.parametrize(("attrs", "shift"), [({}, 0.05), ({"kernel_width": "30"}, 0.0)])
def test_napari_layers(tmp_path: Path, attrs, shift):
    """In um, axes y and x; over an image in pixels from its first one's centre, else where molecules are."""
    path = str(saved(tmp_path, **attrs))
    assert get_reader(str(tmp_path / "other.nc")) is None
    reader = get_reader(path)
    assert reader is not None
    layers = {options["name"]: (data, options, kind) for data, options, kind in reader(path)}
    data, options, kind = layers["cell 1: lam"]
    assert (kind, data.shape) == ("image", (3, 4))
    np.testing.assert_allclose(options["scale"], [0.1, 0.1])
    np.testing.assert_allclose(options["translate"], [0.25 - shift, 0.05 - shift])
    assert np.isfinite(options["contrast_limits"]).all()
    data, options, kind = layers["cell 1: domains"]
    assert kind == "points"
    np.testing.assert_allclose(data, [[0.35 - shift, 0.15 - shift]])
    np.testing.assert_allclose(options["size"], [0.16])
    assert len(reader([path, path])) == 2 * len(layers)


def test_napari_manifest_names_the_reader():
    commands = yaml.safe_load(MANIFEST.read_text())["contributions"]["commands"]
    assert commands[0]["python_name"] == f"{get_reader.__module__}:{get_reader.__name__}"


@pytest.mark.skipif(find_spec("npe2") is None, reason="needs npe2")
def test_napari_manifest_valid():
    """By npe2, in a process where the warnings of its import are no errors."""
    check = f"import npe2; npe2.PluginManifest.from_file({str(MANIFEST)!r}).validate_imports()"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
