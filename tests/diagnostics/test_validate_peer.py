"""Our own method of lines against py-pde's, on the same equations from the same starts."""

import os

import numpy as np
import pytest
import xarray as xr

from mollifier.diagnostics.validation.forward_problem import ForwardProblem, evolution_of
from mollifier.diagnostics.validation.solvers import solve_on
from mollifier.equations.names import Names
from mollifier.equations.system import parse

# Compiling its operators would take a hundred times longer than running them; numba, which nothing else here
# uses, reads this whenever it is asked to compile.
os.environ.setdefault("NUMBA_DISABLE_JIT", "1")
pde = pytest.importorskip("pde", reason="the cross-check needs py-pde: pip install mollifier[pde]")

END = 0.4
FRAMES = np.linspace(0.0, END, 9)


def burgers(x):
    return np.sin(x) + 0.5 * np.cos(2 * x)


def two_phases(x, y):
    return 0.4 * np.sin(x) * np.cos(y) + 0.3 * np.cos(2 * x + y)


# Name -> equation here, right-hand side there, numbers, start, and periodic axes of length 2 pi.
CASES = {
    "Burgers": (
        *("u_t + a*u*u_x = nu*u_xx", "-a*u*d_dx(u) + nu*laplace(u)"),
        *({"a": 0.8, "nu": 0.15}, burgers, "x"),
    ),
    "Allen-Cahn": (
        *("u_t = D*lap(u) + r*u - r*u^3", "D*laplace(u) + r*u - r*u**3"),
        *({"D": 0.1, "r": 2.0}, two_phases, "xy"),
    ),
}


def theirs(right, numbers, start, axes, nodes):
    """py-pde's last frame at the middles of its cells: differences of second order."""
    grid = pde.CartesianGrid([[0, 2 * np.pi]] * len(axes), nodes, periodic=True)
    begin = pde.ScalarField(grid, start(*np.moveaxis(grid.cell_coords, -1, 0)))
    equation = pde.PDE({"u": right}, consts=numbers)
    options = {"solver": "scipy", "backend": "numpy", "tracker": None, "rtol": 1e-9, "atol": 1e-10}
    return equation.solve(begin, END, **options).data


def ours(equation, numbers, start, axes, nodes):
    """Our last frame at the same places; of the states only the start counts, as nothing has an end."""
    h = 2 * np.pi / nodes
    coords = {c: ("c", h * (np.arange(nodes) + 0.5)) for c in axes}
    places = np.meshgrid(*(v[1] for v in coords.values()), indexing="ij")
    still = np.broadcast_to(start(*places), (FRAMES.size, *places[0].shape))
    states = xr.Dataset({"u": (("t", *axes), still)}, {"t": FRAMES, **{c: v[1] for c, v in coords.items()}})
    for c in axes:
        states[c].attrs["periodic"] = 2 * np.pi
    system = parse(
        equation, Names(("t", *axes), fields={"u": ("t", *axes)}, unknowns={n: () for n in numbers})
    )
    fields = {n: xr.DataArray(v) for n, v in numbers.items()}
    evolution = evolution_of(system)
    assert evolution is not None
    solver, found = solve_on(ForwardProblem(states, fields, system, evolution, ("u",)), 1)
    assert not solver.restarts
    return found["u"].isel(t=-1).values


@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("ignore")
def test_the_forward_solution_is_the_one_of_py_pde(name):
    """The gap is py-pde's error of second order: it falls by four as both grids are halved."""
    here, there, numbers, start, axes = CASES[name]
    sizes = (64, 128) if len(axes) == 1 else (24, 48)
    gaps = []
    for nodes in sizes:
        a, b = ours(here, numbers, start, axes, nodes), theirs(there, numbers, start, axes, nodes)
        gaps.append(float(np.abs(a - b).max() / np.ptp(b)))
    assert gaps[-1] < 3e-3, gaps
    assert 3.3 < gaps[0] / gaps[1] < 4.7, gaps
    moved = dict(zip(numbers, [1.05 * v for v in numbers.values()], strict=True))
    wrong = ours(here, moved, start, axes, sizes[-1])
    assert np.abs(wrong - b).max() / np.ptp(b) > 3 * gaps[-1]
