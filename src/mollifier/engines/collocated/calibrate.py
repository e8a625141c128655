"""A first guess of the unknowns and of the equations' sizes, from a model that already fits the data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

import numpy as np
import torch

from mollifier.engines.collocated.objective import Objective
from mollifier.engines.collocated.part import Part
from mollifier.engines.start import Origin, improve_values, level_within, trial_values
from mollifier.equations.lower import ArrayFunction
from mollifier.equations.system import Equation
from mollifier.errors import EquationError
from mollifier.mollify.arrays import Array
from mollifier.problem.unknowns import Unknown

# An equation, its part of the grid, the fitted fields there, and functions of these and the unknowns.
Split = tuple[Equation, Part, dict[str, torch.Tensor], ArrayFunction, dict[str, ArrayFunction]]
_TINY = 1e-300


def calibrate(objective: Objective, adopted: bool = False) -> dict[str, float]:
    """Set levels and scales of the unknowns, then the equations' sizes; returns the levels.

    Unknown fields are taken as constant. The unknowns in which the equations are linear are found together by
    least squares on the fitted field's derivatives, each equation divided by the size of its known terms, and
    moved to within their bounds. Equations with hidden states, of which only a level is known at first, give
    no more than the size at which an unknown balances the other terms. The others start from their
    ``initial``, or from the values, of many sizes, with which the equations hold best. A field with
    measurements starts from their mean.

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
    found, sizes, _ = _least_squares(objective, split, levels, free)
    for name, value in found.items():
        unknown, size = unknowns[name], sizes[name] if np.isfinite(sizes[name]) else 0.0
        if np.isfinite(value):
            level = float(np.clip(value, unknown.lower, unknown.upper))
            level = _clear_of_bounds(unknown, level, objective.tuning.bound_gap * size)
            levels[name] = level if unknown.admits(level) else levels[name]
    for name, level in levels.items():
        scale = max(abs(level), sizes.get(name, 0.0)) or 1.0
        if not adopted:
            start_at(objective, name, level, scale)
        if name in model.unknown_blocks:
            objective.set_field_scale(name, scale)
    objective.measure()
    return levels


def adopt(objective: Objective, origin: Origin) -> None:
    """Set numbers to the values of an earlier answer, and the levels of unknown fields to their means.

    A number closer to a bound than its standard error starts that far from the bound.
    """
    unknowns = objective.model.problem.unknowns
    for name, estimate in origin.estimates.items():
        sd = estimate.sd if estimate.sd is not None and np.isfinite(estimate.sd) else 0.0
        level = _clear_of_bounds(unknowns[name], estimate.value, sd)
        level = level if unknowns[name].admits(level) else level_within(unknowns[name])
        start_at(objective, name, level, max(abs(level), sd) or 1.0)
    for name, field in origin.fields.items():
        level = float(np.mean(field.values))
        level = level if unknowns[name].admits(level) else level_within(unknowns[name])
        start_at(objective, name, level, _rms(np.asarray(field.values, dtype=np.float64)) or 1.0)


def rescale(objective: Objective, names: Iterable[str]) -> None:
    """Take the present size of unknown fields for the unit of their priors, which stay as they are.

    The first guess, from derivatives of noisy data, may be off by orders of magnitude.
    """
    for name in names:
        block = objective.model.unknown_blocks[name]
        if block.bijection is not None and block.bijection.logarithmic:
            continue  # ratios have no unit: that of a field near its bound would grow without end
        with torch.no_grad():
            size = _rms(block()[0][name].cpu().numpy())
        if size > 0 and np.isfinite(size):
            strength = objective.strength(name) * (size / objective.field_scale(name)) ** 2
            objective.set_strength(name, strength)
            objective.set_field_scale(name, size)


def start_at(objective: Objective, name: str, level: float, scale: float) -> None:
    """Set an unknown to a level, a step of its raw value to about a scale."""
    model = objective.model
    if name in model.scalars:
        model.scalars[name].bijection.start_from(level, scale)
        return
    bijection = model.unknown_blocks[name].bijection
    assert bijection is not None
    bijection.start_from(level, scale)


