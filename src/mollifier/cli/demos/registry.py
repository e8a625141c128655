"""Demonstrations by name: each makes its data, solves, and scores the answer against the truth."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mollifier.chromatin import demo as chromatin
from mollifier.cli.demos import heat

DEMOS: dict[str, Callable[..., Any]] = {"heat": heat.demo, "chromatin": chromatin.demo}
