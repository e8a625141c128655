"""The equation language: text, SymPy or a callable -> residuals and their partials on arrays."""

from mollifier.equations.conservative import ConservativeTerm
from mollifier.equations.lower import ArrayFunction
from mollifier.equations.names import Names
from mollifier.equations.scan import fields_in
from mollifier.equations.system import Equation, EquationSystem, parse

__all__ = ["ArrayFunction", "ConservativeTerm", "Equation", "EquationSystem", "Names", "fields_in", "parse"]
