"""What people write who come from other languages is answered with what to write here."""

import pytest

from mollifier.equations.names import Names
from mollifier.equations.system import parse
from mollifier.errors import EquationError

NAMES = Names(("x", "time"), {"u": ("x", "time")}, {"D": ()})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("u_t = D*u_xx", r"The time coordinate is 'time': write u_time or dtime\("),
        ("dt(u) = D*u_xx", "The time coordinate is 'time'"),
        ("u_time = D*laplacian(u)", r"Write lap\(u\)"),
        ("u_time = D*Δu", r"Write lap\(u\)"),
        ("u_time = D*∇²u", r"Write grad\(u\), or lap\(u\)"),
        ("diff(u, x) = D", "Write derivatives as u_x and u_xx"),
        ("∂u/∂t = D*u_xx", "Write derivatives as u_x"),
        ("du/dt = D*u_xx", "Write derivatives as u_x"),
        ("u_time = D*u''", "Write derivatives as u_x"),
        ("u_time = ln(u)", "natural logarithm"),
        ("u_time = D*curl(u)", "the components, as v_x - u_y"),
        ("u_time = integral(u, x)", "Integrals are outside"),
        ("u_time = caputo(u)", "Fractional derivatives are outside"),
        ("u_time = D*delay(u)", "Delays are outside"),
        ("u_time = D*u(time - 1)", r"as u\(t - 1\), are outside"),
    ],
)
def test_foreign_words_are_answered(text, message):
    with pytest.raises(EquationError, match=message):
        parse(text, NAMES)
