"""A first guess of the unknowns and of the equations' sizes, from a model that already fits the data."""

from __future__ import annotations

import numpy as np
import torch

from mollifier.engines.bijection import Bijection, Scalar
from mollifier.engines.objective import Objective
from mollifier.errors import EquationError
from mollifier.unknowns import Unknown


def calibrate(objective: Objective) -> dict[str, float]:
    """Set levels and scales of the unknowns, then the equations' sizes; returns the levels.

    Unknown fields are taken as constant. Those unknowns in which the equations are linear are found together by least
    squares on the fitted field's derivatives, each equation divided by the size of its known terms; the others start
    from their ``initial`` or from the middle of their bounds, or from one.
    """
    model = objective.model
    unknowns = model.problem.unknowns
    levels = {n: float(u.initial) if u.initial is not None else _default(u) for n, u in unknowns.items()}
    free = [n for n in model.problem.system.linear_in if unknowns[n].initial is None]
    found, sizes = _least_squares(objective, levels, free)
    for name, value in found.items():
        unknown = unknowns[name]
        if np.isfinite(value) and unknown.admits(value):
            levels[name] = value
        elif np.isfinite(sizes[name]) and sizes[name] > 0:
            levels[name] = _within(unknown, sizes[name])
    for name, level in levels.items():
        scale = max(abs(level), sizes.get(name, 0.0)) or 1.0
        _start(objective, name, level, scale)
    objective.measure()
    return levels


def _start(objective: Objective, name: str, level: float, scale: float) -> None:
    model = objective.model
    if name in model.scalars:
        scalar = model.scalars[name]
        assert isinstance(scalar, Scalar)
        scalar.bijection.start_from(level, scale)
        return
    bijection = model.unknown_blocks[name].network[-1]  # type: ignore[index]
    assert isinstance(bijection, Bijection)
    bijection.start_from(level, scale)
    objective.set_field_scale(name, scale)


def _default(unknown: Unknown) -> float:
    low, high = unknown.lower, unknown.upper
    if low is not None and high is not None:
        return (low + high) / 2
    if low is not None:
        return low + max(1.0, abs(low))
    if high is not None:
        return high - max(1.0, abs(high))
    return 1.0


def _within(unknown: Unknown, size: float) -> float:
    """A level of about a size that the bounds admit."""
    for value in (size, -size):
        if unknown.admits(value):
            return value
    return _default(unknown)


def _least_squares(
    objective: Objective, levels: dict[str, float], free: list[str]
) -> tuple[dict[str, float], dict[str, float]]:
    """Least-squares values of the free unknowns, and the size each would need to balance the other terms."""
    if not free:
        return {}, {}
    with torch.no_grad():
        env, _, _ = objective.model()
    constants = {n: torch.tensor(v, dtype=torch.float64) for n, v in levels.items()}
    for name, needed in objective.model.problem.system.derivatives.items():
        if name in levels:
            env |= {d.name: constants[name] if not d.total else constants[name] * 0 for d in needed}
    env |= {n: v for n, v in constants.items() if n in objective.model.scalars}
    columns: dict[str, list[np.ndarray]] = {n: [] for n in free}
    right, sizes = [], {n: 0.0 for n in free}
    shape = objective.model.collocation.grid.shape
    for e in objective.equations:
        present = [n for n in free if n in e.symbols]
        try:
            remainder, factors = e.collect(present)
        except EquationError:
            continue
        rest = _on_grid(remainder(env), shape)
        parts = {n: _on_grid(factors[n](env), shape) for n in present}
        size = _rms(rest) or sum(_rms(p) for p in parts.values()) or 1.0
        for n in free:
            columns[n].append(parts.get(n, np.zeros_like(rest)) / size)
            if n in parts and _rms(parts[n]) > 0:
                sizes[n] = max(sizes[n], _rms(rest) / _rms(parts[n]))
        right.append(-rest / size)
    if not right:
        return {}, {}
    matrix = np.stack([np.concatenate(columns[n]) for n in free], axis=1)
    norms = np.linalg.norm(matrix, axis=0)
    norms = np.where(norms > 0, norms, 1.0)
    solution = np.linalg.lstsq(matrix / norms, np.concatenate(right), rcond=1e-10)[0] / norms
    return dict(zip(free, solution.tolist(), strict=True)), sizes


def _on_grid(value: torch.Tensor, shape: tuple[int, ...]) -> np.ndarray:
    return np.broadcast_to(value.detach().cpu().numpy(), shape).ravel()


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values))))
