"""The question, its unknowns, and what is refused before anything is spent."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import xarray as xr

from mollifier.data.observations import Observations
from mollifier.engines.network.settings import NetworkSettings
from mollifier.engines.solve import solve
from mollifier.errors import ConfigurationError, EquationError, MollifierError
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.settings import validated
from mollifier.problem.unknowns import FieldUnknown, ScalarUnknown


@pytest.fixture
def data() -> Observations:
    x, t = np.random.default_rng(0).random((2, 40))
    u = np.exp(-t) * np.sin(3 * x)
    return Observations(values={"u": u, "s": x * t}, points={"x": x, "t": t}, noise=0.01)


def scalar(*names):
    return {n: ScalarUnknown() for n in names}


def test_fields_are_what_the_equation_differentiates(data):
    problem = InverseProblem("u_t = D*u_xx + s*x", data, scalar("D"))
    assert problem.fields == ("u",)
    assert problem.known == ("s",)
    assert problem.coordinates == ("x", "t")
    assert problem.system.order == 2
    both = InverseProblem("u_t = D*s", data, scalar("D"), fields=["u", "s"])
    assert both.fields == ("u", "s")
    assert both.known == ()


def test_a_single_variable_is_the_field_even_undifferentiated():
    t = np.linspace(0, 1, 20)
    data = Observations.from_dataset(xr.DataArray(2 * t, {"t": t}, ("t",), name="u"), noise=0.01)
    assert InverseProblem("u = a*t", data, scalar("a")).fields == ("u",)


def test_a_dataset_is_taken_as_observations():
    x, t = np.linspace(0, 1, 12), np.linspace(0, 1, 10)
    u = xr.Dataset({"u": (("x", "t"), np.sin(x)[:, None] * np.exp(-t))}, {"x": x, "t": t})
    problem = InverseProblem("u_t = D*u_xx", u, scalar("D"))
    assert isinstance(problem.data, Observations)


def test_unknown_fields_take_all_coordinates_or_those_named(data):
    unknowns = {"k": FieldUnknown(over=("t", "x")), "q": FieldUnknown(), "p": FieldUnknown(over="t")}
    problem = InverseProblem("u_t = dx(k*u_x) + q*u + p", data, unknowns)
    assert problem.unknown_fields["k"].over == ("x", "t")
    assert problem.unknown_fields["q"].over == ("x", "t")
    assert problem.unknown_fields["p"].over == ("t",)
    assert problem.scalars == {}


@pytest.mark.parametrize(
    ("equation", "unknowns", "options", "message"),
    [
        ("u_t = D*u_xx", {}, {}, "No unknowns were given"),
        ("u_t = D*u_xx", scalar("D", "E"), {}, r"\['E'\] are in no equation"),
        ("u_t = D*u_xx", scalar("D", "Dx"), {}, "Did you mean 'D'"),
        ("u_t = s*u_xx", scalar("s"), {}, "'s' is also a variable of the data"),
        ("u_t = x*u_xx", scalar("x"), {}, "'x' is also a coordinate"),
        ("u_t = c*u_xx", scalar("c"), {"constants": {"c": 1.0}}, "'c' is also a constant"),
        ("u_t = k*u_xx", {"k": FieldUnknown(over=("y",))}, {}, "varies over 'y', not a coordinate"),
        ("u_t = k*u_xx", {"k": FieldUnknown(over=("s",))}, {}, "over 's', which the equation does not diff"),
        ("u_t = D(u)*u_xx", scalar("D"), {}, r"writes D\(u\), and 'D' is a number; a field was expected"),
        (
            "u_t = k*u_xx",
            {"k": FieldUnknown(("u", "x"), monotone="increasing")},
            {},
            "one coordinate or field",
        ),
        ("u_t = D*u_xx", scalar("D"), {"fields": ["w"]}, "Field 'w' is not in the data"),
        ("u_t = D*u_xx", scalar("D"), {"fields": ["u", "s"]}, "The field 's' is in no equation"),
        ("D*u = s", scalar("D"), {}, "No field was found: the equation differentiates none"),
    ],
)
def test_what_is_wrong_is_said(equation, unknowns, options, message, data):
    with pytest.raises(ConfigurationError, match=message):
        InverseProblem(equation, data, unknowns, **options)


def test_names_that_do_not_exist_are_an_equation_error(data):
    with pytest.raises(EquationError, match="nu"):
        InverseProblem("u_t = nu*u_xx", data, scalar("D"))


def test_data_at_one_point_along_a_coordinate_cannot_be_solved():
    x, t = np.linspace(0, 1, 30), np.linspace(0, 1, 4)
    u = np.where(t == t[2], np.sin(x)[:, None], np.nan)
    data = Observations.from_dataset(xr.Dataset({"u": (("x", "t"), u)}, {"x": x, "t": t}), noise=0.1)
    problem = InverseProblem("u_t = D*u_xx", data, scalar("D"))
    with pytest.raises(ConfigurationError, match=r"The data hold one point along 't' \(0.666667\)"):
        solve(problem)


@pytest.mark.parametrize("kind", [ScalarUnknown, FieldUnknown])
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"lower": 2.0, "upper": 1.0}, "lower must be below upper"),
        ({"lower": 1.0, "upper": 1.0}, "lower must be below upper"),
        ({"lower": math.nan}, "lower=nan was given"),
        ({"initial": math.inf}, "initial=inf was given"),
        ({"lower": 0.0, "initial": 0.0}, "strictly between"),
        ({"upper": 1.0, "initial": 2.0}, "strictly between"),
    ],
)
def test_bounds_that_cannot_hold_are_refused(kind, given, message):
    with pytest.raises(ConfigurationError, match=message):
        kind(**given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"over": ()}, "use ScalarUnknown"),
        ({"smoothness": -1.0}, "smoothness=-1.0"),
        ({"smoothness": math.nan}, "smoothness=nan"),
    ],
)
def test_fields_that_cannot_be_are_refused(given, message):
    with pytest.raises(ConfigurationError, match=message):
        FieldUnknown(**given)


def test_bounds_admit_what_lies_between():
    unknown = ScalarUnknown(lower=0.0, upper=1.0)
    assert [unknown.admits(v) for v in (-1.0, 0.0, 0.5, 1.0)] == [False, False, True, False]
    assert unknown.over == ()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"trainin": {}}, "Unknown key 'trainin'. Did you mean 'training'"),
        ({"training": {"step": 1}}, "Unknown key 'training.step'. Did you mean 'steps'"),
        ({"training": {"steps": -1}}, "'training.steps' was given as -1"),
        ({"training": {"optimiser": "sgd"}}, "'training.optimiser' was given as 'sgd'"),
        ({"collocation": {"nodes": {"x": 1}}}, "'collocation.nodes.x' was given as 1"),
        ({"collocation": {"radius": {"x": -2.0}}}, "'collocation.radius.x' was given as -2.0"),
        ({"collocation": {"radius": "aut"}}, "should be 'auto', or input should be a number"),
        ({"held_out": 1.0}, "'held_out' was given as 1.0"),
    ],
)
def test_settings_are_refused_with_their_place(values, message):
    with pytest.raises(ConfigurationError, match=message):
        validated(NetworkSettings, values)


def test_settings_from_plain_values_have_defaults():
    settings = validated(NetworkSettings, {"training": {"steps": 3}, "collocation": {"radius": {"x": 0.1}}})
    assert settings.training.steps == 3
    assert settings.collocation.radius == {"x": 0.1}
    assert settings.network.kind == "mlp"


def heat_data():
    x, t = np.random.default_rng(0).random((2, 60))
    return Observations(values={"u": np.exp(-t) * np.sin(3 * x)}, points={"x": x, "t": t}, noise=0.01)


@pytest.mark.parametrize("two", [np.int64(2), np.array(2.0)])
def test_problem_takes_numbers_of_numpy_and_a_single_field_name(two):
    problem = InverseProblem(
        "u_t = D*u_xx + c*u", heat_data(), {"D": ScalarUnknown(lower=np.float64(0))}, {"c": two}, "u"
    )
    assert problem.constants == {"c": 2.0}
    assert problem.fields == ("u",)


def test_repeated_names_of_dimensions_are_refused():
    with pytest.raises(ConfigurationError, match="names 'x' twice"):
        FieldUnknown(over=("x", "x"))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Duplicate dimension names")  # xarray's
        square = xr.DataArray(np.zeros((3, 3)), {"x": [0.0, 1.0, 2.0]}, ("x", "x"), "u")
        with pytest.raises(MollifierError, match="each was expected once"):
            InverseProblem("u_x = D*u", square, {"D": ScalarUnknown()})
