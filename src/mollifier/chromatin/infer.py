"""From volume fractions in a nucleus to its map of rates.

The equation is projected on eigenfunctions with no flux across the edge (`mollifier.chromatin.modes`), and
the rate is estimated from the projections (`mollifier.chromatin.galerkin`).
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr

from mollifier._version import __version__
from mollifier.chromatin.galerkin import ProjectedEquation, RateEstimate, estimate, smoothed
from mollifier.chromatin.model import RATE, ChromatinModel
from mollifier.chromatin.modes import FieldSeries, Modes, modes
from mollifier.chromatin.rasters import edge_distance, signed_depth
from mollifier.chromatin.treatment import Step, estimate_step
from mollifier.data.observations import Observations
from mollifier.errors import ConfigurationError, DataError
from mollifier.mollify.arrays import Array
from mollifier.mollify.distributions import normal_upper
from mollifier.mollify.grid import Axis
from mollifier.problem.solution import Solution
from mollifier.problem.status import Status

ROUNDING = 1e-9  # Below it a volume fraction is zero.
KNOWN = 0.5  # Ratio of posterior to prior standard deviation below which a pixel is identified.


def interval(lam: xr.DataArray, sd: xr.DataArray) -> dict[str, xr.DataArray]:
    """``lam_low`` and ``lam_high``, the ends of the 95 % interval; none is negative."""
    half = normal_upper(0.025) * sd
    return {"lam_low": (lam - half).clip(min=0.0), "lam_high": lam + half}


@dataclass(frozen=True, eq=False)
class RateMap:
    """A map of lam = Gamma_me/Gamma_ac with its standard errors."""

    #: Over the pixels of the nucleus, NaN elsewhere: ``lam``, ``lam_sd``, ``lam_low`` and ``lam_high`` (95
    #: %), ``phi_e``, and ``identifiability``: the ratio of posterior to prior standard deviation, for a prior
    #: as wide as the median of lam. Near 0 the data determine lam; near 1, as where phi_e vanishes, they do
    #: not.
    dataset: xr.Dataset
    status: Status  #: Of the whole nucleus.
    #: ``gain`` = integral of lam phi_e, ``loss`` = integral of phi_h, ``change`` = half the growth of the
    #: integral of phi_d, each over area and time and in units of ``loss``, and ``defect``, ``gain - loss -
    #: change``: zero where no flux crosses the edge.
    balance: dict[str, float]
    found: RateEstimate  #: Coefficients of the rate and their covariance.
    #: Fields and test functions that it was estimated from.
    series: FieldSeries
    modes: Modes
    provenance: dict[str, Any]  #: Model, test functions, prior, seconds.
    step: Step | None = None  #: Size, delay and spread of the change after a treatment, if one was given.

    @property
    def weight(self) -> xr.DataArray:
        """phi_e on the identified pixels, and 0 elsewhere: the weight of a nucleus's mean."""
        d = self.dataset
        return d["phi_e"].where(d["identifiability"] < KNOWN).fillna(0.0)

    def mean(self, weight: xr.DataArray) -> tuple[float, float]:
        """Mean of lam, weighted over the dims of the dataset, and its standard error with all covariances."""
        inside = self.dataset["mask"].values.astype(bool)
        values = weight.transpose("x", "y", ...).values[inside].reshape(int(inside.sum()), -1)
        frames = len(self.found.time.functions)
        values = values if values.shape[1] == frames else np.repeat(values / frames, frames, axis=1)
        return self.found.mean(values / values.sum())

    @cached_property
    def solution(self) -> Solution:
        """The map as a `Solution`, in nm and s."""
        kept = self.dataset[[RATE, f"{RATE}_sd"]]
        none = xr.Dataset(coords={"observation": np.arange(0)})
        return Solution(
            self.status, {}, kept, none, xr.Dataset(coords={"step": np.arange(0)}), self.provenance
        )


