"""Equations as MathML, from the same syntax trees that the engines read."""

from __future__ import annotations

from html import escape

from sympy.printing.pretty.pretty_symbology import greek_unicode

from mollifier.equations.syntax import Node, read
from mollifier.errors import EquationError

_GREEK = {n: letter for n, letter in greek_unicode.items() if n.islower()} | {"lam": "λ"}
# How tightly an operation binds: what binds looser inside a tighter one is put in brackets.
_SUM, _PRODUCT, _POWER, _ATOM = range(4)
_BINDS = {"sum": _SUM, "negative": _SUM, "product": _PRODUCT, "power": _POWER}


def mathml(text: str) -> str:
    """Equations, one line each; text that the language does not read stays text.

    >>> print(mathml("u_t = 2"))
    <math display="block"><mrow><msub><mi>u</mi><mi>t</mi></msub><mo>=</mo><mn>2</mn></mrow></math>
    """
    try:
        statements = read(text.replace("**", "^"))
    except EquationError:
        return f"<code>{escape(text)}</code>"
    lines = []
    for s in statements:
        right = "<mn>0</mn>" if s.right is None else _row(s.right)
        lines.append(f'<math display="block"><mrow>{_row(s.left)}<mo>=</mo>{right}</mrow></math>')
    return "".join(lines)


def _row(node: Node, within: int = _SUM) -> str:
    """A node; in brackets where it binds looser than the operation around it."""
    inner = getattr(_Writer, node.kind)(node)
    if _BINDS.get(node.kind, _ATOM) < within:
        return f"<mrow><mo>(</mo>{inner}<mo>)</mo></mrow>"
    return inner


def _letter(name: str) -> str:
    head, _, tail = name.partition("_")
    base = f"<mi>{escape(_GREEK.get(head, head))}</mi>"
    return f"<msub>{base}<mi>{escape(tail)}</mi></msub>" if tail else base


class _Writer:
    """One method for each kind of node."""

    @staticmethod
    def number(node: Node) -> str:
        mantissa, _, exponent = node.value.lower().partition("e")
        if not exponent:
            return f"<mn>{escape(node.value)}</mn>"
        return f"<mn>{mantissa}</mn><mo>·</mo><msup><mn>10</mn><mn>{int(exponent)}</mn></msup>"

    @staticmethod
    def name(node: Node) -> str:
        return _letter(node.value)

    @staticmethod
    def negative(node: Node) -> str:
        return f"<mo>−</mo>{_row(node.children[0], _PRODUCT)}"

    @staticmethod
    def sum(node: Node) -> str:
        parts = []
        for i, (sign, child) in enumerate(zip(node.value, node.children, strict=True)):
            shown = "" if i == 0 and sign == "+" else f"<mo>{'+' if sign == '+' else '−'}</mo>"
            parts.append(shown + _row(child, _PRODUCT))
        return "".join(parts)

    @staticmethod
    def product(node: Node) -> str:
        pairs = list(zip(node.value, node.children, strict=True))
        above = [_row(c, _PRODUCT) for o, c in pairs if o == "*"]
        below = [c for o, c in pairs if o == "/"]
        over = "<mo>&#8290;</mo>".join(above) or "<mn>1</mn>"
        if not below:
            return over
        under = "<mo>&#8290;</mo>".join(_row(c, _PRODUCT if len(below) > 1 else _SUM) for c in below)
        return f"<mfrac><mrow>{over}</mrow><mrow>{under}</mrow></mfrac>"

    @staticmethod
    def power(node: Node) -> str:
        base, exponent = node.children
        return f"<msup><mrow>{_row(base, _ATOM)}</mrow><mrow>{_row(exponent)}</mrow></msup>"

    @staticmethod
    def vector(node: Node) -> str:
        inside = "<mo>,</mo>".join(_row(c) for c in node.children)
        return f"<mrow><mo>[</mo>{inside}<mo>]</mo></mrow>"

    @staticmethod
    def call(node: Node) -> str:
        nabla, name = "<mo>∇</mo>", node.value
        if name in ("lap", "bilap", "grad", "div"):
            power = {"lap": 2, "bilap": 4}.get(name)
            sign = nabla if power is None else f"<msup>{nabla}<mn>{power}</mn></msup>"
            dot = "<mo>·</mo>" if name == "div" else ""
            return f"{sign}{dot}{_row(node.children[0], _ATOM)}"
        if name == "dot":
            return "<mo>·</mo>".join(_row(c, _ATOM) for c in node.children)
        if name == "sqrt":
            return f"<msqrt>{_row(node.children[0])}</msqrt>"
        if name == "abs":
            return f"<mrow><mo>|</mo>{_row(node.children[0])}<mo>|</mo></mrow>"
        inside = "<mo>,</mo>".join(_row(c) for c in node.children)
        if len(name) > 1 and name.startswith("d") and len(set(name[1:])) <= 3:
            head = f"<msub><mo>∂</mo><mi>{escape(name[1:])}</mi></msub>"
        else:
            head = f"<mi>{escape(name)}</mi>"
        return f"{head}<mrow><mo>(</mo>{inside}<mo>)</mo></mrow>"
