"""Shared by all tests."""

from __future__ import annotations

from functools import cache

from hypothesis import settings
from typer import testing

# The same examples in every run, and no time limit for each: machines are shared.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")

# A command is built once; the runner would build it for every call, which takes as long as most calls.
testing._get_command = cache(testing._get_command)