# Fewest pixels across a nucleus, the shortest wavelength of a test function in units of the diffusion length
# (shorter ones see single domains and their blur), and the most test functions of a quick map.
_LEAST, _WAVE, _FEW = 16.0, 1.5, 40
_MISFIT = 2.0  # Residuals, in units of the noise, that are a misfit.
_OPEN = 0.2  # Defect of the integral balance, relative to the loss, above which the map is a misfit.
# Shares of the nucleus without an answer that make a map undetermined, and that are reported.
_MOSTLY, _PARTLY = 0.5, 0.1
# Share of the nucleus without euchromatin above which the map is a misfit: levels by quantiles leave a tenth.
_FULL = 0.3


def infer_rate(
    fields: xr.Dataset,
    model: ChromatinModel,
    over: Sequence[str] = ("x", "y"),
    prior: str = "h2",
    quick: bool = False,
    treatment: float | None = None,
) -> RateMap:
    """lam over a nucleus, from one image, a pair of frames, or a time-lapse.

    ``fields`` hold ``phi_d`` over x, y (nm, square pixels) and, unless the image is a still one, t (s);
    ``phi_n`` over some of these; ``phi_d_sd``, the standard error of each value, estimated from the
    differences of neighbours where it is missing; ``mask`` (x, y), by default the pixels where phi_d is
    finite. Pixels that are NaN in any frame are left out. The attribute ``noise_area`` (nm^2), where there is
    one, is that of `mollifier.chromatin.density`: by default errors of pixels are independent.
    ``phi_d_drift``, ``phi_n_drift``, ``phi_d_shaken`` and ``phi_n_shaken`` are as in
    `mollifier.chromatin.movies.Settled.errors`.

    The model is in nm and s. Its parameters are assumed, and lam depends on them: intervals take them as
    exact, and `mollifier.chromatin.sensitivity.sensitivity` gives the error by what is assumed. The rate
    varies ``over`` ("x", "y"), or ("x", "y", "t"), with a ``prior`` as in `mollifier.FieldUnknown`. After the
    time of a ``treatment`` in s it changes everywhere by one factor, with a delay and a spread that are
    estimated (`RateMap.step`), and does not vary in time otherwise. A ``quick`` map has fewer test functions,
    of longer wavelength.

    Raises `DataError` if a variable or coordinate is missing, pixels are not square, or the nucleus is too
    narrow; `ConfigurationError` if the rate varies over t and there is one image only or a treatment, or
    there are too few frames before or after the treatment.

    >>> from mollifier.chromatin.simulate import with_noise
    >>> from mollifier.chromatin.simulate import nucleus
    >>> from mollifier.chromatin.simulate import simulate
    >>> movie = simulate(ChromatinModel(), nucleus(1000.0, 50), 0.6, [0.0, 100.0], before=300.0)
    >>> found = infer_rate(with_noise(movie, 0.02), ChromatinModel())
    >>> found.status.name, bool(abs(found.dataset["lam"].mean() - 0.6) < 0.05)
    ('converged', True)
    """
    begun = time.perf_counter()
    data, timed = _checked(fields), "t" in over or treatment is not None
    still = "t" not in data["phi_d"].dims
    if "t" in over and treatment is not None:
        raise ConfigurationError(
            "--in-time (over=('x', 'y', 't')) and --treatment (treatment=...) were given; one was "
            "expected: a rate that varies freely in time, or one that changes once."
        )
    if timed and still:
        raise ConfigurationError(
            "A rate that varies in time (--in-time or --treatment; over=('x', 'y', 't') or treatment=...) "
            "was given for one image; several frames were expected."
        )
    series, axes = _series(data, fields.attrs.get("noise_area"))
    waves = modes(
        data["mask"].values, axes[0].spacing, _WAVE * model.length, **({"most": _FEW} if quick else {})
    )
    rows, step = ProjectedEquation(series, waves, axes if "t" in over else axes[:2], model, prior), None
    if treatment is None:
        found = estimate(rows)
    else:
        found, step = estimate_step(rows, treatment)
    kept = _map(found, series, data, timed)
    balance = _balance(kept, data, model)
    provenance = {
        "engine": "galerkin", "equation": [model.scaled().equation(still)],
        "unknowns": [RATE], "fields": ["phi_d"], "modes": len(waves.values), "shortest": waves.shortest,
        "frames": len(series.times), "prior": found.prior.described(),
        "misfit": found.misfit, "effective_parameters": found.effective_parameters,
        "model": dataclasses.asdict(model),
        "versions": {"mollifier": __version__, "numpy": np.__version__},
        "seconds": time.perf_counter() - begun,
    }  # fmt: skip
    status = _status(found, kept, balance["defect"], still)
    return RateMap(kept, status, balance, found, series, waves, provenance, step)


