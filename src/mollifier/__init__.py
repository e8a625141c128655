"""Inverse PDE problems from noisy, incomplete fields, with derivatives by mollification.

The names below are the public contract; they load on first use, so that ``import mollifier`` stays light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from mollifier.data import Observations
    from mollifier.engines import solve
    from mollifier.errors import MollifierError
    from mollifier.grid import Axis, Grid
    from mollifier.intervals import bootstrap, ensemble
    from mollifier.jet import Jet
    from mollifier.kernels import BSpline, Bump, Kernel, Polynomial
    from mollifier.layer import MollifierLayer
    from mollifier.measured import differentiate
    from mollifier.problem import InverseProblem
    from mollifier.solution import Estimate, Solution, load_solution
    from mollifier.unknowns import FieldUnknown, ScalarUnknown

_HOME = {
    "Axis": "grid",
    "BSpline": "kernels",
    "Bump": "kernels",
    "Estimate": "solution",
    "FieldUnknown": "unknowns",
    "Grid": "grid",
    "InverseProblem": "problem",
    "Jet": "jet",
    "Kernel": "kernels",
    "MollifierError": "errors",
    "MollifierLayer": "layer",
    "Observations": "data",
    "Polynomial": "kernels",
    "ScalarUnknown": "unknowns",
    "Solution": "solution",
    "bootstrap": "intervals",
    "differentiate": "measured",
    "ensemble": "intervals",
    "load_solution": "solution",
    "solve": "engines",
}

__all__ = [
    "Axis",
    "BSpline",
    "Bump",
    "Estimate",
    "FieldUnknown",
    "Grid",
    "InverseProblem",
    "Jet",
    "Kernel",
    "MollifierError",
    "MollifierLayer",
    "Observations",
    "Polynomial",
    "ScalarUnknown",
    "Solution",
    "__version__",
    "bootstrap",
    "differentiate",
    "ensemble",
    "load_solution",
    "solve",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'mollifier' has no attribute '{name}'")
    value = getattr(import_module(f"mollifier.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
