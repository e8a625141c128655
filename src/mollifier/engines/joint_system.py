"""Normal equations over values at nodes: a banded core of the states, bordered by the unknowns."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from torch import Tensor

from mollifier.engines.joint_banded import BandedCholesky, factored, order_within
from mollifier.engines.joint_spline import slopes_of
from mollifier.engines.linearise import DIFFERENCE, Linearisation, Residuals
from mollifier.engines.model import Model

Array = NDArray[np.float64]

# Damping below which the states are not damped, so that one factor serves all tries.
_LIGHT = 1e-5
# Random probes of a trace.
_PROBES = 16


class Layout:
    """Where the parameters are: the core, nodes in banded order with channels fastest; then the border.

    Attributes
    ----------
    core
        The state block with the most values.
    places
        (block, or name of a scalar) -> its columns of the border.
    core_size, border_size
        How many of each.
    order
        Node of the core -> its place there; -1 where nothing sees it.
    """

    def __init__(self, model: Model, linearisation: Linearisation | None = None) -> None:
        self.model = model
        sizes = [sum(p.numel() for p in b.network.parameters()) for b in model.blocks]
        self.core = int(np.argmax(sizes[: len(model.state_blocks)]))
        block = model.blocks[self.core]
        self.channels = len(block.names)
        shape = block.mollified.layer.nodes.shape
        used = (
            np.ones(int(np.prod(shape)), dtype=bool)
            if linearisation is None
            else linearisation.used(self.core)
        )
        self.order = order_within(used, shape)
        self.core_size = int(used.sum()) * self.channels
        self.places: dict[int | str, slice] = {}
        low = 0
        for key, size in [*enumerate(sizes), *((n, 1) for n in model.scalars)]:
            if key != self.core:
                self.places[key] = slice(low, low + size)
                low += size
        self.border_size = low
        self.constant: dict[int, sp.csr_array] = {}

    @property
    def unknowns(self) -> dict[str, slice]:
        """Unknown -> its columns of the border."""
        first = len(self.model.state_blocks)
        fields = {n: self.places[first + i] for i, n in enumerate(self.model.unknown_blocks)}
        return fields | {n: self.places[n] for n in self.model.scalars}

    def flat(self, core: Array, border: Array) -> Tensor:
        """Core and border as one vector in the order of the model's blocks and scalars."""
        parts: list[Array] = []
        for b in range(len(self.model.blocks)):
            if b == self.core:
                values = core.reshape(-1, self.channels)[self.order]
                parts.append(np.where(self.order[:, None] < 0, 0.0, values).ravel())
            else:
                parts.append(border[self.places[b]])
        parts += [border[self.places[n]] for n in self.model.scalars]
        return torch.from_numpy(np.concatenate(parts))

    def core_rows(self, part: Residuals) -> sp.csr_array | None:
        """Slopes of some rows with respect to the core, shape (m, core_size); None where there are none."""
        total: sp.csr_array | None = None
        for (b, channel), matrix in part.fields.items():
            if b != self.core:
                continue
            column = (self.order * self.channels + channel)[matrix.indices]
            shape = (len(part.values), self.core_size)
            moved = sp.csr_array((matrix.data, column, matrix.indptr), shape=shape)
            total = moved if total is None else sp.csr_array(total + moved)
        return total

    def border_rows(self, part: Residuals, slopes: Slopes) -> sp.csr_array | None:
        """Slopes of some rows with respect to the border, shape (m, border_size), or None."""
        m, n = len(part.values), self.border_size
        pieces: list[sp.csr_array] = []
        for (b, channel), matrix in part.fields.items():
            if b == self.core:
                continue
            place, count = self.places[b], len(self.model.blocks[b].names)
            moved = sp.csr_array(matrix @ slopes.fields[b])
            column = place.start + moved.indices * count + channel
            pieces.append(sp.csr_array((moved.data, column, moved.indptr), shape=(m, n)))
        for name, slope in part.scalars.items():
            column = np.full(m, self.places[name].start)
            data = np.ascontiguousarray(slope) * slopes.scalars[name]
            pieces.append(sp.csr_array((data, column, np.arange(m + 1)), shape=(m, n)))
        return sp.csr_array(sum(pieces[1:], pieces[0])) if pieces else None


