"""Whether the data determine what a run of states and unknowns found."""

from __future__ import annotations

import numpy as np
import torch

from mollifier.engines.collocated.laplace import Laplace
from mollifier.engines.collocated.model import Model
from mollifier.engines.identifiability.information import free_numbers
from mollifier.engines.identifiability.structure import undetermined_by_structure
from mollifier.engines.identifiability.undetermined import (
    THRESHOLDS,
    Direction,
    because,
    listed,
    lost_field,
    undetermined_places,
)
from mollifier.problem.status import Status

# The profile is taken at a value so many times smaller, if that is so many standard errors away.
_ASIDE, _LIKELY = 10.0, 3.0
# States that are fitted to noise give the likelihood many narrow peaks of about one height: a value far away
# is worse by less than these shares of what the standard error predicts, and of the number of samples.
_FLAT, _PER_SAMPLE = 0.01, 0.1


# Ends of a run whose values are no more than where it was.
_CUT_SHORT = ("interrupted", "time limit", "non-finite loss")


def judged(status: Status, model: Model, laplace: Laplace | None) -> tuple[Status, set[str]]:
    """The status of a run, `undetermined` where the data do not determine its answer, and the free numbers.

    The terms of the equation are judged wherever a run ended, its likelihood only where it settled.

    Parameters
    ----------
    status
        Why the run ended.
    model
        Where it ended.
    laplace
        Standard errors, if the engine has them.
    """
    if status.name in _CUT_SHORT:
        return status, set()
    free = _free_directions(model)
    why = undetermined_by_structure(model.problem) or because(free, model.problem.system.linear_in)
    if not why and laplace is not None and laplace.stage.finished:
        why = undetermined_posterior(laplace)
    names = {n for direction in free for n in direction.change}
    return Status("undetermined", why) if why else status, names


def _free_directions(model: Model) -> list[Direction]:
    """Changes of numbers that the equation's terms do not show, at the model's values."""
    levels = model.values()
    with torch.no_grad():
        levels |= {n: float(b()[0][n].mean()) for n, b in model.unknown_blocks.items()}
    return free_numbers(model.problem, model.collocation.features, levels)


def undetermined_posterior(laplace: Laplace) -> str:
    """Why the likelihood leaves unknowns undetermined where a run settled; empty where it does not."""
    loose = [n for n, ratio in laplace.posterior_ratio().items() if not ratio < THRESHOLDS.ratio]
    if loose:
        return f"the data do not determine {listed(loose)}: other values fit as well when the rest follows"
    if why := _flat_profile(laplace):
        return why
    for name, sd in laplace.fields().items():
        value = laplace.model.unknown_blocks[name]()[0][name].detach().numpy().ravel()
        without = np.full(value.shape, np.inf)
        lost = float(np.mean(undetermined_places(value, sd.ravel(), sd.ravel(), without)))
        if lost > THRESHOLDS.mostly:
            return lost_field(name, lost)
    return ""


def _flat_profile(laplace: Laplace) -> str:
    """A number whose likelihood is as high far away: standard errors are of the linearised problem.

    Raue et al., Bioinformatics 25:1923, 2009.
    """
    sds = laplace.scalars()
    for name, value in laplace.model.values().items():
        other, sd = value / _ASIDE, sds[name] or np.inf
        if abs(other - value) > _LIKELY * sd and laplace.model.problem.scalars[name].admits(other):
            worse = laplace.stage.profile(name, other)
            if worse is None:
                return ""
            predicted = ((other - value) / sd) ** 2
            chance = worse < _FLAT * predicted and worse < _PER_SAMPLE * laplace.stage.objective.count
            if worse < _LIKELY**2 or chance:
                return (
                    f"{name} = {other:.3g} fits nearly as well as {name} = {value:.3g} (minus twice the "
                    f"log-likelihood differs by {worse:.2g}): the data do not determine it"
                )
    return ""
