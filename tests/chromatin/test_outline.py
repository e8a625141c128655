"""The position of an outline from the fall of the signal, and the map with it."""

import dataclasses

import numpy as np
import pytest
import xarray as xr

from benchmarks.chromatin.films import filmed
from mollifier.chromatin.cells import analyse_nucleus
from mollifier.chromatin.demo import imaged
from mollifier.chromatin.fractions import Thresholds
from mollifier.chromatin.localizations import Localizations
from mollifier.chromatin.model import ChromatinModel
from mollifier.chromatin.nucleus_data import NucleusData
from mollifier.chromatin.outline import fitted_outline
from mollifier.chromatin.rasters import edge_distance
from mollifier.chromatin.settings import StudySettings
from mollifier.chromatin.simulate import nucleus, simulate
from mollifier.errors import DataError

PIXEL = 14.0


@pytest.fixture(scope="module")
def movie() -> xr.Dataset:
    return simulate(ChromatinModel(), nucleus(1100.0, 90, rng=5), 0.6, [0.0], before=600.0, step=5.0, rng=5)


@pytest.fixture(scope="module")
def seen(movie: xr.Dataset) -> tuple[NucleusData, Thresholds]:
    return imaged(movie, 3e5, rng=5)


def shifted(sample: NucleusData, by: float) -> NucleusData:
    """With an outline that is too large by so many nm."""
    return dataclasses.replace(sample, mask=edge_distance(sample.mask) > -by)


def area(mask: xr.DataArray) -> float:
    return float(mask.sum()) * float(mask["x"][1] - mask["x"][0]) ** 2


@pytest.mark.parametrize("by", [-30.0, 0.0, 14.0, 40.0])
def test_outline_from_localisations(seen, by):
    """The edge is found within 2 nm, and the area of the nucleus within 1 %."""
    sample, _ = seen
    new, found = fitted_outline(shifted(sample, by))
    assert found.value == pytest.approx(by, abs=2.0)
    assert 0 < found.sd < 2.0
    assert found.width == pytest.approx(8.5, abs=3.0)
    assert area(new.mask) == pytest.approx(area(sample.mask), rel=0.01)


def test_outline_from_image(movie):
    """In an image the edge is found to a fraction of a pixel of 25 nm."""
    image, mask = (a.isel(t=0, drop=True) for a in filmed(movie, rng=5))
    sample = NucleusData("a", "1", "", mask, (0.0,), (), image)
    found = fitted_outline(shifted(sample, 30.0))[1]
    assert found.value == pytest.approx(30.0, abs=8.0)


def test_outline_too_large_does_not_spoil_the_map(seen):
    """An outline 14 nm too large makes a misfit or a wrong map; the fitted one does not."""
    sample, levels = seen
    settings = StudySettings(
        width=30.0, thresholds=levels, merge=False, domains="map", quick=True, outline="fitted"
    )
    result = analyse_nucleus(shifted(sample, 14.0), settings)
    n = result.numbers
    assert n["outline_offset"] == pytest.approx(14.0, abs=2.0)
    assert result.status.startswith("converged")
    assert n["rate"] == pytest.approx(0.6, rel=0.1)
    assert abs(n["rate"] - 0.6) < 2 * n["rate_total_sd"]
    given = dataclasses.replace(settings, outline="given", margin=0.0)
    assert abs(analyse_nucleus(shifted(sample, 14.0), given).numbers["rate"] - 0.6) > abs(n["rate"] - 0.6)


def test_outline_bad_input(seen):
    """A mask that moves, or lies where no edge is, is refused."""
    sample, _ = seen
    moving = sample.mask.expand_dims(t=2)
    with pytest.raises(DataError, match="moving nucleus"):
        fitted_outline(dataclasses.replace(sample, mask=moving))
    rng = np.random.default_rng(0)
    even = Localizations(*rng.uniform(-700.0, 700.0, (2, 50_000)))
    with pytest.raises(DataError, match="outline"):
        fitted_outline(dataclasses.replace(sample, frames=(even,)))
