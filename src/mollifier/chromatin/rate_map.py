"""A map of the rate with its standard errors."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr

from mollifier.chromatin.galerkin import RateEstimate
from mollifier.chromatin.model import RATE
from mollifier.chromatin.modes import Modes
from mollifier.chromatin.series import FieldSeries
from mollifier.chromatin.treatment import Step
from mollifier.mollify.distributions import normal_upper
from mollifier.problem.solution import Solution
from mollifier.problem.status import Status

# Ratio of posterior to prior standard deviation below which a pixel is identified.
KNOWN = 0.5


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
