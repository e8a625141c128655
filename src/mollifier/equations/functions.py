"""The functions of the equation language: one entry each, with all that parsing and evaluation need of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.special
import sympy

from mollifier.io.registry import Registry


@dataclass(frozen=True)
class Function:
    """A function that equations may call.

    >>> FUNCTIONS["tanh"].number(0.0), FUNCTIONS["log"].domain
    (0.0, 'x > 0')
    """

    #: SymPy's function; a class whose ``fdiff`` is the derivative rule. A plugin's is a subclass of
    #: `sympy.Function` with ``fdiff``.
    symbolic: Any
    #: The same on floats; raises ``ValueError`` or ``ArithmeticError`` outside the domain.
    number: Callable[..., float]
    #: The same on arrays: the name that NumPy and torch share, or a callable of the module and the arguments.
    #: Of a function of many arguments it takes two, and is applied from left to right.
    array: str | Callable[..., Any]
    domain: str = "every x"  #: Where it is defined, for messages.
    #: Of a function of one argument, on SymPy expressions; None where fluxes do not need it.
    antiderivative: Callable[[Any], Any] | None = None
    many: bool = False  #: Whether it takes two arguments or more, rather than one.

    def on_arrays(self, module: Any, *args: Any) -> Any:
        """Value on arrays of one module, `numpy` or `torch`, in the shape that they broadcast to."""
        if isinstance(self.array, str):
            return getattr(module, self.array)(*args)
        return self.array(module, *args)


def _sign(x: float) -> float:
    return float((x > 0) - (x < 0))


FUNCTIONS: Registry[Function] = Registry(
    "function of the equation language",
    {
        "exp": Function(sympy.exp, math.exp, "exp", antiderivative=sympy.exp),
        "log": Function(sympy.log, math.log, "log", "x > 0"),
        "sqrt": Function(sympy.sqrt, math.sqrt, "sqrt", "x >= 0"),
        "sin": Function(sympy.sin, math.sin, "sin", antiderivative=lambda x: -sympy.cos(x)),
        "cos": Function(sympy.cos, math.cos, "cos", antiderivative=sympy.sin),
        "tan": Function(sympy.tan, math.tan, "tan", "x other than pi/2 + n*pi"),
        "asin": Function(sympy.asin, math.asin, "arcsin", "-1 <= x <= 1"),
        "acos": Function(sympy.acos, math.acos, "arccos", "-1 <= x <= 1"),
        "atan": Function(sympy.atan, math.atan, "arctan"),
        "sinh": Function(sympy.sinh, math.sinh, "sinh", antiderivative=sympy.cosh),
        "cosh": Function(sympy.cosh, math.cosh, "cosh", antiderivative=sympy.sinh),
        "tanh": Function(sympy.tanh, math.tanh, "tanh"),
        "abs": Function(sympy.Abs, math.fabs, "abs"),
        "sign": Function(sympy.sign, _sign, "sign"),
        "heaviside": Function(
            sympy.Heaviside, lambda x: 0.5 * (1 + _sign(x)), lambda xp, x: 0.5 + 0.5 * xp.sign(x)
        ),
        "erf": Function(sympy.erf, math.erf, lambda xp, x: scipy.special.erf(x) if xp is np else xp.erf(x)),
        "min": Function(sympy.Min, min, "minimum", many=True),
        "max": Function(sympy.Max, max, "maximum", many=True),
    },
)


def name_of(symbolic: Any) -> str | None:
    """The name of SymPy's function in the equation language; None where it has none.

    >>> name_of(sympy.tanh), name_of(sympy.gamma)
    ('tanh', None)
    """
    return next((name for name, f in FUNCTIONS.items() if f.symbolic is symbolic), None)
