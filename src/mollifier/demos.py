"""Demonstrations by name: each makes its data, solves, and scores itself against the truth."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mollifier.apps.chromatin import demo as chromatin
from mollifier.bench import heat

DEMOS: dict[str, Callable[..., Any]] = {"heat": heat.demo, "chromatin": chromatin.demo}
