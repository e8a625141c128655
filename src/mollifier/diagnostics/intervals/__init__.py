"""Intervals from repeats, and their calibration."""
