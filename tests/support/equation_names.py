"""Names of equations in the tests of the language."""

import sympy

from mollifier.equations.names import Names
from mollifier.equations.system import parse

XYT = ("x", "y", "t")
NAMES = Names(
    XYT,
    fields={"u": XYT, "w": XYT, "psi": XYT},
    unknowns={"k": ("x", "y"), "r": (), "nu": (), "lambda": ()},
    known={"s": ("x", "y"), "c": (), "temp_rate": ("t",)},
    constants={"g": 9.81},
)


def residual(text: str, names: Names = NAMES) -> sympy.Expr:
    system = parse(text, names)
    assert len(system.equations) == 1
    return system.equations[0].residual
