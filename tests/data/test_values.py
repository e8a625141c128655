"""Complex data and equations, by their real and imaginary parts."""

import numpy as np
import pytest
import sympy
import xarray as xr

import mollifier as mf
from mollifier.equations.names import Names
from mollifier.equations.system import parse
from mollifier.errors import DataError, EquationError

BOTH = {"psi_re": ("x", "t"), "psi_im": ("x", "t")}


def residuals(text: str) -> list[sympy.Expr]:
    names = Names(("x", "t"), BOTH, {"a": ()})
    return [e.residual for e in parse(text, names).equations]


def waves(nodes: int = 128, steps: int = 1000, count: int = 41) -> xr.Dataset:
    """i psi_t + 0.5 psi_xx + |psi|^2 psi = 0 with period 10, by Strang splitting with Fourier modes."""
    x = np.linspace(-5, 5, nodes, endpoint=False)
    k, dt = 2 * np.pi * np.fft.fftfreq(nodes, 10 / nodes), 1.0 / steps
    psi, kept = 2 / np.cosh(x) + 0.3j * np.sin(2 * np.pi * x / 5), []
    for step in range(steps + 1):
        if step % (steps // (count - 1)) == 0:
            kept.append(psi)
        psi = psi * np.exp(0.5j * dt * np.abs(psi) ** 2)
        psi = np.fft.ifft(np.exp(-0.5j * dt * k**2) * np.fft.fft(psi))
        psi = psi * np.exp(0.5j * dt * np.abs(psi) ** 2)
    return xr.Dataset({"psi": (("x", "t"), np.array(kept).T)}, {"x": x, "t": np.linspace(0, 1, count)})


def test_an_equation_becomes_its_two_parts():
    """Schroedinger's, by hand."""
    assert residuals("i*psi_t + a*psi_xx + abs(psi)^2*psi = 0") == [
        sympy.sympify("a*psi_re_xx + psi_im**2*psi_re + psi_re**3 - psi_im_t"),
        sympy.sympify("a*psi_im_xx + psi_im**3 + psi_im*psi_re**2 + psi_re_t"),
    ]


@pytest.mark.parametrize("text", ["psi_t = (1 + i*a)*lap(psi)", "i*psi_t = psi_xx/(1 + 2*i) + a*conj(psi)"])
def test_the_text_of_a_part_gives_the_part_again(text):
    """So that an equation can be read back from a solution."""
    names = Names(("x", "t"), BOTH, {"a": ()})
    both = parse(text, names).equations
    assert len(both) == 2
    assert [e.residual for e in parse([e.text for e in both], names).equations] == [e.residual for e in both]


def test_a_real_equation_of_complex_names_stays_one():
    assert residuals("a = re(psi)*conj(psi)*psi") == [sympy.sympify("a - psi_im**2*psi_re - psi_re**3")]


@pytest.mark.parametrize("text", ["psi_t = a*exp(i*psi)", "psi_t = a/(1 + sqrt(psi))"])
def test_what_has_no_known_parts_is_refused(text):
    with pytest.raises(EquationError, match="write exp"):
        residuals(text)


def test_without_complex_names_i_means_nothing():
    with pytest.raises(EquationError, match="'i' is not a name"):
        parse("i*u_t = u_xx", Names(("x", "t"), {"u": ("x", "t")}))


def test_complex_data_are_two_variables_with_their_noise():
    obs = mf.Observations.from_dataset(waves(32, 40, 5), noise={"psi": 0.01}, units={"psi": "m^-0.5"})
    assert obs.variables == ("psi_re", "psi_im")
    assert obs.units == {"psi_re": "m^-0.5", "psi_im": "m^-0.5"}
    points = mf.Observations({"psi": [1 + 1j, 2j, 3.0]}, {"x": [0.0, 1.0, 2.0]}, noise={"psi": 0.1})
    np.testing.assert_allclose(points.samples("psi_im").values, [1, 2, 0])


def test_a_part_that_is_in_the_data_already_is_refused():
    with pytest.raises(DataError, match="'psi_re' is in the data already"):
        mf.Observations.from_dataset(waves(32, 40, 5).assign(psi_re=lambda d: d.psi.real))


@pytest.mark.parametrize("fields", [None, ["psi"]], ids=["by default", "named"])
def test_the_numbers_of_schroedingers_equation_are_found(fields):
    """0.5 and 1 at 1 % noise, from one complex array and one line."""
    data, rng = waves(), np.random.default_rng(0)
    noise = rng.normal(size=data.psi.shape) + 1j * rng.normal(size=data.psi.shape)
    data["psi"] = data.psi + 0.01 * noise
    unknowns = {"a": mf.ScalarUnknown(), "b": mf.ScalarUnknown()}
    observed = mf.Observations.from_dataset(data, periodic={"x": True})
    problem = mf.InverseProblem(
        "i*psi_t + a*psi_xx + b*abs(psi)^2*psi = 0", observed, unknowns, fields=fields
    )
    found = mf.solve(problem)
    for name, truth in (("a", 0.5), ("b", 1.0)):
        low, high = found.estimates[name].interval(0.99)
        assert low < truth < high
        assert abs(found.estimates[name].value - truth) < 0.01 * truth
