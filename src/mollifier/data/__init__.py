"""Measured fields: `Observations`, the readers of files, and the estimate of noise."""

from mollifier.data.noise import estimate_noise
from mollifier.data.observations import Observations, Samples
from mollifier.data.readers import read

__all__ = ["Observations", "Samples", "estimate_noise", "read"]
