"""Complex expressions by their real and imaginary parts."""

from __future__ import annotations

import sympy

from mollifier.equations.algebra import expand
from mollifier.errors import EquationError


def split(expression: sympy.Expr) -> tuple[sympy.Expr, sympy.Expr]:
    """Real and imaginary part of an expression in real symbols.

    >>> u, v = sympy.symbols("u v")
    >>> split((u + sympy.I * v) ** 2)
    (u**2 - v**2, 2*u*v)
    """
    if not expression.has(sympy.I):
        return expression, sympy.S.Zero
    real, imaginary = [], []
    for term in sympy.Add.make_args(expand(expression)):
        outer, inner = term.as_independent(sympy.I, as_Add=False)
        if inner not in (1, sympy.I):
            raise EquationError(
                f"The real part of {inner} was not found: products, sums and whole powers of complex names, "
                "abs, conj, re and im are understood. Multiply denominators out, and write exp(i*w) as "
                "cos(w) + i*sin(w)."
            )
        (real if inner == 1 else imaginary).append(outer)
    return sympy.Add(*real), sympy.Add(*imaginary)


def conjugate(expression: sympy.Expr) -> sympy.Expr:
    """The complex conjugate."""
    real, imaginary = split(expression)
    return real - sympy.I * imaginary


def reciprocal(expression: sympy.Expr) -> sympy.Expr:
    """One over an expression, with a real denominator."""
    if not expression.has(sympy.I):
        return 1 / expression
    real, imaginary = split(expression)
    return (real - sympy.I * imaginary) / (real**2 + imaginary**2)


def magnitude(expression: sympy.Expr) -> sympy.Expr:
    """The absolute value of an expression that holds the imaginary unit."""
    real, imaginary = split(expression)
    return sympy.sqrt(real**2 + imaginary**2)


def parts_of_equation(text: str, residual: sympy.Expr) -> dict[str, sympy.Expr]:
    """Text and residual of an equation, or of its real and its imaginary part.

    >>> u, v = sympy.symbols("u v")
    >>> parts_of_equation("i*u = v", sympy.I * u - v)
    {'re(i*u) = re(v)': -v, 'im(i*u) = im(v)': u}
    """
    try:
        parts = dict(zip(("re", "im"), split(residual), strict=True))
    except EquationError as error:
        raise EquationError(f"{error}\n  {text}") from None
    if parts["im"] == 0:
        return {text: parts["re"]}
    sides = [side.strip() for side in text.split("=")]
    return {" = ".join(f"{n}({side})" for side in sides): p for n, p in parts.items() if p != 0}
