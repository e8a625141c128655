"""Two colours: the levels of a mark of heterochromatin and one of euchromatin, and what is read with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from mollifier.chromatin.cells import analyse_nucleus
from mollifier.chromatin.figures import levels_figure
from mollifier.chromatin.fractions import Thresholds
from mollifier.chromatin.mask import NucleusDetection
from mollifier.chromatin.model import ChromatinModel
from mollifier.chromatin.nucleus_data import NucleusData, read_nuclei
from mollifier.chromatin.result import NucleusResult
from mollifier.chromatin.settings import StudySettings
from mollifier.chromatin.signals import two_colours
from mollifier.chromatin.simulate import nucleus, rate_pattern, simulate
from mollifier.errors import ConfigurationError, DataError

WATER = 0.1
LEVELS = Thresholds(background=20.0, euchromatin_water=WATER, heterochromatin_water=WATER)


@pytest.fixture(scope="module")
def movie() -> xr.Dataset:
    """Two frames of a nucleus of 1 um."""
    mask = nucleus(1000.0, 60, rng=3)
    return simulate(
        ChromatinModel(), mask, rate_pattern(mask, "patches", 0.6, 0.3, 3), [0.0, 200.0], WATER, before=600.0
    )


def imaged(movie: xr.Dataset, rng: int, counts: tuple[float, float] = (400.0, 250.0)) -> NucleusData:
    """Camera frames of both marks, on a background of 20 counts."""
    random, parts = np.random.default_rng(rng), []
    for sign, level in zip((1, -1), counts, strict=True):
        phase = ((1 - WATER + sign * movie["phi_d"]) / 2).fillna(0.0).clip(min=0.0)
        light = (20 + level * phase).transpose("x", "y", "t")
        parts.append(light.copy(data=random.poisson(light.values).astype(float)))
    times = tuple(movie["t"].values.tolist())
    other = NucleusData("a", "1", "", movie["mask"] > 0, times, (), parts[1])
    return NucleusData("a", "1", "", movie["mask"] > 0, times, (), parts[0], other)


def test_two_colours_levels_and_rate(movie, tmp_path: Path):
    """Levels and fractions come out without any level being given, and the rate within its errors."""
    sample, settings = imaged(movie, 0), StudySettings(thresholds=LEVELS, margin=0.0, quick=True)
    value, levels = two_colours(sample, settings)
    # A pure phase holds a tenth of nucleoplasm.
    pure = 400 * (1 - WATER), 250 * (1 - WATER)
    found = value.attrs["level_heterochromatin_mark"], value.attrs["level_euchromatin_mark"]
    for a, b, sd in zip(found, pure, levels.sd[::-1], strict=True):
        assert abs(a / b - 1) < max(4 * sd, 0.03)
    exact = ((1 - WATER + movie["phi_d"]) / 2 / (1 - WATER)).transpose("x", "y", "t").values
    left = (value["density"].values - exact) / value["density_sd"].values
    assert np.nanstd(left) == pytest.approx(1.0, abs=0.1)
    result = analyse_nucleus(sample, settings)
    assert result.error == ""
    assert set(result.sensitivity["parameter"].values) >= {"euchromatin", "heterochromatin"}
    rate = movie["lam"].where(movie["mask"] > 0) if "lam" in movie else None
    assert rate is not None
    assert abs(result.numbers["rate"] - float(rate.mean())) < 2.5 * result.numbers["rate_total_sd"]
    result.save(tmp_path)
    levels = levels_figure(NucleusResult.load(tmp_path)[0]).axes[0].get_legend_handles_labels()[1]
    assert levels == ["euchromatin 0", "heterochromatin 1"]


def test_two_colours_that_go_together(movie):
    """Two marks of one phase have no levels."""
    sample = imaged(movie, 1)
    same = NucleusData("a", "1", "", sample.mask, sample.times, (), sample.image * 1.1)
    alike = NucleusData("a", "1", "", sample.mask, sample.times, (), sample.image, same)
    with pytest.raises(DataError, match="do not exclude each other: their correlation"):
        two_colours(alike, StudySettings(thresholds=LEVELS))


def test_two_colours_of_a_table(tmp_path: Path):
    """Both channels of one table; each nucleus has both marks, and the share is near that drawn."""
    rng, side = np.random.default_rng(2), 1500.0
    x, y = rng.uniform(-side / 2, side / 2, (2, 120_000))
    inside = np.hypot(x, y) < 600
    share = 0.5 + 0.4 * np.sin(x / 60) * np.sin(y / 60)
    hetero = rng.random(x.size) < share
    kept = inside & (hetero | (rng.random(x.size) < 0.6))
    names = np.where(hetero, "K9", "K27")
    table = pd.DataFrame({"x [nm]": x + 750, "y [nm]": y + 750, "channel": names})[kept]
    path = tmp_path / "cell.csv"
    table.to_csv(path, index=False)
    small = NucleusDetection(pixel=50, smoothing=50, closing=100, min_area=1e5)
    settings = StudySettings(channel="K9", euchromatin_channel="K27", detection=small, width=80.0)
    (sample,) = read_nuclei([path], settings)
    assert isinstance(sample, NucleusData)
    value, _ = two_colours(sample, settings)
    ratio = value.attrs["level_heterochromatin_mark"] / value.attrs["level_euchromatin_mark"]
    assert ratio == pytest.approx(1 / 0.6, rel=0.05)
    true = 0.5 + 0.4 * np.sin((value["x"] - 750) / 60) * np.sin((value["y"] - 750) / 60)
    both = np.isfinite(value["density"].transpose("x", "y").values)
    found = value["density"].transpose("x", "y").values[both]
    assert np.corrcoef(found, true.transpose("x", "y").values[both])[0, 1] > 0.9


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"channel": None}, "of a mark of heterochromatin, was expected"),
        ({"channel": 1}, "another channel"),
        ({"channel": 0, "follow": True}, "read one channel"),
        ({"channel": 0, "levels": "energy"}, "read one channel"),
    ],
)
def test_two_colours_refused(given, said):
    with pytest.raises(ConfigurationError, match=said):
        StudySettings(euchromatin_channel=1, **given)
