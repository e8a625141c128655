"""The joint engine: states and unknowns together, as values at the kernel's nodes, without networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from mollifier.data import Observations
from mollifier.engines.joint_spline import values_maker
from mollifier.engines.joint_stages import Joint, Smoothing
from mollifier.engines.linearise import Linearisation
from mollifier.engines.network import prepare, run_stages
from mollifier.engines.objective import Objective
from mollifier.engines.runner import Progress
from mollifier.engines.stages import Stage
from mollifier.problem import InverseProblem
from mollifier.settings import Settings
from mollifier.solution import Solution


def solve_joint(
    problem: InverseProblem,
    settings: Settings,
    seed: int = 0,
    progress: Callable[[Progress], None] | None = None,
    folder: Path | None = None,
    resume: bool = False,
) -> Solution:
    """Solve for states and unknowns together."""

    def start() -> tuple[Objective, Sequence[Stage], Observations | None]:
        objective, held = prepare(problem, settings, seed, None, values_maker(None))
        linearisation = Linearisation(objective)
        stages: list[Stage] = [
            Smoothing(objective, linearisation),
            Joint(objective, settings.training.steps or 100, settings.training.tolerance, linearisation),
        ]
        return objective, stages, held

    return run_stages("joint", start, problem, settings, seed, progress, folder, resume, {})