def _clear_of_bounds(unknown: Unknown, level: float, gap: float) -> float:
    """The level, moved to a distance from the bounds at which the bijection's slope is not too small.

    >>> from mollifier.problem.unknowns import ScalarUnknown
    >>> [_clear_of_bounds(u, 1e-30, 0.3) for u in (ScalarUnknown(lower=0.0), ScalarUnknown())]
    [0.3, 1e-30]
    """
    for bound, away in ((unknown.lower, 1), (unknown.upper, -1)):
        if bound is not None and away * (level - bound) < gap and unknown.admits(bound + away * gap):
            return bound + away * gap
    return level


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
    best, (count, first) = dict(levels), _least_squares(objective, split, levels, free)[2]
    least = first

    def improves(name: str, value: float) -> bool:
        nonlocal best, least
        if not unknowns[name].admits(value):
            return False
        trial = best | {name: value}
        with np.errstate(all="ignore"):
            whole, found = _least_squares(objective, split, trial, free)[2]
        better = whole >= count and found < least
        if better:
            best, least = trial, found
        return better

    for _ in range(2 if len(tried) > 1 else 1):
        for name in tried:
            low, high = unknowns[name].lower, unknowns[name].upper
            for value in trial_values(-np.inf if low is None else low, np.inf if high is None else high):
                improves(name, float(value))
    factors = [(10.0**step, 10.0**-step) for step in tuning.start_steps]
    improve_values(tried, factors, tuning.start_moves, lambda n, f: improves(n, best[n] * f))
    return {n: best[n] for n in tried} if least < first - tuning.start_gain else {}


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


def _least_squares(
    objective: Objective, split: Sequence[Split], levels: Mapping[str, float], free: list[str]
) -> tuple[dict[str, float], dict[str, float], tuple[int, float]]:
    """Least-squares values of the free unknowns, the size at which each balances the other terms, and the
    number of finite residuals with minus their mean log-likelihood."""
    columns: dict[str, list[Array]] = {n: [] for n in free}
    right, scales, sizes = [], [], dict.fromkeys(free, 0.0)
    seen, balanced = set[str](), set[str]()
    problem = objective.model.problem
    hidden = {d.name for n in problem.states for d in problem.system.derivatives[n]}
    for e, part, fitted, remainder, factors in split:
        present, env, place = [*factors], _environment(objective, fitted, levels), part.place
        shape, inside = place.grid.shape, True if place.inside is None else place.inside.ravel()
        rest = _on_grid(remainder(env), shape)
        parts = {n: _on_grid(factors[n](env), shape) for n in present}
        whole = inside & np.all([np.isfinite(v) for v in (rest, *parts.values())], axis=0)
        rest, parts = rest[whole], {n: v[whole] for n, v in parts.items()}
        size = _rms(rest) or sum(_rms(p) for p in parts.values()) or 1.0
        for n, part in parts.items():
            if _rms(part) > 0:
                sizes[n] = max(sizes[n], _rms(rest) / _rms(part))
        if hidden.intersection(e.symbols):
            balanced |= {*present}
            continue
        seen |= {*present}
        for n in free:
            columns[n].append(parts.get(n, np.zeros_like(rest)) / size)
        right.append(-rest / size)
        scales.append(size)
    found = {n: sizes[n] for n in balanced - seen if sizes[n] > 0}
    free = [n for n in free if n not in balanced - seen]
    count = sum(len(r) for r in right)
    if not count:
        return found, sizes, (0, np.inf)
    aims = np.concatenate(right)
    matrix = np.stack([np.concatenate(columns[n]) for n in free], axis=1) if free else np.zeros((count, 0))
    norms = np.linalg.norm(matrix, axis=0)
    norms = np.where(norms > 0, norms, 1.0)
    solution = np.linalg.lstsq(matrix / norms, aims, rcond=1e-10)[0] / norms
    left = np.split(aims - matrix @ solution, np.cumsum([len(r) for r in right])[:-1])
    loss = sum(len(v) * np.log(size * _rms(v) + _TINY) for v, size in zip(left, scales, strict=True)) / count
    return found | dict(zip(free, solution.tolist(), strict=True)), sizes, (count, float(loss))


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


def _rms(values: Array) -> float:
    """Root mean square, without overflow for values such as 1e200."""
    largest = float(np.abs(values).max(initial=0.0))
    return largest * float(np.sqrt(np.mean(np.square(values / largest)))) if largest else 0.0