class Slopes:
    """Slopes of values at nodes with respect to the coefficients, by block, and of scalars."""

    def __init__(self, model: Model) -> None:
        self.fields = [slopes_of(b) for b in model.blocks]
        self.scalars = {n: s.slope() for n, s in model.scalars.items()}


@dataclass
class Normal:
    """J'J and J'r in parts: of the core, between it and the border, of the border."""

    core: sp.csr_array
    between: Array
    border: Array
    core_gradient: Array
    border_gradient: Array

    @classmethod
    def zero(cls, layout: Layout) -> Normal:
        """Nothing yet."""
        n, p = layout.core_size, layout.border_size
        return cls(sp.csr_array((n, n)), np.zeros((n, p)), np.zeros((p, p)), np.zeros(n), np.zeros(p))

    def add(
        self,
        part: Residuals,
        layout: Layout,
        slopes: Slopes,
        kept: dict[int, sp.csr_array] | None = None,
        key: int = 0,
    ) -> None:
        """Add the squares of some rows; the core's are read from ``kept``, where given, or put there."""
        u, v = layout.core_rows(part), layout.border_rows(part, slopes)
        if u is not None:
            square = None if kept is None else kept.get(key)
            if square is None:
                square = sp.csr_array(u.T @ u)
                if kept is not None:
                    kept[key] = square
            self.core = sp.csr_array(self.core + square)
            self.core_gradient += u.T @ part.values
        if v is not None:
            self.border += (v.T @ v).toarray()
            self.border_gradient += v.T @ part.values
        if u is not None and v is not None:
            self.between += (u.T @ v).toarray()


@dataclass
class Prior:
    """Squares of the rows of an unknown field's smoothness prior at a strength of one."""

    columns: slice
    square: Array
    gradient: Array
    value: float
    held: float = field(init=False)
    _spectrum: Array = field(init=False)

    def __post_init__(self) -> None:
        self.held = 1 / len(self.square)
        self._spectrum = np.maximum(np.linalg.eigvalsh(self.square), 0.0).astype(np.float64)

    def log_determinant(self, strength: float) -> float:
        """Of the prior's precision; what curvature leaves free is held to a raw unit in the mean square."""
        return float(np.log(strength * self._spectrum + self.held).sum())


