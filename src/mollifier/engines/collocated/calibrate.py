"""A first guess of the unknowns and of the equations' sizes, from a model that already fits the data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial

import numpy as np
import torch

from mollifier.engines.collocated.linear_guess import Averages, Terms, least_squares, rms, within_bounds
from mollifier.engines.collocated.objective import Objective
from mollifier.engines.collocated.part import Part
from mollifier.engines.start import Origin, level_within, search_values, trial_values
from mollifier.equations.lower import ArrayFunction
from mollifier.equations.system import Equation
from mollifier.errors import EquationError
from mollifier.mollify.arrays import Array

# An equation, its part of the grid, the fitted fields there, and functions of these and the unknowns.
Split = tuple[Equation, Part, dict[str, torch.Tensor], ArrayFunction, dict[str, ArrayFunction]]


def calibrate(objective: Objective, adopted: bool = False) -> dict[str, float]:
    """Set levels and scales of the unknowns, then the equations' sizes; returns the levels.

    Unknown fields are taken as constant. The unknowns in which the equations are linear are found
    together by least squares on the fitted field's derivatives, or, of numbers alone, on averages of the
    terms over windows where noise hides the derivatives, each equation divided by the size of its known
    terms, and moved to within their bounds. Equations with hidden states, of which only a level is known
    at first, give no more than the size at which an unknown balances the other terms. The others start
    from their ``initial``, or from the values, of many sizes, with which the equations hold best. A field
    with measurements starts from their mean.

    Unknowns whose values were ``adopted`` keep them; the scales of their curvature are still computed, so
    that the loss does not depend on the start.
    """
    model = objective.model
    unknowns = model.problem.unknowns
    levels = {n: float(u.initial) if u.initial is not None else level_within(u) for n, u in unknowns.items()}
    measured = {
        n: level
        for n, s in model.problem.measurements.items()
        if unknowns[n].initial is None and unknowns[n].admits(level := float(s.values.mean()))
    }
    levels |= measured
    free = [n for n in model.problem.system.linear_in if unknowns[n].initial is None and n not in measured]
    split = _split(objective, free)
    if not adopted:
        tried = [n for n, u in unknowns.items() if u.initial is None and n not in (*free, *measured)]
        levels |= _best(objective, split, levels, tried, free) if tried else {}
    order, gap = model.problem.system.order, objective.tuning.bound_gap
    # A field that is no constant has averages that suit other numbers: D beside a source seems negative.
    counts = () if model.unknown_blocks else objective.tuning.start_averages
    over = [None, *(Averages(n, order) for n in counts)]
    terms, bounds = _evaluated(objective, split, levels), {n: unknowns[n] for n in free}
    at_nodes = least_squares(terms, bounds, gap)
    _start(objective, levels | at_nodes.values, at_nodes.sizes, adopted)
    # With numbers that suit the nodes: of others, noise in the derivatives makes an equation seem larger.
    objective.measure()
    best = least_squares(terms, bounds, gap, over)
    _start(objective, levels | best.values, best.sizes, adopted)
    return levels | best.values


def _start(
    objective: Objective, levels: Mapping[str, float], sizes: Mapping[str, float], adopted: bool
) -> None:
    """Set unknowns to levels, unless their values were adopted, and fields' scales to these or the sizes."""
    for name, level in levels.items():
        scale = max(abs(level), sizes.get(name, 0.0)) or 1.0
        if not adopted:
            start_at(objective, name, level, scale)
        if name in objective.model.unknown_blocks:
            objective.set_field_scale(name, scale)


def adopt(objective: Objective, origin: Origin) -> None:
    """Set numbers to the values of an earlier answer, and the levels of unknown fields to their means.

    A number closer to a bound than its standard error starts that far from the bound.
    """
    unknowns = objective.model.problem.unknowns
    for name, estimate in origin.estimates.items():
        sd = estimate.sd if estimate.sd is not None and np.isfinite(estimate.sd) else 0.0
        level = within_bounds(unknowns[name], estimate.value, sd)
        level = level if unknowns[name].admits(level) else level_within(unknowns[name])
        start_at(objective, name, level, max(abs(level), sd) or 1.0)
    for name, field in origin.fields.items():
        level = float(np.mean(field.values))
        level = level if unknowns[name].admits(level) else level_within(unknowns[name])
        start_at(objective, name, level, rms(np.asarray(field.values, dtype=np.float64)) or 1.0)