def _checked(given: xr.Dataset) -> xr.Dataset:
    """The fields on the smallest box around the nucleus; ``mask`` is true where all of them are known."""
    missing = [v for v in ("phi_d", "phi_n") if v not in given]
    if missing or not {"x", "y"} <= set(given["phi_d"].dims):
        raise DataError(
            f"The fields hold {', '.join(map(str, given.data_vars))}; phi_d and phi_n over x, y and, for a "
            "series, t were expected."
        )
    data = given.transpose("x", "y", "t", ..., missing_dims="ignore")
    known: xr.DataArray = data["phi_d"].notnull() & data["phi_n"].notnull()
    if "phi_d_sd" in data:
        known = known & (data["phi_d_sd"] > 0)
    if "t" in known.dims:
        known = known.all("t")
    if "mask" in data:
        known = known & (data["mask"] > 0)
    data = data.assign(mask=known)
    wide = 2 * max(float(signed_depth(np.pad(known.values, 1)).max()), 0.0)
    if wide < _LEAST:
        raise DataError(
            f"The nucleus is {wide:.0f} pixels wide where it is widest; {_LEAST:.0f} or more were expected. "
            "Give an image with smaller pixels, or another mask."
        )
    rows, columns = (np.flatnonzero(known.values.any(axis)) for axis in (1, 0))
    data = data.isel(x=slice(rows[0], rows[-1] + 1), y=slice(columns[0], columns[-1] + 1))
    if "phi_d_sd" not in data:
        seen = data["phi_d"].where(data["mask"])
        sd = Observations.from_dataset(seen.rename("phi_d").to_dataset().drop_attrs()).noise_sd("phi_d")
        data = data.assign(phi_d_sd=xr.full_like(data["phi_d"], sd))
    return data


def _series(data: xr.Dataset, noise_area: float | None) -> tuple[FieldSeries, list[Axis]]:
    """The fields on the pixels of the nucleus, and the axes of the box around it."""
    inside, dims = data["mask"].values, [str(d) for d in data["phi_d"].dims]
    axes = [Axis.from_points(c, data[c].values) for c in dims]
    pixel = axes[0].spacing
    if abs(axes[1].spacing - pixel) > 1e-6 * pixel:
        raise DataError(
            f"Pixels are {pixel:.4g} by {axes[1].spacing:.4g} nm large; square ones were expected."
        )

    def there(name: str) -> Array:
        values = data[name].broadcast_like(data["phi_d"]).transpose(*dims).values[inside]
        return values.reshape(len(values), -1)

    depth = np.maximum(edge_distance(data["mask"]).values[inside], 0.0)
    # Factors of the noise must not be correlated with it.
    variance = np.stack([smoothed(v, inside) for v in there("phi_d_sd").T ** 2], -1)
    series = FieldSeries(
        there("phi_d"),
        variance,
        1 - there("phi_n"),
        axes[2].points if len(axes) > 2 else np.zeros(1),
        depth,
        max(1.0, (noise_area or 0.0) / pixel**2),
    )

    def moved(kind: str) -> tuple[FieldSeries, ...]:
        if f"phi_d_{kind}" not in data:
            return ()
        d, n = (data[f"{name}_{kind}"].transpose(*dims, kind).values[inside] for name in ("phi_d", "phi_n"))
        return tuple(
            replace(series, phi_d=series.phi_d + d[..., k], chromatin=series.chromatin - n[..., k])
            for k in range(d.shape[-1])
        )

    series = replace(series, others=moved("drift"), shaken=moved("shaken"))
    return series, axes


