"""Intervals from repeats, whatever the engine, and whether intervals hold what they promise."""

from mollifier.intervals.bootstrap import bootstrap
from mollifier.intervals.calibration import (
    LEVELS,
    Calibration,
    Share,
    calibrate,
    pit,
    rank,
    standardised,
    wilson,
)
from mollifier.intervals.ensemble import ensemble

__all__ = [
    "LEVELS",
    "Calibration",
    "Share",
    "bootstrap",
    "calibrate",
    "ensemble",
    "pit",
    "rank",
    "standardised",
    "wilson",
]
