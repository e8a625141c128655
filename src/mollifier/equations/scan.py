"""Which variables an equation differentiates, before anything is declared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sympy
from sympy.core.function import AppliedUndef

from mollifier.equations.build import OPERATORS, listed, operator_coordinates, trace
from mollifier.equations.functions import FUNCTIONS
from mollifier.equations.names import Names, parts_of
from mollifier.equations.syntax import Node, read
from mollifier.errors import EquationError
from mollifier.mollify.orders import Derivative


def fields_in(
    equations: Any, candidates: Mapping[str, Sequence[str]] | Iterable[str], coordinates: Sequence[str]
) -> tuple[str, ...]:
    """Candidates that the equations differentiate, and which must therefore be fields, in the order given.

    Equations are as in `parse`. Candidates are names of data variables; a mapping to their coordinates
    excludes those that a derivative cannot touch, such as constants inside ``div``. Raises `EquationError` if
    a text does not parse or a callable cannot be traced.

    >>> fields_in("0 = div(k*grad(u)) + s", ("u", "s"), ("x", "y"))
    ('u',)
    >>> fields_in("u_t = c*w*lap(u)", {"u": ("x", "t"), "w": ("x",), "c": ()}, ("x", "t"))
    ('u',)
    """
    over = {
        n: tuple(candidates[n]) if isinstance(candidates, Mapping) else tuple(coordinates) for n in candidates
    }
    # As unknowns: names alone count here, and a variable may vary over nothing.
    names = Names(tuple(coordinates), unknowns=over)
    scan = _Scan(over | {n: over[parts_of(n)[0]] for n in names.complex}, names)
    for item in listed(equations):
        if isinstance(item, str):
            for side in (side for statement in read(item) for side in statement.sides):
                scan.tree(side, ())
        elif isinstance(item, sympy.Basic):
            scan.expression(item, ())
        elif callable(item):
            scan.expression(trace(item, sympy.Symbol, tuple(over)), ())
        else:
            raise EquationError(
                f"An equation is a text, a SymPy expression or a callable; given: {item!r:.80}."
            )
    whole = {part: n for n in scan.names.complex for part in parts_of(n)}
    return tuple(n for n in over if n in scan.found or whole.get(n) in scan.found)


def arguments_in(equations: Any) -> dict[str, tuple[str, ...]]:
    """What names are written as functions of, ``D(u)``, in texts and SymPy expressions.

    >>> arguments_in("u_t = dx(D(u)*u_x) + r(u, x)*sin(u)")
    {'D': ('u',), 'r': ('u', 'x')}
    """
    found: dict[str, tuple[str, ...]] = {}

    def walk(node: Node) -> None:
        own = node.kind == "call" and node.value not in FUNCTIONS and node.value not in OPERATORS
        if own and node.children and all(c.kind == "name" for c in node.children):
            found[node.value] = tuple(c.value for c in node.children)
        for child in node.children:
            walk(child)

    for item in listed(equations):
        if isinstance(item, str):
            for side in (side for statement in read(item) for side in statement.sides):
                walk(side)
        elif isinstance(item, sympy.Basic):
            for f in item.atoms(AppliedUndef):
                found[type(f).__name__] = tuple(map(str, f.args))
    return found


class _Scan:
    """Walks trees with the coordinates along which the place is differentiated."""

    def __init__(self, over: dict[str, tuple[str, ...]], names: Names) -> None:
        self.over = over
        self.names = names
        self.found: set[str] = set()

    def name(self, name: str, along: tuple[str, ...]) -> None:
        if name in self.over:
            if set(along) & set(self.over[name]):
                self.found.add(name)
        elif len(name) <= 64:
            for base in self.over:
                suffix = name.removeprefix(f"{base}_")
                if suffix != name and Derivative.parse(f"u_{suffix}", self.names.coordinates).total:
                    self.found.add(base)

    def tree(self, node: Node, along: tuple[str, ...]) -> None:
        if node.kind == "name":
            self.name(node.value, along)
        elif node.kind == "call":
            if node.value in ("lap", "bilap", "grad", "div"):
                along += self.names.spatial
            elif d := operator_coordinates(node.value, self.names.coordinates):
                along += tuple(c for c, _ in d.orders)
        for child in node.children:
            self.tree(child, along)

    def expression(self, expr: sympy.Basic, along: tuple[str, ...]) -> None:
        if isinstance(expr, sympy.Symbol):
            self.name(expr.name, along)
        elif isinstance(expr, AppliedUndef):
            self.name(type(expr).__name__, along)
        elif isinstance(expr, sympy.Derivative):
            variables: Any = expr.variable_count
            self.expression(expr.expr, along + tuple(str(v) for v, _ in variables))
        else:
            for a in expr.args:
                self.expression(a, along)