def _map(found: RateEstimate, series: FieldSeries, data: xr.Dataset, timed: bool) -> xr.Dataset:
    """The rate, its intervals and its identifiability on the pixels of the nucleus."""
    inside = data["mask"]
    dims = ("x", "y", "t") if timed else ("x", "y")
    coords = {c: data[c] for c in dims}

    def full(values: Array) -> xr.DataArray:
        whole = np.full([*inside.shape, len(series.times) if timed else 1], np.nan)
        whole[inside.values] = values if timed else values[:, :1]
        return xr.DataArray(whole if timed else whole[..., 0], coords, dims)

    lam, sd = full(np.maximum(found.rate, 0.0)), full(found.sd)
    phi_e = ((1 - data["phi_n"] - data["phi_d"]) / 2).where(inside)
    parts = {
        RATE: lam,
        f"{RATE}_sd": sd,
        **interval(lam, sd),
        "phi_e": phi_e,
        "identifiability": sd / np.hypot(sd, float(lam.median())),
    }
    return xr.Dataset(parts).assign(mask=inside)


def _status(found: RateEstimate, kept: xr.Dataset, defect: float, still: bool) -> Status:
    """The status, from the share of the nucleus with an answer, the balance and the misfit."""
    sd, inside = kept[f"{RATE}_sd"], kept["mask"]
    lost = float((sd > float(kept[RATE].median())).where(inside).mean())
    if lost > _MOSTLY:
        said = f"over {lost:.0%} of the nucleus the standard error of lam exceeds its size"
        return Status("undetermined", said)
    full = float((kept["phi_e"] < ROUNDING).where(inside).mean())
    if full > _FULL:
        return Status(
            "misfit",
            f"the signal leaves no euchromatin in {full:.0%} of the nucleus: the level of heterochromatin is "
            "too low, or molecules were counted more often than where it was measured",
        )
    if not abs(defect) < _OPEN:
        return Status(
            "misfit",
            f"the integral balance is off by {defect:+.0%}: the mask reaches beyond the nucleus, or the "
            "levels are wrong",
        )
    if found.misfit > _MISFIT:
        return Status(
            "misfit",
            f"the residuals are {found.misfit:.2g} times what the noise explains: the model, the levels or "
            "the assumed steady state are wrong. Standard errors were scaled up by it",
        )
    said = ["a steady state is assumed"] if still else []
    said += [f"lam is poorly determined over {lost:.0%} of the nucleus"] if lost > _PARTLY else []
    return Status("converged", "; ".join(said))


def _balance(found: xr.Dataset, data: xr.Dataset, model: ChromatinModel) -> dict[str, float]:
    """Integrals over the nucleus and the time of the data, relative to the integral of phi_h."""
    phi_h = ((1 - data["phi_n"] + data["phi_d"]) / 2).where(data["mask"])
    gain, loss = ((v.mean(("x", "y"))) for v in (found["lam"] * found["phi_e"], phi_h))
    change = 0.0
    if "t" in data["phi_d"].dims:
        total = data["phi_d"].where(data["mask"]).mean(("x", "y"))
        seconds = float(total["t"][-1] - total["t"][0])
        change = float(total[-1] - total[0]) / 2 / seconds / model.acetylation
        gain, loss = (v.integrate("t") / seconds for v in (gain, loss))
    gain, loss = float(gain), float(loss)
    return {
        "gain": gain / loss,
        "loss": 1.0,
        "change": change / loss,
        "defect": (gain - loss - change) / loss,
    }
