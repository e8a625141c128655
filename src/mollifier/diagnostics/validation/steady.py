"""Equations without a coordinate to march along, solved everywhere at once: sparse Newton steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.sparse as sp
import xarray as xr
from numpy.typing import NDArray
from scipy.sparse.linalg import splu

from mollifier.diagnostics.validation.layout import Layout, given, lifted
from mollifier.diagnostics.validation.statement import InexpressibleError, derivatives_of
from mollifier.equations.lower import ArrayFunction
from mollifier.equations.system import EquationSystem
from mollifier.mollify.grid import Grid

Array = NDArray[np.float64]

_NEWTON, _SETTLED = 40, 1e-10
_LEAST_STEP = 1e-3  # share of a Newton step


class Steady:
    """Equations solved everywhere at once, by Newton's method from the estimated states."""

    def __init__(
        self,
        states: xr.Dataset,
        fields: Mapping[str, xr.DataArray],
        system: EquationSystem,
        solved: tuple[str, ...],
        grid: Grid,
    ) -> None:
        residuals = [e.residual for e in system.equations]
        needed = derivatives_of(residuals, system)
        self.solved, self.grid = solved, grid
        self.layout = Layout.of(grid, needed)
        self.own = {s: d for s, d in needed.items() if d.field in solved}
        self.matrices = {s: self.layout.matrix(d) for s, d in self.own.items()}
        others = {**fields, **{f: states[f] for f in map(str, states.data_vars) if f not in solved}}
        self.env = {s: f(0.0) for s, f in given(self.layout, others, needed, "").items()}
        self.start = {f: lifted(states[f], grid).ravel() for f in solved}
        self.functions = [ArrayFunction(r) for r in residuals]
        self.partials = [{s: e.partial(s) for s in self.own} for e in system.equations]

    def _environment(self, u: Mapping[str, Array]) -> dict[str, Any]:
        return self.env | {s: self.matrices[s] @ u[d.field] for s, d in self.own.items()}

    def _residual(self, u: Mapping[str, Array]) -> Array:
        env, n = self._environment(u), self.layout.inner.size
        return np.concatenate([np.broadcast_to(f(env), n) for f in self.functions])

    def _slope(self, u: Mapping[str, Array]) -> sp.csc_array:
        env, inner = self._environment(u), self.layout.inner
        rows = []
        for partials in self.partials:
            row = {f: sp.csr_array((inner.size, inner.size)) for f in self.solved}
            for s, d in self.own.items():
                factor = np.broadcast_to(partials[s](env), inner.size)
                row[d.field] = row[d.field] + sp.diags_array(factor) @ self.matrices[s][:, inner]
            rows.append(list(row.values()))
        return sp.csc_array(sp.block_array(rows, format="csc"))

    def solve(self) -> dict[str, xr.DataArray]:
        u = {f: v.copy() for f, v in self.start.items()}
        inner, first = self.layout.inner, None
        size, moved = np.inf, np.inf
        for _ in range(_NEWTON):
            residual = self._residual(u)
            size = float(np.linalg.norm(residual))
            first = size if first is None else first
            if not np.isfinite(size):
                break
            try:
                step = splu(self._slope(u)).solve(residual)
            except RuntimeError:
                raise InexpressibleError("the linearised equation is singular") from None
            share, better = 1.0, None
            while share > 1e-3:
                trial = {f: v.copy() for f, v in u.items()}
                for i, f in enumerate(self.solved):
                    trial[f][inner] -= share * step[i * inner.size : (i + 1) * inner.size]
                if np.linalg.norm(self._residual(trial)) < size:
                    better = trial
                    break
                share /= 2
            if better is None:
                break
            moved = max(float(np.abs(better[f] - u[f]).max()) / (float(np.ptp(u[f])) or 1.0) for f in u)
            u = better
            if moved < _SETTLED:
                break
        # Rounding stops Newton's method long after the equation holds.
        if not np.isfinite(size) or (size > 1e-6 * (first or 1.0) and moved > 1e-6):
            raise InexpressibleError("Newton's method found no solution of the equation with what was found")
        coords = {a.name: a.points for a in self.grid}
        return {f: xr.DataArray(v.reshape(self.grid.shape), coords, self.grid.names) for f, v in u.items()}
