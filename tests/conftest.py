"""Shared by all tests."""

from __future__ import annotations

from hypothesis import settings

# The same examples in every run, and no time limit for each: machines are shared.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")
