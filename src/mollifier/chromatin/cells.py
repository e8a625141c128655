"""The analysis of one nucleus: fields, map of rates, domains and summary numbers."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from mollifier.chromatin.energy_levels import energy_levels
from mollifier.chromatin.fractions import field_of, fractions
from mollifier.chromatin.infer import KNOWN, ROUNDING, RateMap, infer_rate, interval
from mollifier.chromatin.movies import Settled, settled
from mollifier.chromatin.nucleus_data import NucleusData
from mollifier.chromatin.outline import fitted_outline
from mollifier.chromatin.rasters import edge_distance, last_of
from mollifier.chromatin.resolution import DARK
from mollifier.chromatin.result import NucleusResult
from mollifier.chromatin.sensitivity import sensitivity
from mollifier.chromatin.settings import Levels, StudySettings
from mollifier.chromatin.signals import for_rate, ground_and_mean, signal, two_colours
from mollifier.chromatin.structure import structure
from mollifier.chromatin.treatment import Step
from mollifier.errors import DataError, MollifierError

_RINGS = 8  # Rings of the profile.
# Typical radius of a domain in nm, and the defect of the balance above which it is reported.
_SMALL_DOMAIN = 100.0
_CLOSED = 0.05


def analyse_nucleus(
    sample: NucleusData, settings: StudySettings, levels: tuple[float, float] | None = None
) -> NucleusResult:
    """Fields, rate, domains and numbers of one nucleus; a failure is reported in the result, not raised.

    ``levels`` are those of euchromatin and heterochromatin in units of the nucleus's mean signal, if they are
    common to all cells; by default quantiles of the nucleus.

    Numbers of the result are those of `mollifier.chromatin.page.NUMBERS`; ``gain``, ``change`` and ``defect``
    of the integral balance; ``bleaching`` (1/s); and ``step_size``, ``step_delay`` and ``step_spread`` (s) of
    a treatment, each with ``_sd``, ``_low`` and ``_high`` (95 %, with what is assumed).
    """
    return analyse_fields(sample, settings, levels)[0]


def analyse_fields(
    sample: NucleusData, settings: StudySettings, levels: tuple[float, float] | None = None
) -> tuple[NucleusResult, RateMap | None]:
    """As `analyse_nucleus`, with the map of rates, or None without one."""
    begun = time.perf_counter()
    known, found = NucleusResult(sample.field, sample.name, sample.group), None
    try:
        ready, edge = settled(sample, settings), None
        if settings.outline == "fitted":
            fitted, edge = fitted_outline(ready.sample)
            ready = replace(ready, sample=fitted)
        known, chosen = _with_fields(known, ready.sample, settings, levels)
        if edge is not None:
            # The map begins at the fitted outline.
            assume = replace(settings.assume, outline=edge.sd / known.numbers["resolution"])
            settings = replace(settings, assume=assume, margin=settings.margin or 0.0)
        known, found = _with_rate(known, settings, chosen, ready)
        if edge is not None:
            known = _with_numbers(known, {"outline_offset": edge.value, "outline_sd": edge.sd})
    except Exception as error:
        # Any failure in one nucleus is reported in its row and stops no other.
        known = replace(known, error=_said(error))
    return _with_numbers(known, {"seconds": time.perf_counter() - begun}), found


def _with_numbers(known: NucleusResult, numbers: dict[str, float]) -> NucleusResult:
    return replace(known, numbers=known.numbers | numbers)


def _with_fields(
    known: NucleusResult, sample: NucleusData, s: StudySettings, levels: tuple[float, float] | None
) -> tuple[NucleusResult, Levels]:
    """Volume fractions and domains, and the levels as they were given or fitted."""
    chosen = Levels(s.thresholds)
    if sample.euchromatin is not None:
        value, chosen = two_colours(sample, s)
    else:
        value = signal(sample, s)
    if s.levels == "energy":
        chosen = energy_levels(sample, s, float(value.attrs.get("kernel_width", math.nan)))
    elif levels is not None:
        ground, mean = ground_and_mean(value, sample.mask, s.thresholds)
        e, h = (ground + mean * r for r in levels)
        chosen = Levels(replace(s.thresholds, background=ground, euchromatin=e, heterochromatin=h))
    phi = fractions(value, sample.mask, thresholds=chosen.thresholds, psf_sd=s.psf_sd)
    image = field_of(value)
    shown = image.reindex_like(phi, method="nearest", tolerance=1.0).where(phi["phi_h"].notnull())
    phi = phi.assign(signal=shown.assign_attrs(image.attrs).drop_vars("z", errors="ignore"))
    last = last_of(phi["phi_h"])
    resolution = float(phi.attrs["resolution"])
    tables, found, attrs = structure(sample, s, last, resolution)
    pixel = float(last["x"][1] - last["x"][0])
    numbers: dict[str, float] = {
        "area": float(last.notnull().sum()) * pixel**2 / 1e6,
        "pixel": pixel,
        "resolution": resolution,
        "frames": phi.sizes.get("t", 1),
        "phi_h": float(phi["phi_h"].mean()),
        **({"molecules": float(phi.attrs["molecules"])} if sample.frames else {}),
        **found,
    }
    phi.attrs |= attrs
    notes = _resolved(phi, s, last, sample)
    parts: dict[str, Any] = {"fields": phi, "numbers": numbers, **tables}
    return replace(known, notes=notes, **parts), chosen


def _resolved(phi: xr.Dataset, s: StudySettings, last: xr.DataArray, sample: NucleusData) -> tuple[str, ...]:
    """Notes on what is not resolved, and on how much of the nucleus exceeds the level of heterochromatin."""
    resolution = float(phi.attrs["resolution"])
    notes = [str(phi.attrs["note"])]
    if depth := next((f.depth for f in sample.frames if f.depth), ""):
        notes.append(f"Positions along z, {depth}, are projected: the map is that of the whole depth.")
    if DARK in str(phi.attrs.get("repeats", "")):
        notes.append(
            f"Molecules are localised again {DARK}, and these repeats are not merged: densities vary more "
            "than their errors by noise say, and so does lam. Merge them over dark frames in the program "
            "that localised them."
        )
    if resolution > _SMALL_DOMAIN:
        notes.append(
            f"Domains of {_SMALL_DOMAIN:.0f} nm are below this image's resolution ({resolution:.0f} nm): "
            "what is called a domain here is a place with many of them."
        )
    if s.model.length < resolution:
        notes.append(
            f"The diffusion length of the model, {s.model.length:.0f} nm, is below the resolution of "
            f"{resolution:.0f} nm: transport over shorter distances is not resolved, and the rate is an "
            "average over the blur."
        )
    packed = 1 - phi.attrs["threshold_heterochromatin_water"]
    full = float((last > packed - ROUNDING).where(last.notnull()).mean())
    if full > 0.01:
        notes.append(
            f"{full:.0%} of the nucleus is at or above the level of heterochromatin, where no "
            "euchromatin is left to methylate: lam is undetermined there."
        )
    return tuple(notes)


def _with_rate(
    known: NucleusResult, s: StudySettings, chosen: Levels, ready: Settled
) -> tuple[NucleusResult, RateMap | None]:
    """The map of rates, its numbers, and notes on them."""
    assert known.fields is not None
    phi = for_rate(known.fields)
    gone = phi["phi_e"].sum().item()
    balance = float(phi["phi_h"].sum()) / gone if gone > 0 else math.nan
    known = _with_numbers(known, {"rate_balance": balance})
    notes = list(known.notes)
    if "t" not in phi["phi_d"].dims:
        notes.append(
            "One still image: the map assumes a steady state, and lam is a ratio of two rates. A still image "
            "does not determine how fast marks are added and removed, or whether anything changes in time."
        )
    margin = s.margin if s.margin is not None else float(phi.attrs["resolution"])
    mapped = _mapper(phi, s, ready)
    try:
        found = mapped(margin)
        assumed, inner = _assumed(found, mapped, margin, phi, s, chosen)
    except Exception as error:
        # Fields and domains are valid without a map of rates.
        return replace(known, notes=tuple(notes), error=f"No map of rates: {_said(error)}"), None
    d = found.dataset
    share = float((d["identifiability"] < KNOWN).where(d["mask"]).mean())
    known = _with_numbers(known, _rate_numbers(found, assumed, ready) | {"identified": share})
    if not inner:
        notes.append("The nucleus is too narrow for a smaller outline: errors leave out that of the outline.")
    notes += _doubts(found, share)
    sd: xr.DataArray = (d["lam_sd"] ** 2 + assumed["lam_assumed_sd"] ** 2) ** 0.5
    whole = d.assign(lam_assumed_sd=assumed["lam_assumed_sd"]).assign(interval(d["lam"], sd))
    parts = {
        "rate": whole.assign_attrs({"balance": found.balance, "status": str(found.status)}),
        "profile": rate_profile(d),
        "sensitivity": assumed[["level", "pattern", "step", "sd"]],
    }
    return replace(known, notes=tuple(notes), **parts), found


def _mapper(phi: xr.Dataset, s: StudySettings, ready: Settled) -> Callable[[float], RateMap]:
    """The map of rates of the pixels that are farther from the outline than a distance in nm."""
    given = phi[["phi_d", "phi_d_sd", "phi_n"]].drop_attrs(deep=False)
    inside = given["phi_d"].notnull().all([d for d in given["phi_d"].dims if d == "t"])
    depth = edge_distance(inside)
    given.attrs = {n: phi.attrs[n] for n in ("noise_area",) if n in phi.attrs}
    if s.follow or s.bleaching:
        given = given.assign(ready.errors(phi, s.assume.position))

    def mapped(beyond: float) -> RateMap:
        mask = depth > beyond if beyond else inside
        return infer_rate(given.assign(mask=mask), s.model, s.over, s.prior, s.quick, s.treatment)

    return mapped


def _rate_numbers(found: RateMap, assumed: xr.Dataset, ready: Settled) -> dict[str, float]:
    """The mean of lam with its errors, the balance, the fading and the step."""
    mean, error = found.mean(found.weight) if float(found.weight.sum()) > 0 else (math.nan, math.nan)
    beyond = assumed.attrs["rate_sd"]
    numbers = {
        "rate": mean,
        "rate_total_sd": math.hypot(error, beyond),
        "rate_sd": error,
        "rate_assumed_sd": beyond,
        **{n: found.balance[n] for n in ("gain", "change", "defect")},
    }
    if ready.bleaching is not None:
        numbers |= {"bleaching": ready.bleaching.rate, "bleaching_sd": ready.bleaching.sd}
    if found.step is not None:
        step = replace(found.step, sd=np.hypot(found.step.sd, assumed.attrs["step_sd"]))
        numbers |= step_numbers(step, found.step.found)
    return numbers


def _assumed(
    found: RateMap,
    mapped: Callable[[float], RateMap],
    margin: float,
    phi: xr.Dataset,
    s: StudySettings,
    chosen: Levels,
) -> tuple[xr.Dataset, bool]:
    """The dependence of the map on what is assumed, and whether that on the outline is known."""
    sd, pixel = s.assume.outline * float(phi.attrs["resolution"]), float(phi["x"][1] - phi["x"][0])
    inner = None
    # The change by one pixel is extrapolated where the nucleus is too narrow for a larger one.
    for step in dict.fromkeys((max(sd, pixel), pixel)) if sd else ():
        try:
            inner = mapped(margin + step), step / sd
            break
        except DataError:
            continue
    return sensitivity(found, s.model, s.assume, chosen, phi, inner), inner is not None or not sd


def step_numbers(step: Step, known: bool) -> dict[str, float]:
    """Size, delay and spread with errors and intervals; only the size where there may be no step."""
    return {
        f"step_{name}{end}": value if known or name == "size" else math.nan
        for name, quantity in step.quantities.items()
        for end, value in zip(("", "_sd", "_low", "_high"), quantity, strict=True)
    }


def _doubts(found: RateMap, share: float) -> list[str]:
    """Notes on what speaks against the map."""
    notes = []
    if share < 1:
        notes.append(
            f"lam is not identified in {1 - share:.0%} of the nucleus: its standard error there is close "
            "to that of the prior, as where phi_e vanishes. Those pixels are hatched and left out of means."
        )
    if found.step is not None and not found.step.found:
        notes.append(
            "No change of lam after the treatment exceeds its error by noise: when it happened is not known."
        )
    if abs(found.balance["defect"]) > _CLOSED:
        notes.append(
            f"The integral balance does not close: {found.balance['defect']:+.1%} of the loss. It closes "
            "exactly without flux through the edge; smoothing, the prior and bounds of the map leave a "
            "defect."
        )
    status = found.status
    if status.name != "converged":
        notes.append(f"The map is {status}." if status.name == "undetermined" else f"There is a {status}.")
    return notes


def rate_profile(rate: xr.Dataset, rings: int = _RINGS) -> pd.DataFrame:
    """Rate against distance from the nuclear edge, in rings of even width, from `RateMap.dataset`.

    Columns are ``distance`` (middle of the ring, nm), ``rate`` (mean over identified pixels), ``spread``
    (standard deviation over them), ``rate_sd`` (median standard error), ``identified`` (share), ``pixels``;
    and ``t`` (s) for a rate that varies in time.
    """
    distance, inside = edge_distance(rate["mask"].astype(bool)).values, rate["mask"].values.astype(bool)
    edges = np.linspace(0.0, float(distance.max()), rings + 1)
    ring = pd.Categorical((np.searchsorted(edges, distance[inside]) - 1).clip(0, rings - 1), range(rings))
    tables = []
    for now in (rate.isel(t=k) for k in range(rate.sizes["t"])) if "t" in rate["lam"].dims else [rate]:
        fields = {n: now[n].transpose("x", "y").values[inside] for n in ("lam", "lam_sd", "identifiability")}
        pixels: Any = pd.DataFrame(fields)
        known = pixels["identifiability"] < KNOWN
        seen, share = (table.groupby(ring, observed=False) for table in (pixels.where(known), known))
        columns = {"t": float(now["t"])} if "t" in rate["lam"].dims else {}
        columns |= {"distance": (edges[1:] + edges[:-1]) / 2, "rate": seen["lam"].mean()}
        columns |= {"spread": seen["lam"].std(ddof=0), "rate_sd": seen["lam_sd"].median()}
        columns |= {"identified": share.mean().fillna(0.0), "pixels": share.size()}
        tables.append(pd.DataFrame(columns))
    return pd.concat(tables, ignore_index=True)


def _said(error: BaseException) -> str:
    return str(error) if isinstance(error, MollifierError) else f"{type(error).__name__}: {error}"
