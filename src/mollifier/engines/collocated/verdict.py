"""Whether the data determine what a run of states and unknowns found."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np

from mollifier.engines.collocated.laplace import Laplace
from mollifier.engines.collocated.model import Model
from mollifier.engines.collocated.spacing import convergence_order
from mollifier.engines.identifiability.information import free_numbers
from mollifier.engines.identifiability.structure import constant_fields, undetermined_by_structure
from mollifier.engines.identifiability.undetermined import (
    RATIO,
    UNDETERMINED_SHARE,
    Direction,
    because,
    listed,
    undetermined_field,
    undetermined_places,
)
from mollifier.problem.status import Status

# The profile is taken at a value so many times smaller, if that is more than so many standard errors away,
# and so many standard errors to either side.
_FAR, _SDS = 10.0, 3.0
# States that are fitted to noise give the likelihood many narrow peaks of about one height: a value far away
# is worse by less than these shares of what the standard error predicts, and of the number of samples.
_FLAT, _PER_SAMPLE = 0.01, 0.1


_MOST_TWINS = 15  # Most exchanges of numbers that are tried.

# Ends of a run whose values are no more than where it was.
_CUT_SHORT = ("interrupted", "time limit", "non-finite loss")


def judged(status: Status, model: Model, laplace: Laplace | None) -> tuple[Status, set[str]]:
    """The status of a run, `undetermined` where the data do not determine its answer, and the free numbers.

    The terms of the equation are judged wherever a run ended, its likelihood only where it settled.
    ``laplace`` has the standard errors, if the engine gives them.
    """
    if status.name in _CUT_SHORT:
        return status, set()
    free = _free_directions(model)
    why = undetermined_by_structure(model.problem) or because(free, model.problem.system.linear_in)
    if not why and laplace is not None and laplace.stage.finished:
        coarse = nodes_too_few(laplace)
        if coarse is not None and status.ok:
            status = Status(coarse.name, status.noting(coarse.message).message)
        why = undetermined_posterior(laplace) if status.ok else ""
    names = {n for direction in free for n in direction.change}
    return Status("undetermined", why) if why else status, names


def _free_directions(model: Model) -> list[Direction]:
    """Changes of numbers that the equation's terms do not show, at the model's values.

    With conditions none is sought: numbers may be known by states of the whole domain, as the likelihood is.
    """
    if model.problem.system.conditions:
        return []
    return free_numbers(model.problem, model.collocation.features, model.levels())


def nodes_too_few(laplace: Laplace) -> Status | None:
    """A misfit, or a note of it, where the spacing of the nodes decides an unknown's error; the worst."""
    tuning, place = laplace.stage.objective.tuning, laplace.model.collocation
    name, c, ratio, share = max(laplace.spacing(), key=lambda found: found[2], default=("", "", 0.0, 0.0))
    if not ratio > tuning.coarse:
        return None
    order = convergence_order(place, laplace.model.problem.system.order)
    nodes = place.grid[c].size
    return Status(
        "misfit" if share > tuning.coarse_share else "converged",
        f"the nodes along '{c}' are too few: '{name}' would move by about {ratio:.2g} standard errors with "
        f"more ({100 * share:.2g} % of its size); the standard errors include that. Take "
        f"collocation.nodes {c}: {int(np.ceil(nodes * ratio ** (1 / order)))} in place of {nodes}",
    )


def undetermined_posterior(laplace: Laplace) -> str:
    """Why the likelihood leaves unknowns undetermined where a run settled; empty where it does not."""
    loose = [n for n, ratio in laplace.posterior_ratio().items() if not ratio < RATIO]
    if loose:
        flat = [f"{f} does not vary beyond its noise" for f in constant_fields(laplace.model.problem)]
        why = ", ".join(flat) or "other values fit as well, once the other unknowns are adjusted"
        return f"the data do not determine {listed(loose)}: {why}"
    if why := _flat_profile(laplace) or _twin(laplace):
        return why
    for name, sd in laplace.fields.items():
        block = laplace.model.unknown_blocks[name]
        inside = laplace.model.measured(name)
        value = block()[0][name].detach().numpy().reshape(inside.shape)
        value, sd = laplace.model.gauge_fixed(name, value)[inside], sd[inside]
        lost = float(np.mean(undetermined_places(value, sd, sd, np.full(value.shape, np.inf))))
        if lost > UNDETERMINED_SHARE:
            return undetermined_field(name, lost)
    return ""


