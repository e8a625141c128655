"""Functions of the equation language (registry, plugins, domains), and bounds of powers and constants."""

import numpy as np
import pytest
import sympy
import torch

from mollifier.equations.functions import FUNCTIONS, Function
from mollifier.equations.names import Names
from mollifier.equations.system import parse
from mollifier.errors import EquationError

NAMES = Names(("x", "t"), fields={"u": ("x", "t")}, unknowns={"a": ()})


class Logistic(sympy.Function):
    """1 / (1 + exp(-x)), with its derivative rule."""

    def fdiff(self, argindex=1):
        return self * (1 - self)


@pytest.fixture
def logistic(monkeypatch):
    monkeypatch.setattr(FUNCTIONS, "_entries", dict(FUNCTIONS._entries))
    entry = Function(Logistic, lambda x: 1 / (1 + np.exp(-x)), lambda module, x: 1 / (1 + module.exp(-x)))
    FUNCTIONS.register("logistic", entry)


def test_function_registered_by_a_plugin(logistic):
    """It is parsed, folded, evaluated by NumPy and torch, and differentiated by its own rule."""
    equation = parse("u_t = a*dx(logistic(u)) + logistic(0)", NAMES).equations[0]
    u = np.linspace(-1, 1, 5)
    env = {"u_t": np.zeros(5), "a": 2.0, "u": u, "u_x": np.ones(5)}
    s = 1 / (1 + np.exp(-u))
    np.testing.assert_allclose(equation.evaluate(env), -2 * s * (1 - s) - 0.5, rtol=1e-14)
    tensors = {n: torch.as_tensor(v, dtype=torch.float64) for n, v in env.items()}
    np.testing.assert_allclose(equation.evaluate(tensors).numpy(), -2 * s * (1 - s) - 0.5, rtol=1e-14)


def test_function_unknown_names_the_registered_ones(logistic):
    with pytest.raises(EquationError, match="Did you mean 'logistic'"):
        parse("u_t = logistics(u)", NAMES)


@pytest.mark.parametrize(("call", "domain"), [("log(0)", "x > 0"), ("asin(2)", "-1 <= x <= 1")])
def test_function_outside_its_domain(call, domain):
    with pytest.raises(EquationError, match=f"is defined for {domain}"):
        parse(f"u_t = {call}", NAMES)


@pytest.mark.parametrize("text", ["((u^100)^100)^100", "(u*u_x)^50^3", "((u^10)^10)^2"])
def test_power_of_powers_is_bounded(text):
    """SymPy multiplies the exponents, and the bound of 100 holds for the product."""
    with pytest.raises(EquationError, match="is too large; at most 100"):
        parse(f"u_t = {text}", Names(("x", "t"), {"u": ("x", "t")}))


@pytest.mark.parametrize("value", ["2", np.ones(3), 1j, None, np.inf])
def test_constant_that_is_no_number(value):
    with pytest.raises(EquationError, match=r"The constant 'c' is .*; a finite number was expected"):
        Names(("x", "t"), {"u": ("x", "t")}, constants={"c": value})
