"""Partial derivatives of an equation."""

from __future__ import annotations

from collections.abc import Sequence

import sympy

from mollifier.engines.collocated.block import Block
from mollifier.equations.algebra import differentiate
from mollifier.equations.laws import as_functions, as_symbols, over_fields
from mollifier.equations.lower import ArrayFunction
from mollifier.equations.system import Equation
from mollifier.mollify.orders import Derivative


class Partials:
    """The partial derivatives of one equation that are not zero, compiled once.

    Laws change with their states.
    """

    def __init__(self, equation: Equation, blocks: Sequence[Block], scalars: Sequence[str]) -> None:
        names, present = equation.names, set(equation.symbols)
        varied = {c for s in present for c in over_fields(names, names.resolve(s).derivative.field)}
        functions = as_functions(equation.residual, names)

        def partial(name: str) -> ArrayFunction:
            if name not in varied:
                return equation.partial(name)
            return ArrayFunction(as_symbols(differentiate(functions, sympy.Symbol(name))))

        present |= varied
        #: (block, channel) -> derivative of that field -> function of the environment.
        self.fields: dict[tuple[int, int], dict[Derivative, ArrayFunction]] = {}
        for b, block in enumerate(blocks):
            for channel, name in enumerate(block.names):
                found = {d: partial(d.name) for d in block.needed[name] if d.name in present}
                if found:
                    self.fields[b, channel] = found
        #: Scalar unknown -> function of the environment.
        self.scalars = {n: equation.partial(n) for n in scalars if n in present}