class Bordered:
    """The normal equations of one step, the states eliminated.

    Attributes
    ----------
    schur, reduced
        Curvature (p, p) and slope (p,) of half the loss along the border when the core follows it, without
        the priors of unknown fields.
    priors
        By unknown field; ``strengths`` says how much of each is taken.

    Parameters
    ----------
    linearisation, layout, nodes, weight
        Of what, where it goes, at which values (channels, nodes) by block, with which weight of the equation.
    """

    def __init__(
        self,
        linearisation: Linearisation,
        layout: Layout,
        nodes: list[Array],
        weight: float,
    ) -> None:
        self.layout = layout
        objective = linearisation.objective
        slopes = Slopes(objective.model)
        self.normal = Normal.zero(layout)
        equations = len(objective.equations)
        with np.errstate(all="ignore"):
            for i, part in enumerate(linearisation.residuals(nodes, weight, slopes=True, curvatures=False)):
                # Data and the prior of states are linear: their squares are formed once.
                self.normal.add(part, layout, slopes, layout.constant if i >= equations else None, i)
        self.priors = {
            n: _prior(linearisation, layout, slopes, nodes, n) for n in objective.model.unknown_blocks
        }
        self.strengths = {n: objective.strength(n) for n in self.priors}
        # What the data say of a value at a node, on average: damping is relative to it.
        self.unit = sum(float(np.square(d.matrix.data).sum()) for d in linearisation.data) / layout.core_size
        self._factor: BandedCholesky | None = None
        if self.finite:
            self._eliminate()

    @property
    def finite(self) -> bool:
        """Whether every number is."""
        n = self.normal
        parts = (n.core.data, n.between, n.border, n.core_gradient, n.border_gradient)
        return all(bool(np.isfinite(p).all()) for p in parts)

    def _eliminate(self) -> None:
        n = self.normal
        self._factor = factored(n.core)
        self._followed = self._factor.solve(n.between)
        self._free = self._factor.solve(n.core_gradient)
        self.schur = n.border - n.between.T @ self._followed
        self.schur = (self.schur + self.schur.T) / 2
        self.reduced = n.border_gradient - n.between.T @ self._free

    @property
    def log_determinant(self) -> float:
        """Of the core."""
        assert self._factor is not None
        return self._factor.log_determinant

    def roughness(self, linearisation: Linearisation, nodes: list[Array]) -> dict[int, float]:
        """Strengths of the priors on the states of the core that make the evidence stationary, by target.

        MacKay's step (Neural Comput. 4:415, 1992): of the rows of a prior, the number that the data determine
        over the sum of their squares; the number by random probes, the same every time.
        """
        assert self._factor is not None
        count = linearisation.objective.count
        schur = self.with_priors()[0]
        schur[np.diag_indices_from(schur)] += 1e-9 * np.diag(schur).mean()
        random = np.random.default_rng(0)
        found: dict[int, float] = {}
        for i, target in enumerate(linearisation.objective.targets):
            if target.block != self.layout.core:
                continue
            part = linearisation.rough(target, nodes, slopes=True)
            rows = self.layout.core_rows(part)
            assert rows is not None
            signs = random.choice([-1.0, 1.0], (len(part.values), _PROBES))
            probes = np.asarray(rows.T @ signs)
            inner = self._followed.T @ probes
            strength = float(linearisation.objective.roughness[i])
            spread = np.sum(probes * self._factor.solve(probes)) + np.sum(inner * _solved(schur, inner))
            taken = strength * float(spread) / _PROBES
            rank = self.layout.core_size / self.layout.channels - float(np.prod([min(DIFFERENCE, n) for n in self._shape(linearisation)]))
            squares = count * float(part.values @ part.values)
            found[i] = max(rank - taken, 1.0) / max(squares, 1e-300)
        return found

    def _shape(self, linearisation: Linearisation) -> tuple[int, ...]:
        nodes = linearisation.objective.model.blocks[self.layout.core].mollified.layer.nodes
        return tuple(1 if a.periodic else a.size for a in nodes)

    def with_priors(self) -> tuple[Array, Array]:
        """Schur complement (p, p) and reduced slope (p,) with the priors at their strengths."""
        schur, reduced = self.schur.copy(), self.reduced.copy()
        for name, prior in self.priors.items():
            schur[prior.columns, prior.columns] += self.strengths[name] * prior.square
            reduced[prior.columns] += self.strengths[name] * prior.gradient
        return schur, reduced

    @property
    def gradient(self) -> Tensor:
        """Half the slope of the loss, shape (parameters,)."""
        border = self.normal.border_gradient.copy()
        for name, prior in self.priors.items():
            border[prior.columns] += self.strengths[name] * prior.gradient
        return self.layout.flat(self.normal.core_gradient, border)

    def solve(self, damping: float) -> Tensor:
        """The step, shape (parameters,); light damping is of the unknowns only."""
        n = self.normal
        if damping > _LIGHT:
            scale = damping * self.unit
            factor = factored(sp.csr_array(n.core + scale * sp.eye_array(self.layout.core_size)))
            followed, free = factor.solve(n.between), factor.solve(n.core_gradient)
            change = n.between.T @ (self._followed - followed), n.between.T @ (self._free - free)
        else:
            followed, free, change = self._followed, self._free, (0.0, 0.0)
        schur, reduced = self.with_priors()
        diagonal = np.diag(schur)
        schur = schur + change[0] + np.diag(damping * (diagonal + 1e-3 * diagonal.mean()))
        border = -_solved(schur, reduced + change[1])
        return self.layout.flat(-free - followed @ border, border)


def _prior(
    linearisation: Linearisation, layout: Layout, slopes: Slopes, nodes: list[Array], name: str
) -> Prior:
    columns = layout.unknowns[name]
    square, gradient, value = 0.0, 0.0, 0.0
    for part in linearisation.curvature(name, nodes, slopes=True):
        rows = layout.border_rows(part, slopes)
        assert rows is not None
        rows = rows[:, columns]
        square = square + (rows.T @ rows).toarray()
        gradient = gradient + rows.T @ part.values
        value += float(part.values @ part.values)
    size = columns.stop - columns.start
    return Prior(columns, np.zeros((size, size)) + square, np.zeros(size) + gradient, value)


def _solved(matrix: Array, right: Array) -> Array:
    """Of a matrix that is positive definite but for rounding."""
    try:
        return np.asarray(cho_solve(cho_factor(matrix), right), dtype=np.float64)
    except np.linalg.LinAlgError:
        return np.asarray(np.linalg.lstsq(matrix, right, rcond=1e-14)[0], dtype=np.float64)
