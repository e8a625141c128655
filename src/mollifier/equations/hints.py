"""What people write who come from other languages, and what this one has in its place."""

from __future__ import annotations

from collections.abc import Sequence

_OPERATORS = {
    "lap(u)": ("laplacian", "laplace", "nabla2", "del2", "delta", "Delta", "Δ", "∇²", "∇2"),
    "grad(u)": ("gradient",),
    "grad(u), or lap(u) for its square": ("nabla", "∇"),
    "div(k*grad(u))": ("divergence",),
    "bilap(u)": ("biharmonic", "bilaplacian"),
    "log(u), the natural logarithm": ("ln", "log10", "log2"),
    "asin(u), acos(u) or atan(u)": ("arcsin", "arccos", "arctan"),
    "conj(psi)": ("conjugate",),
    "re(psi) or im(psi)": ("real", "imag"),
    "the components, as v_x - u_y": ("curl", "rot"),
    "dn(u) only in a condition at the edge of a domain": ("dn",),
    "where(x < a, k1, k2)": ("piecewise", "step", "if"),
}
_WRITTEN = {name: text for text, names in _OPERATORS.items() for name in names}
_OUTSIDE = {
    **dict.fromkeys(("int", "integral", "integrate", "sum", "mean", "conv", "convolve"), "Integrals"),
    **dict.fromkeys(("delay", "lag", "shift"), "Delays"),
    **dict.fromkeys(("frac", "caputo", "riesz", "fraclap"), "Fractional derivatives"),
}
_DERIVATIVES = ("diff", "Diff", "derivative", "Derivative", "d", "partial", "∂", "'")


def foreign(name: str, coordinates: Sequence[str], time: str) -> str:
    """A sentence for a function or sign that the language does not have; empty where none is known.

    >>> foreign("laplacian", ("x", "t"), "t")
    ' Write lap(u).'
    >>> foreign("dt", ("x", "time"), "time")
    " The time coordinate is 'time': write u_time or dtime(...)."
    """
    if name in _WRITTEN:
        return f" Write {_WRITTEN[name]}."
    if name in _OUTSIDE:
        return (
            f" {_OUTSIDE[name]} are outside of the equation language: equations hold at each place by itself."
        )
    if name in ("dt", "u_t") and time not in ("", "t"):
        return f" The time coordinate is '{time}': write u_{time} or d{time}(...)."
    if name in _DERIVATIVES:
        c = next(iter(coordinates), "x")
        return f" Write derivatives as u_{c} and u_{c}{c}, or as d{c}(...) of an expression."
    return ""
