"""What a run is identified by, and what its solution records of how it was made."""

from __future__ import annotations

import platform
from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel

from mollifier._version import __version__
from mollifier.engines.collocated.objective import Objective
from mollifier.engines.collocated.settings import CollocatedSettings
from mollifier.problem.inverse_problem import InverseProblem


def fingerprint(problem: InverseProblem, settings: BaseModel, seed: int) -> dict[str, Any]:
    """What a resumed run must have in common with the interrupted one, as plain values."""
    return problem.described | {
        "settings": settings.model_dump(
            mode="json", exclude={"training": {"time_limit", "checkpoint_every", "checkpoint_steps", "steps"}}
        ),
        "seed": seed,
    }


def provenance(
    problem: InverseProblem, settings: CollocatedSettings, seed: int, objective: Objective
) -> dict[str, Any]:
    c = objective.model.collocation
    return fingerprint(problem, settings, seed) | {
        "settings": settings.model_dump(mode="json"),
        "versions": {"mollifier": __version__, "torch": torch.__version__, "numpy": np.__version__},
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
        "device": str(objective.sizes.device),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "collocation": {
            "nodes": dict(zip(c.grid.names, c.grid.shape, strict=True)),
            "radius": dict(c.radius),
            "kernel": repr(c.kernel),
            "left_out": c.left_out,
        },
        "parameters": sum(p.numel() for p in objective.model.parameters()),
        "noise": {f: problem.data.noise_sd(f) for f in problem.fields},
    }
