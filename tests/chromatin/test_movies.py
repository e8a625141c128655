"""Time-lapses of nuclei: followed, brought to rest, without fading, and the step after a treatment."""

import numpy as np
import pytest
import xarray as xr
from scipy.special import ndtr

from benchmarks.chromatin.films import filmed
from mollifier.chromatin.cells import analyse_nucleus, step_numbers
from mollifier.chromatin.fractions import Thresholds
from mollifier.chromatin.infer import infer_rate
from mollifier.chromatin.mask import NucleusDetection, tracked
from mollifier.chromatin.model import ChromatinModel
from mollifier.chromatin.modes import time_rows
from mollifier.chromatin.movies import at_rest, fitted, settled
from mollifier.chromatin.nucleus_data import NucleusData, read_nuclei
from mollifier.chromatin.page import nucleus_page
from mollifier.chromatin.settings import StudySettings
from mollifier.chromatin.simulate import nucleus, rate_pattern, simulate, with_noise
from mollifier.errors import ConfigurationError, DataError

MODEL, TREATMENT = ChromatinModel(), 250.0
SIZE, DELAY, SPREAD = 0.6, 50.0, 25.0


@pytest.fixture(scope="module")
def movie() -> xr.Dataset:
    """A nucleus whose rate rises by 60 %, 50 s after a treatment at 250 s."""
    mask = nucleus(900.0, 60, rng=1)
    base = rate_pattern(mask, "patches", 0.6, 0.3, 1)
    times, fine = 40.0 * np.arange(16), np.arange(0.0, 601.0, 10.0)
    course = xr.DataArray(1 + SIZE * ndtr((fine - TREATMENT - DELAY) / SPREAD), {"t": fine}, ("t",))
    lam = (base * course).transpose("x", "y", "t")
    return simulate(MODEL, mask, lam, times, before=800.0, step=5.0, rng=1)


@pytest.fixture(scope="module")
def moving(movie: xr.Dataset) -> tuple[xr.DataArray, xr.DataArray]:
    return filmed(movie, drift=300.0, turn=0.3, strain=0.03, bleaching=1e-3, rng=1)


def held(quantity, truth: float) -> bool:
    return quantity.low <= truth <= quantity.high


def test_step_after_treatment(movie):
    """Size within 15 %, delay within one frame, and both in their intervals."""
    found = infer_rate(with_noise(movie, 0.05, rng=2), MODEL, treatment=TREATMENT)
    step = found.step.quantities
    assert step["size"].value == pytest.approx(SIZE, rel=0.15)
    assert step["delay"].value == pytest.approx(DELAY, abs=40.0)
    assert held(step["size"], SIZE)
    assert held(step["delay"], DELAY)
    lam = found.dataset["lam"].mean(("x", "y"))
    assert float(lam[-1] / lam[0]) == pytest.approx(1 + step["size"].value, rel=0.02)
    assert found.status.name == "converged"


def test_step_that_never_comes(movie):
    """Without a change the size is zero within its error, and the delay lies in the frames, unknown."""
    still = simulate(MODEL, movie["mask"], 0.6, movie["t"].values, before=800.0, step=5.0, rng=1)
    step = infer_rate(with_noise(still, 0.05, rng=2), MODEL, quick=True, treatment=TREATMENT).step
    assert not step.found
    assert held(step.quantities["size"], 0.0)
    assert 0 < step.quantities["delay"].value < float(movie["t"][-1]) - TREATMENT
    shown = step_numbers(step, step.found)
    assert np.isfinite(shown["step_size"])
    assert np.isnan([shown["step_delay"], shown["step_spread_low"]]).all()


def test_step_bad_input(movie):
    """A treatment needs frames before and after it, and no rate that varies freely."""
    given = with_noise(movie, 0.05)
    with pytest.raises(ConfigurationError, match="frames before and"):
        infer_rate(given, MODEL, treatment=590.0)
    with pytest.raises(ConfigurationError, match="one was expected"):
        infer_rate(given, MODEL, over=("x", "y", "t"), treatment=TREATMENT)
    with pytest.raises(ConfigurationError, match="for one image"):
        infer_rate(given.isel(t=0, drop=True), MODEL, treatment=TREATMENT)


def test_time_rows_of_step():
    """Integrals of a step are exact between frames, and those of the constant are those of the frames."""
    times = np.arange(7.0)
    rows = time_rows(times, 20, lambda t: np.where(t < 2.25, 0.0, 1.0))
    assert rows.weights[0].sum() == pytest.approx(3.75)
    flat = time_rows(times, 20)
    np.testing.assert_allclose(flat.weights[..., 0], flat.hold)


