"""Closed forms of a law: the right one has the largest evidence, and what cannot be simplified is refused."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from mollifier import MollifierError, Solution, Status, simplify
from mollifier.diagnostics.simplify import FORMS

U = np.linspace(0.05, 1.0, 101)


def solution(law, sd=0.01, seed=0, **attrs):
    """A solution whose law has an error of five smooth modes, drawn once."""
    modes = sd * np.array([np.cos(k * np.pi * U) / (1 + k) for k in range(5)])
    noise = np.random.default_rng(seed).standard_normal(5) @ modes
    found = law(U) + noise
    found = found - found.mean() if attrs else found
    dataset = xr.Dataset(
        {"k": ("u_value", found, attrs), "k_modes": (("k_mode", "u_value"), modes)}, {"u_value": U}
    )
    fit, history = xr.Dataset({"u": ("observation", np.zeros(5000))}), xr.Dataset({"loss": ("step", [])})
    return Solution(Status("converged"), {}, dataset, fit, history, {})


@pytest.mark.parametrize(
    ("law", "expected", "parameters"),
    [
        (lambda u: 0.7 + 0 * u, "constant", {"a": 0.7}),
        (lambda u: 2 * u**1.5, "power", {"a": 2.0, "m": 1.5}),
        (lambda u: 3 * u / (0.2 + u), "Monod", {"a": 3.0, "b": 0.2}),
        (lambda u: 4 * u * (1 - u / 0.9), "logistic growth", {"a": 4.0, "b": 0.9}),
        (lambda u: 0.5 * np.exp(1.7 * u), "exponential", {"a": 0.5, "b": 1.7}),
    ],
)
def test_simplify_finds_the_form(law, expected, parameters):
    """The form that made the curve is first, its numbers within four of their standard errors."""
    tried = {
        n: FORMS[n] for n in ("constant", "quadratic", "power", "exponential", "Monod", "logistic growth")
    }
    best = simplify(solution(law), "k", tried)[0]
    assert best.name == expected
    assert best.probability > 0.01
    for name, value in parameters.items():
        found = best.parameters[name]
        assert abs(found.value - value) < 4 * found.sd


def test_simplify_law_up_to_a_constant():
    """Of a law known up to a constant, forms are compared without theirs."""
    made = solution(lambda u: 2 * u**3 - 3 * u, comment="free up to a constant")
    forms = {"odd cubic": "a*u^3 - b*u", "quadratic": "a*u + b*u^2"}
    best = simplify(made, "k", forms)[0]
    assert best.formula == "a*u^3 - b*u"
    assert best.parameters["b"].value == pytest.approx(3.0, abs=0.2)


@pytest.mark.parametrize(
    ("name", "forms", "message"),
    [
        ("D", None, "no unknown field 'D'"),
        ("w", None, "a law of one state with standard errors was expected"),
        ("k", {"odd": "a*("}, "ends here|expected"),
    ],
)
def test_simplify_refuses(name, forms, message):
    """Unknown names, fields that are no laws and formulas that cannot be read are refused."""
    made = solution(np.sqrt)
    made.dataset["w"] = ("x", np.ones(3))
    with pytest.raises(MollifierError, match=message):
        simplify(made, name, forms)


@pytest.mark.parametrize(
    ("forms", "message"),
    [
        ({"bad": "__import__('os').getcwd()*u"}, "not part of the equation language"),
        ({"bad": "a*u^(1/0)"}, "divides by zero"),
        ({"bad": "a = u"}, "without '='"),
        ({"bad": 3}, "a formula was expected"),
        (["a*u"], "names with formulas"),
    ],
)
def test_forms_are_read_as_equations_are(forms, message):
    """Never as Python; names such as E, S and lambda are parameters."""
    with pytest.raises(MollifierError, match=message):
        simplify(solution(np.sqrt), "k", forms)


def test_names_of_constants_are_parameters():
    """E, S and lambda mean nothing of their own."""
    for name in ("E", "S", "lambda", "N"):
        (form,) = simplify(solution(lambda u: 2 * u), "k", {"line": f"{name}*u"})
        assert form.parameters[name].value == pytest.approx(2.0, abs=0.1)
