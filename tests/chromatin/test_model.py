"""The chromatin model: its equation, its potential, its units, the estimate from domains."""

import numpy as np
import pytest
import sympy

from mollifier.chromatin.model import ChromatinModel, FreeEnergy, geometric_rate
from mollifier.equations.names import Names
from mollifier.equations.system import parse
from mollifier.errors import ConfigurationError

N = 0.1
ENERGY = FreeEnergy(well=5.0, mixing=0.8, packed=0.9, interface=40.0)
MODEL = ChromatinModel(ENERGY, diffusion=70.0, acetylation=1.5e-3)


def energy_density(phi_d: sympy.Expr) -> sympy.Expr:
    """The bulk's energy as in the docstring, at fixed nucleoplasm."""
    phi_h, phi_e = (1 - N + phi_d) / 2, (1 - N - phi_d) / 2
    return ENERGY.well * phi_h**2 * (ENERGY.packed - phi_h) ** 2 + ENERGY.mixing * phi_e**2


def test_model_potential_is_derivative_of_energy():
    """The potential is the derivative of the energy."""
    d = sympy.Symbol("d")
    slope = sympy.lambdify(d, energy_density(d).diff(d))
    phi_d = np.linspace(-0.8, 0.8, 17)
    found = MODEL.bulk_potential((1 - N + phi_d) / 2, (1 - N - phi_d) / 2)
    np.testing.assert_allclose(found, slope(phi_d), rtol=1e-12, atol=1e-14)


def test_model_equation_text():
    """With phi_d put in for phi_h the text's residual is that of the equation in phi_d, times nothing."""
    x, t = sympy.symbols("x t")
    phi_d = sympy.sin(2 * x) * sympy.exp(-t) / 3
    lam = 1 + sympy.cos(x) / 4
    s = MODEL.scaled()
    mu = energy_density(phi_d).diff(x) / phi_d.diff(x) - s.energy.interface**2 * phi_d.diff(x, 2)
    phi_h, phi_e = (1 - N + phi_d) / 2, (1 - N - phi_d) / 2
    expected = phi_d.diff(t) - mu.diff(x, 2) - 2 * (lam * phi_e - phi_h)
    names = Names(("x", "t"), {"phi_h": ("x", "t")}, {"lam": ("x",)})
    text = s.equation().replace("chromatin", f"{1 - N}").removesuffix(" + source")
    equation = parse(text, names).equations[0]
    at = {x: 0.7, t: 0.3}
    env = {"lam": float(lam.subs(at))}
    for symbol in equation.symbols:
        if symbol.startswith("phi_h"):
            orders = symbol.removeprefix("phi_h").removeprefix("_")
            value = phi_h
            for c in orders:
                value = value.diff({"x": x, "t": t}[c])
            env[symbol] = float(value.subs(at))
    assert float(equation.evaluate(env)) == pytest.approx(float(expected.subs(at)), rel=1e-9)


def test_model_scaled():
    """In scaled units length and time are 1."""
    scaled = MODEL.scaled()
    assert scaled.energy.interface * MODEL.length == pytest.approx(40.0)
    assert scaled.length == scaled.time == 1.0


def test_model_equation_still_and_sources():
    """A still image has no time derivative and sources are named."""
    text = MODEL.equation(still=True)
    assert text.startswith("0 = ")
    assert "chromatin" in text
    assert text.endswith("+ source")


def test_geometric_rate():
    """100 nm and 300 nm are the sizes that give about 0.12."""
    assert geometric_rate(100.0, 300.0) == pytest.approx(1 / 8)
    assert geometric_rate(1.0, 3.0) == geometric_rate(100.0, 300.0)
    with pytest.raises(ConfigurationError, match="larger one"):
        geometric_rate(100.0, 90.0)


@pytest.mark.parametrize(
    "make",
    [
        lambda: FreeEnergy(well=-1.0),
        lambda: FreeEnergy(interface=0.0),
        lambda: ChromatinModel(diffusion=0.0),
        lambda: ChromatinModel(acetylation=float("nan")),
    ],
)
def test_model_parameters_out_of_range(make):
    """Parameters out of range are refused."""
    with pytest.raises(ConfigurationError, match="was expected"):
        make()
