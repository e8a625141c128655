"""A nucleus with known rates: simulated, imaged as localisations, inferred, and compared with the truth."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import xarray as xr

from mollifier.chromatin.cells import analyse_fields
from mollifier.chromatin.fractions import Thresholds
from mollifier.chromatin.infer import KNOWN
from mollifier.chromatin.localizations import Localizations
from mollifier.chromatin.model import ChromatinModel
from mollifier.chromatin.nucleus_data import NucleusData
from mollifier.chromatin.page import nucleus_page
from mollifier.chromatin.rasters import pixel_spacing
from mollifier.chromatin.settings import StudySettings
from mollifier.chromatin.simulate import chromatin_density, localizations, nucleus, rate_pattern, simulate
from mollifier.diagnostics.scores import compare
from mollifier.errors import DataError
from mollifier.io.draws import Rng

# Diameter in nm, pixels, frames, seconds between them, and labels in each; frames and labels of a quick run.
_DIAMETER, _PIXELS, _FRAMES, _INTERVAL, _LABELS = 1400.0, 112, 4, 80.0, 1e6
_QUICK = 2, 5e5
# Relative density of DNA in heterochromatin, and the localisation precision in nm.
_COMPACTION, _PRECISION = 5.0, 8.0


def demo(
    folder: Path, rng: Rng = 0, progress: Callable[[Any], None] | None = None, quick: bool = False
) -> tuple[Any, xr.Dataset, dict[str, Any]]:
    """Rates of chromatin marks from a simulated time-lapse of localisations.

    The localisations of each frame are written as ``frame_1.csv`` and so on, and ``nucleus.html`` shows the
    truth next to the estimate. The levels of the two phases are known here, as from a calibration.

    ``rng`` is the seed or generator of the shape, the rate and the localisations; a ``quick`` run has fewer
    frames and labels; ``progress`` is not called, as the solve has no steps. Returns the solution, the truth,
    and scores over the pixels that the map marks as identified and over the whole nucleus.
    """
    model, frames, labels = ChromatinModel(), _FRAMES, _LABELS
    if quick:
        frames, labels = _QUICK
    mask = nucleus(_DIAMETER, _PIXELS, rng=rng)
    rate = rate_pattern(mask, "patches", level=0.6, contrast=0.3, rng=rng)
    times = [_INTERVAL * k for k in range(frames)]
    movie = simulate(model, mask, rate, times, before=900.0, rng=rng)
    sample, levels = imaged(movie, labels, rng, folder)
    settings = StudySettings(
        width=3 * _PRECISION, thresholds=levels, model=model, merge=False, quick=quick, margin=0.0
    )
    result, found = analyse_fields(sample, settings)
    if found is None or result.rate is None:
        raise DataError(result.error)
    result.save(folder / "nucleus")
    exact = rate.interp(x=result.rate["x"], y=result.rate["y"], kwargs={"fill_value": None})
    nucleus_page(result, folder / "nucleus.html", model, exact)
    lam, inside = result.rate["lam"].transpose("x", "y"), result.rate["mask"] > 0
    known = {"where identified": inside & (result.rate["identifiability"] < KNOWN), "everywhere": inside}
    scores = {f"lam, {n}": compare(lam, exact.where(k)) for n, k in known.items() if bool(k.any())}
    return found.solution, xr.Dataset({"lam": rate}), scores


def imaged(
    movie: xr.Dataset, labels: float, rng: Rng, folder: Path | None = None
) -> tuple[NucleusData, Thresholds]:
    """Localisations of every frame of a simulated movie, and the levels of its phases, as calibrated.

    ``labels`` is their mean number in a frame; with a folder they are written as ``frame_1.csv`` and so on.
    """
    detection = 0.7
    table = localizations(movie, labels, _COMPACTION, detection, _PRECISION, rng=rng)
    seen = []
    for _, part in table.groupby("frame"):
        seen.append(Localizations(*part[["x", "y"]].to_numpy().T, precision=part["uncertainty"].to_numpy()))
        if folder is not None:
            seen[-1].save(folder / f"frame_{len(seen)}.csv")
    share = chromatin_density(movie, _COMPACTION).isel(t=0)
    # Each phase holds the simulated nucleoplasm, which is even.
    water = float(movie["phi_n"].mean())
    pure = labels * detection / (float(share.sum()) * pixel_spacing(movie["mask"]) ** 2) * (1 - water)
    levels = Thresholds(
        background=0.0, euchromatin=pure, heterochromatin=_COMPACTION * pure, euchromatin_water=water,
        heterochromatin_water=water, two_phases=True,
    )  # fmt: skip
    times = tuple(movie["t"].values.tolist())
    mask = movie["mask"].astype(bool)
    return NucleusData("demo", "1", "", mask, times, tuple(seen)), levels
