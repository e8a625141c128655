"""The command `mollifier chromatin plan`: what a planned comparison of cells can find."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

from mollifier.cli.options import option
from mollifier.cli.terminal import Terminal


def _part(text: str) -> Any:
    return option(f"{text}, as a part of the control mean.", "PART")


def plan(
    terminal: Terminal,
    cells: Annotated[int, option("Cells in each replicate of a group.", min=1)] = 10,
    replicates: Annotated[int, option("Replicates of each group.", min=1)] = 1,
    difference: Annotated[float, _part("Difference of the group means")] = 0.3,
    sd_cells: Annotated[float | None, _part("Standard deviation between cells (0.15)")] = None,
    sd_replicates: Annotated[float | None, _part("Standard deviation between replicates (0)")] = None,
    sd_dishes: Annotated[
        float | None, _part("Standard deviation between the dishes of a replicate (0)")
    ] = None,
    paired: Annotated[bool, option("Every replicate holds both groups.")] = False,
    comparisons: Annotated[int, option("Quantities that are compared.", min=1)] = 1,
    pilot: Annotated[
        Path | None, option("An earlier study, which gives what is not set.", "CELLS.csv")
    ] = None,
    quantity: Annotated[str, option("Column of the pilot.")] = "rate",
    control: Annotated[str | None, option("Of the pilot; by default all cells.", "GROUP")] = None,
    draws: Annotated[int, option("Simulated studies.", min=20)] = 500,
    seed: Annotated[int, option("Seed of the draws.", min=0)] = 0,
) -> int:
    """Simulate a planned comparison of treated with control cells: power, and the smallest difference found.

    Each simulated study is compared as measured cells are: by the means of replicates, or by
    Welch's t with one replicate.
    """
    from dataclasses import asdict

    from mollifier.chromatin.plan import USUAL, StudyPlan, power
    from mollifier.data.tables import read_table
    from mollifier.io.files import require_file

    given: dict[str, Any] = {
        "cells": cells, "replicates": replicates, "difference": difference, "paired": paired, "comparisons":
        comparisons,
    }  # fmt: skip
    sds = {"sd_cells": sd_cells, "sd_replicates": sd_replicates, "sd_dishes": sd_dishes}
    given |= {name: value for name, value in sds.items() if value is not None}
    if pilot is not None:
        require_file(pilot)
        study = StudyPlan.of(read_table(pilot)[0], quantity, control, **given)
    else:
        study = StudyPlan(**given)
    found = power(study, draws, seed)
    unit = "replicates" if study.replicates > 1 else "cells"
    terminal.say(
        f"Study     {study.replicates} x {study.cells} cells in each of two groups; standard deviation "
        f"{study.sd_cells:.3g} between cells, {study.sd_replicates:.3g} between replicates, "
        f"{study.sd_dishes:.3g} between dishes"
    )
    terminal.say(
        f"Power     {found.power:.0%} ± {found.power_sd:.1%} to find a difference of {study.difference:.3g} "
        f"of the control mean; the sign is right in {found.sign:.0%}; interval ± {found.half_width:.2g}"
    )
    most = f"{found.smallest:.3g}" if math.isfinite(found.smallest) else "none below ten times the mean"
    terminal.say(f"Smallest  {most}: the difference that is found in {USUAL:.0%} of the studies")
    terminal.say(f"Unit      {unit}: more of them narrow the interval", "bold")
    terminal.give({"plan": asdict(study), "power": asdict(found), "unit": unit})
    return 0
