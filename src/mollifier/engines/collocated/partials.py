"""Partial derivatives of an equation."""

from __future__ import annotations

from collections.abc import Sequence

from mollifier.engines.collocated.block import Block
from mollifier.equations.lower import ArrayFunction
from mollifier.equations.system import Equation
from mollifier.mollify.orders import Derivative


class Partials:
    """The partial derivatives of one equation that are not zero, compiled once.

    Attributes
    ----------
    fields
        (block, channel) -> derivative of that field -> function of the environment.
    scalars
        Scalar unknown -> function of the environment.
    """

    def __init__(self, equation: Equation, blocks: Sequence[Block], scalars: Sequence[str]) -> None:
        present = set(equation.symbols)
        self.fields: dict[tuple[int, int], dict[Derivative, ArrayFunction]] = {}
        for b, block in enumerate(blocks):
            for channel, name in enumerate(block.names):
                found = {d: equation.partial(d.name) for d in block.needed[name] if d.name in present}
                if found:
                    self.fields[b, channel] = found
        self.scalars = {n: equation.partial(n) for n in scalars if n in present}