def _flat_profile(laplace: Laplace) -> str:
    """A number whose likelihood is as high far away: standard errors are of the linearised problem.

    Raue et al., Bioinformatics 25:1923, 2009.
    """
    count = laplace.stage.objective.count
    for name, value, sd, other in _far_values(laplace):
        worse = laplace.stage.profile({name: other})
        if worse is None:
            return ""
        chance = worse < _FLAT * ((other - value) / sd) ** 2 and worse < _PER_SAMPLE * count
        if worse < -(_SDS**2):
            return (
                f"{name} = {other:.3g} fits better than {name} = {value:.3g}, where the run ended (minus "
                f"twice the log-likelihood differs by {worse:.2g}): that was not the best minimum. Give "
                f"initial values, as initial={other:.3g} for {name}"
            )
        if worse < _SDS**2 or chance:
            return (
                f"{name} = {other:.3g} fits nearly as well as {name} = {value:.3g} (minus twice the "
                f"log-likelihood differs by {worse:.2g}): the data do not determine it"
            )
    return ""


def _twin(laplace: Laplace) -> str:
    """Numbers that explain the data as well when they are exchanged, or with the other sign.

    A state without data can have another history that makes up for it: of two rates in a row, of which the
    second compartment is measured, the data do not tell which is the first. Such a twin is far away, and the
    likelihood between is low, so that neither standard errors nor profiles of one number show it.
    """
    problem, values = laplace.model.problem, laplace.model.values()
    if not problem.hidden:
        return ""
    sds = {n: sd or np.inf for n, sd in laplace.scalars().items()}
    moved: list[dict[str, float]] = [{n: -v} for n, v in values.items()]
    moved += [{a: values[b], b: values[a]} for a, b in combinations(values, 2)]
    for held in moved[:_MOST_TWINS]:
        far = all(
            abs(v - values[n]) > _SDS * sds[n] and problem.scalars[n].admits(v) for n, v in held.items()
        )
        if not far:
            continue
        worse = laplace.stage.profile(held)
        if worse is not None and worse < _SDS**2:
            other = " and ".join(f"{n} = {v:.3g}" for n, v in held.items())
            found = " and ".join(f"{n} = {values[n]:.3g}" for n in held)
            return (
                f"{other} fits as well as {found}, with another history of {listed(list(problem.hidden))}: "
                "the data do not tell which it is. Give bounds that leave one of them, or a measurement of "
                f"{problem.hidden[0]}"
            )
    return ""


def _far_values(laplace: Laplace) -> Iterator[tuple[str, float, float, float]]:
    """Numbers with their values, standard errors, and values far away that their bounds admit.

    Every number is taken closer to zero. The least certain of several in which the equations are linear is
    taken to either side, too: along a free direction, states that are fitted to noise follow it at no cost.
    """
    problem, values = laplace.model.problem, laplace.model.values()
    sds = {n: sd or np.inf for n, sd in laplace.scalars().items()}
    found = [(n, v / _FAR) for n, v in values.items() if abs(v - v / _FAR) > _SDS * sds[n]]
    linear = [n for n in values if n in problem.system.linear_in and np.isfinite(sds[n])]
    if len(linear) > 1:
        weakest = max(linear, key=lambda n: sds[n] / max(abs(values[n]), 1e-300))
        found += [(weakest, values[weakest] + side * _FAR * sds[weakest]) for side in (-1, 1)]
    for name, other in found:
        if problem.scalars[name].admits(other):
            yield name, values[name], sds[name], other
