"""The equation solved forward with what was found, on even grids, by finite differences.

With a coordinate to march along: the method of lines and SciPy's implicit Radau method. Without one: sparse
Newton steps. Values at the start and in a layer as wide as a stencil at the ends are those of the estimated
states; all others come from the equation.
"""

from __future__ import annotations

from collections.abc import Mapping

import xarray as xr

from mollifier.diagnostics.validation.marching import Marching
from mollifier.diagnostics.validation.statement import InexpressibleError, March, grid_of
from mollifier.diagnostics.validation.steady import Steady
from mollifier.equations.system import EquationSystem

_NOWHERE = "nowhere"


def solve_forward(
    states: xr.Dataset,
    fields: Mapping[str, xr.DataArray],
    system: EquationSystem,
    march: March | None,
    solved: tuple[str, ...],
    refined: int,
) -> tuple[dict[str, xr.DataArray], int]:
    """Fields that the equation gives, and how often it was started anew.

    Parameters
    ----------
    states
        Estimated states: starts, ends, and what is not solved for.
    fields
        Everything else that the equations name.
    march, solved
        As `mollifier.diagnostics.validation.statement` says.
    refined
        Cells along each axis for one of the solution's.

    Raises
    ------
    InexpressibleError
        If the equation cannot be solved: its solution blows up, or no Newton step helps.
    """
    names = tuple(c for c in map(str, states.dims) if march is None or c != march.coordinate)
    if not names:  # an ordinary differential equation: the same everywhere along a coordinate of no meaning
        wide = states.expand_dims({_NOWHERE: [0.0, 1.0]})
        found, restarts = solve_forward(wide, fields, system, march, solved, refined)
        return {f: v.isel({_NOWHERE: 0}, drop=True) for f, v in found.items()}, restarts
    sizes = {}
    for c in names:
        n, periodic = states.sizes[c], bool(states[c].attrs.get("periodic"))
        sizes[c] = n * refined if periodic else (n - 1) * refined + 1
    for f in solved:
        if set(states[f].dims) != set(states.dims):
            raise InexpressibleError(f"'{f}' does not vary over all coordinates")
    grid = grid_of(states, names, sizes)
    if march is None:
        return Steady(states, fields, system, solved, grid).solve(), 0
    return Marching(states, fields, system, march, grid, refined).solve()
