"""Inverse PDE problems from noisy, incomplete fields, with derivatives by mollification.

The names below are the public contract; they load on first use, so that ``import mollifier`` stays light.
"""

from __future__ import annotations

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

from mollifier._version import __version__
from mollifier.io.on_import import follow

if TYPE_CHECKING:
    from mollifier.data.observations import Observations
    from mollifier.data.read import read
    from mollifier.diagnostics.check.check import check
    from mollifier.diagnostics.compare.comparison import compare
    from mollifier.diagnostics.intervals.bootstrap import bootstrap
    from mollifier.diagnostics.intervals.ensemble import ensemble
    from mollifier.diagnostics.simplify import simplify
    from mollifier.diagnostics.validation.validate import validate
    from mollifier.engines.settings import load_problem
    from mollifier.engines.solve import solve
    from mollifier.errors import MollifierError
    from mollifier.mollify.differentiate import differentiate
    from mollifier.mollify.grid import Axis, Grid
    from mollifier.mollify.kernels import BSpline, Bump, Kernel, Polynomial
    from mollifier.mollify.layer import MollifierLayer
    from mollifier.mollify.orders import Jet
    from mollifier.problem.conditions import Condition
    from mollifier.problem.domain import Domain
    from mollifier.problem.estimate import Estimate
    from mollifier.problem.inverse_problem import InverseProblem
    from mollifier.problem.solution import Solution, load_solution
    from mollifier.problem.status import Status
    from mollifier.problem.unknowns import FieldUnknown, ScalarUnknown, StateUnknown
    from mollifier.reporting.figures import plot
    from mollifier.reporting.page.build import report

_HOME = {
    "Axis": "mollify.grid",
    "BSpline": "mollify.kernels",
    "Bump": "mollify.kernels",
    "Condition": "problem.conditions",
    "Domain": "problem.domain",
    "Estimate": "problem.estimate",
    "FieldUnknown": "problem.unknowns",
    "Grid": "mollify.grid",
    "InverseProblem": "problem.inverse_problem",
    "Jet": "mollify.orders",
    "Kernel": "mollify.kernels",
    "MollifierError": "errors",
    "MollifierLayer": "mollify.layer",
    "Observations": "data.observations",
    "Polynomial": "mollify.kernels",
    "ScalarUnknown": "problem.unknowns",
    "Solution": "problem.solution",
    "StateUnknown": "problem.unknowns",
    "Status": "problem.status",
    "bootstrap": "diagnostics.intervals.bootstrap",
    "check": "diagnostics.check.check",
    "compare": "diagnostics.compare.comparison",
    "differentiate": "mollify.differentiate",
    "ensemble": "diagnostics.intervals.ensemble",
    "load_problem": "engines.settings",
    "load_solution": "problem.solution",
    "plot": "reporting.figures",
    "read": "data.read",
    "report": "reporting.page.build",
    "simplify": "diagnostics.simplify",
    "solve": "engines.solve",
    "validate": "diagnostics.validation.validate",
}

__all__ = [
    "Axis",
    "BSpline",
    "Bump",
    "Condition",
    "Domain",
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
    "StateUnknown",
    "Status",
    "__version__",
    "bootstrap",
    "check",
    "compare",
    "differentiate",
    "ensemble",
    "load_problem",
    "load_solution",
    "plot",
    "read",
    "report",
    "simplify",
    "solve",
    "validate",
]


follow("xarray", "mollifier.data.accessor")
logging.getLogger(__name__).addHandler(logging.NullHandler())


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'mollifier' has no attribute '{name}'")
    value = getattr(import_module(f"mollifier.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