def rescale(objective: Objective, names: Iterable[str]) -> None:
    """Take the present size of unknown fields for the unit of their priors, which stay as they are.

    The first guess, from derivatives of noisy data, may be off by orders of magnitude.
    """
    for name in names:
        block = objective.model.unknown_blocks[name]
        if block.bijection is not None and block.bijection.logarithmic:
            continue  # ratios have no unit: that of a field near its bound would grow without end
        with torch.no_grad():
            size = rms(block()[0][name].cpu().numpy())
        if size > 0 and np.isfinite(size):
            strength = objective.strength(name) * (size / objective.field_scale(name)) ** 2
            objective.set_strength(name, strength)
            objective.set_field_scale(name, size)


def start_at(objective: Objective, name: str, level: float, scale: float) -> None:
    """Set an unknown to a level, a step of its raw value to about a scale."""
    model = objective.model
    bijection = (model.scalars.get(name) or model.unknown_blocks[name]).bijection
    assert bijection is not None
    bijection.start_from(level, scale)


def _best(
    objective: Objective,
    split: Sequence[Split],
    levels: Mapping[str, float],
    tried: Sequence[str],
    free: list[str],
) -> dict[str, float]:
    """Levels of the unknowns tried, one after the other, at which the equations hold best.

    Residuals are compared by their likelihood with a variance for each equation, which has no unit; levels at
    which the equations are finite at fewer nodes are no better, and a small gain is chance.
    """
    tuning, unknowns = objective.tuning, objective.model.problem.unknowns
    fit = partial(least_squares, free={n: unknowns[n] for n in free}, gap=tuning.bound_gap)
    best, before = dict(levels), fit(_evaluated(objective, split, levels))
    count, least = before.count, before.loss

    def improves(name: str, value: float) -> bool:
        nonlocal best, least
        if not unknowns[name].admits(value):
            return False
        trial = best | {name: value}
        with np.errstate(all="ignore"):
            found = fit(_evaluated(objective, split, trial))
        better = found.count >= count and found.loss < least
        if better:
            best, least = trial, found.loss
        return better

    values = {n: trial_values(unknowns[n]) for n in tried}
    factors = [(10.0**step, 10.0**-step) for step in tuning.start_steps]
    search_values(values, 2, factors, tuning.start_moves, lambda n: best[n], improves)
    return {n: best[n] for n in tried} if least < before.loss - tuning.start_gain else {}


def _split(objective: Objective, free: list[str]) -> list[Split]:
    """The equations that tell of the unknowns, what they are without the free ones, and the factors of these.

    Conditions that no unknown has to itself inform of the states, and the equations of the unknowns.
    """
    held = {n for n in free for e in objective.equations if n in e.symbols}
    found = []
    for e, part in zip(objective.imposed, objective.parts, strict=True):
        present = [n for n in free if n in e.symbols]
        if e.at and held.issuperset(present):
            continue
        with suppress(EquationError), torch.no_grad():
            found.append((e, part, part.environment(objective.model.numbers()), *e.collect(present)))
    return found


def _evaluated(objective: Objective, split: Sequence[Split], levels: Mapping[str, float]) -> list[Terms]:
    """The terms of every equation at levels of the unknowns."""
    problem, found = objective.model.problem, []
    hidden = {d.name for n in problem.states for d in problem.system.derivatives[n]}
    for e, part, fitted, remainder, factors in split:
        env, place = _environment(objective, fitted, levels), part.place
        shape, inside = place.grid.shape, True if place.inside is None else place.inside.ravel()
        with np.errstate(all="ignore"):
            rest = _on_grid(remainder(env), shape)
            parts = {n: _on_grid(f(env), shape) for n, f in factors.items()}
        used = np.asarray(inside & np.all([np.isfinite(v) for v in (rest, *parts.values())], axis=0))
        found.append(Terms(place.grid, used, rest, parts, bool(hidden.intersection(e.symbols))))
    return found


def _environment(
    objective: Objective, fitted: Mapping[str, torch.Tensor], levels: Mapping[str, float]
) -> dict[str, torch.Tensor]:
    """On a part of the grid, every unknown at its level, unknown fields and hidden states constant."""
    model, env = objective.model, dict(fitted)
    held = {n: objective.sizes.new_tensor(v) for n, v in levels.items()}
    held |= {n: env[n].mean() for n in model.problem.hidden}
    for name, needed in model.problem.system.derivatives.items():
        if name in held:
            env |= {d.name: held[name] if not d.total else held[name] * 0 for d in needed}
    return env


def _on_grid(value: torch.Tensor, shape: tuple[int, ...]) -> Array:
    return np.broadcast_to(value.detach().cpu().numpy(), shape).ravel()