def test_registration_of_moving_nucleus(movie, moving):
    """Frames at rest are those of a nucleus that never moved, to within their noise."""
    image, mask = moving
    rest, still = at_rest(image, mask)
    truth = filmed(movie, counts=1e6, background=0.0)[0] / 1e6
    exact = truth.interp(x=rest["x"], y=rest["y"])
    fade = np.exp(-1e-3 * rest["t"])
    error = ((rest - 20.0) / (300.0 * fade) - exact).where(still)
    noise = np.sqrt(exact * 300 * fade + 20) / (300 * fade)
    assert float(np.sqrt(((error / noise) ** 2).mean())) < 1.5
    unmoved = ((image - 20.0) / (300.0 * fade) - truth).isel(t=-1).where(still)
    assert float(np.sqrt((unmoved**2).mean())) > 3 * float(np.sqrt((error.isel(t=-1) ** 2).mean()))


def test_registration_refuses_another_nucleus(moving):
    """A frame of another shape is named."""
    image, mask = moving
    other = mask.copy(data=mask.values.copy())
    other[:, : other.sizes["y"] // 2, 5] = False
    with pytest.raises(DataError, match="nucleus of frame 6"):
        at_rest(image, other)


def test_bleaching_before_treatment(moving):
    """The decay is that of the dye; a treatment needs frames before it."""
    image, mask = moving
    rest, still = at_rest(image, mask)
    found = fitted(rest - 20.0, still, TREATMENT)
    assert found.rate == pytest.approx(1e-3, rel=0.1)
    assert found.factor(np.array([0.0, 100.0])) == pytest.approx([1.0, np.exp(100 * found.rate)])
    with pytest.raises(DataError, match="before the treatment"):
        fitted(rest - 20.0, still, 50.0)
    with pytest.raises(DataError, match="above the background"):
        fitted(rest * 0 - 1, still)


def test_tracking_of_crossing_labels():
    """A nucleus keeps its number when frames number it otherwise; a new one gets a new number."""
    labels = np.zeros((30, 12, 3), dtype=int)
    for k, (a, b) in enumerate(((1, 2), (2, 1), (7, 3))):
        labels[2 + k : 8 + k, 2:10, k] = a
        labels[15 - k : 21 - k, 2:10, k] = b
    labels[25:29, 2:10, 2] = 9
    found = tracked(xr.DataArray(labels, dims=("x", "y", "t"))).values
    assert [found[5, 5, k] for k in range(3)] == [1, 1, 1]
    assert [found[18, 5, k] for k in range(3)] == [2, 2, 2]
    assert found[27, 5, 2] == 3


@pytest.mark.parametrize("labelled", [True, False])
def test_moving_nucleus_read_from_files(moving, labelled, tmp_path):
    """Labels of any numbers, or nuclei that are found frame by frame, are one moving nucleus."""
    tifffile = pytest.importorskip("tifffile", reason="images need tifffile")
    image, mask = (a.transpose("t", "y", "x").values for a in moving)
    tifffile.imwrite(tmp_path / "cell.tif", image.astype(np.uint16))
    numbers = 1 + np.arange(len(mask)) % 3
    tifffile.imwrite(tmp_path / "labels.tif", (mask * numbers[:, None, None]).astype(np.uint8))
    settings = StudySettings(
        follow=True, axes="tyx", pixel_size=25.0, frame_interval=40.0,
        labels=(str(tmp_path / "labels.tif"),) if labelled else (),
        detection=NucleusDetection(smoothing=25.0, closing=100.0, min_area=1e5),
    )  # fmt: skip
    (found,) = read_nuclei([tmp_path / "cell.tif"], settings)
    assert isinstance(found, NucleusData)
    assert found.mask.sizes["t"] == len(mask)
    area = found.mask.sum(("x", "y")).values
    np.testing.assert_allclose(area, mask.sum((1, 2)), rtol=0.01 if labelled else 0.15)


def test_settled_bad_input(moving):
    """Localisations and single images cannot be followed."""
    image, mask = moving
    alone = NucleusData("a", "1", "", mask.isel(t=0), (0.0,), (), image.isel(t=0, drop=True))
    with pytest.raises(ConfigurationError, match="for one image"):
        settled(alone, StudySettings(follow=True))
    assert settled(alone, StudySettings()).sample is alone


@pytest.mark.slow
def test_moving_bleaching_treated_nucleus(moving, tmp_path):
    """All together: size within 15 %, delay within one frame, both held by intervals with what is assumed."""
    image, mask = moving
    pure = 270.0
    levels = Thresholds(
        background=20.0, euchromatin=20 + pure, heterochromatin=20 + 5 * pure, euchromatin_water=0.1,
        heterochromatin_water=0.1, two_phases=True,
    )  # fmt: skip
    settings = StudySettings(
        follow=True, bleaching=True, treatment=TREATMENT, thresholds=levels, domains="map", psf_sd=0.0
    )
    times = tuple(image["t"].values.tolist())
    result = analyse_nucleus(NucleusData("a", "1", "", mask, times, (), image), settings)
    n = result.numbers
    assert n["step_size"] == pytest.approx(SIZE, rel=0.15)
    assert n["step_delay"] == pytest.approx(DELAY, abs=40.0)
    assert n["step_size_low"] < SIZE < n["step_size_high"]
    assert n["bleaching"] == pytest.approx(1e-3, rel=0.1)
    assert "delay to its middle" in nucleus_page(result, tmp_path / "page.html").read_text()
