"""Conditions: equations with a place."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import mollifier as mf
from mollifier.data.observations import Observations
from mollifier.errors import ConfigurationError, EquationError
from mollifier.problem.collocation import collocate
from mollifier.problem.conditions import Condition
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.problem_file import load
from mollifier.problem.unknowns import FieldUnknown, ScalarUnknown


def problem(*conditions, unknowns=None, periodic=None):
    """Heat in a rod over x and t in [0.2, 1] and [0, 1]."""
    x, t = np.random.default_rng(0).random((2, 60))
    x[:2], t[:2] = (0.0, 1.0), (0.0, 1.0)
    data = Observations({"u": x * t}, {"x": 0.2 + 0.8 * x, "t": t}, noise=0.01, periodic=periodic)
    return InverseProblem(
        "u_t = D*u_xx", data, {"D": ScalarUnknown()} | (unknowns or {}), conditions=conditions
    )


def test_place_extends_the_domain_and_start_and_end_are_its_ends():
    """Numbers reach beyond the data; words name the ends of what results."""
    found = problem(Condition("u = 0", {"x": 0.0}), Condition("u_x = 0", {"x": "start", "t": "end"}, 0.5))
    assert found.bounds == {"x": (0.0, 1.0), "t": (0.0, 1.0)}
    assert [str(c) for c in found.system.conditions] == ["u = 0 at x = 0", "u_x = 0 at x = 0, t = 1 (± 0.5)"]
    assert found.described["conditions"] == [str(c) for c in found.system.conditions]


def test_condition_holds_unknowns_of_its_own():
    """A flux over time, in no other equation."""
    found = problem(Condition("-D*u_x = q", {"x": 0.0}), unknowns={"q": FieldUnknown(over=("t",))})
    assert [d.name for d in found.system.derivatives["q"]] == ["q"]
    assert len(found.system.equations) == 1
    assert not found.system.unused


def test_same_question_of_other_data_keeps_its_conditions():
    """As the bootstrap asks it."""
    found = problem(Condition("u = 0", {"x": 0.0}))
    assert found.of(found.data, found.unknowns).conditions == found.conditions


@pytest.mark.parametrize(
    ("equation", "at", "noise", "error", "text"),
    [
        ("u = 0", {"z": 0.0}, 0.0, ConfigurationError, "'z' is not a coordinate"),
        ("u = 0", {"x": 100.0}, 0.0, ConfigurationError, "far outside of the data"),
        ("u = 0", {"x": "top"}, 0.0, ConfigurationError, "a number, 'start' or 'end'"),
        ("u = 0", {"x^2 + t^2": 1.0}, 0.0, ConfigurationError, "or 'edge' with a domain"),
        ("u = 0", {}, 0.0, ConfigurationError, "coordinates with a number"),
        ("u = 0", {"x": 0.0}, -1.0, ConfigurationError, "a standard error in the unit"),
        ("x = 0", {"x": 0.0}, 0.0, EquationError, "neither a field nor an unknown"),
        ("u = w", {"x": 0.0}, 0.0, EquationError, "'w' is not a name"),
    ],
)
def test_condition_that_is_none(equation, at, noise, error, text):
    """Each with what was given and what was expected."""
    with pytest.raises(error, match=text):
        problem(Condition(equation, at, noise))


def test_unknown_along_its_place_is_refused():
    """A flux at x = 0 does not vary over x."""
    with pytest.raises(ConfigurationError, match=r"give it as FieldUnknown\(over=\('t',\)\)"):
        problem(Condition("-D*u_x = q", {"x": 0.0}), unknowns={"q": FieldUnknown(over=("x", "t"))})


def test_periodic_coordinate_has_no_edge():
    """Its places are numbers, one period wide."""
    with pytest.raises(ConfigurationError, match="is periodic"):
        problem(Condition("u = 0", {"x": "end"}), periodic={"x": 1.0})
    found = problem(Condition("u = 0", {"x": 1.5}), periodic={"x": 1.0})
    assert found.system.conditions[0].at["x"] == pytest.approx(0.5)


def test_several_equations_at_one_place():
    """A clamped end."""
    found = problem(Condition("u = 0; u_x = 0", {"x": 0.2}))
    assert [c.text for c in found.system.conditions] == ["u = 0", "u_x = 0"]


def test_condition_between_two_curves_is_refused():
    """Subjects are numbered: there is none between two of them."""
    subject, t = np.repeat(np.arange(4.0), 6), np.tile(np.linspace(0.5, 4, 6), 4)
    data = Observations({"u": np.exp(-0.4 * t)}, {"id": subject, "t": t}, noise=0.01)

    def place(at):
        problem = InverseProblem(
            "u_t = -k*u", data, {"k": ScalarUnknown()}, conditions=[Condition("u = 1", at)]
        )
        return collocate(problem).part(problem.system.conditions[0].at).grid.shape

    assert place({"t": 0.0})[0] == 4
    assert place({"t": 0.0, "id": 2.0}) == (1, 1)
    with pytest.raises(ConfigurationError, match="at no value of 'id'"):
        place({"t": 0.0, "id": 2.5})


def test_what_is_no_condition_is_refused():
    """Text alone has no place."""
    with pytest.raises(ConfigurationError, match="a Condition was expected"):
        problem("u = 0")


def test_conditions_of_a_problem_file(tmp_path):
    """As in Python."""
    (tmp_path / "u.csv").write_text("x,t,u\n" + "\n".join(f"{x},{t},{x * t}" for x, t in np.eye(3, 2)))
    file = tmp_path / "rod.yaml"
    file.write_text(
        "equation: u_t = D*u_xx\ndata: {file: u.csv, values: u, coordinates: [x, t], noise: 0.01}\n"
        "unknowns: {D: {}, q: {over: t}}\n"
        "conditions:\n  - {equation: -D*u_x = q, at: {x: 0}}\n"
        "  - {equation: u = 1, at: {t: start}, noise: 0.02}\n"
    )
    found = load(file).problem()
    assert [str(c) for c in found.system.conditions] == ["-D*u_x = q at x = 0", "u = 1 at t = 0 (± 0.02)"]
    with pytest.raises(ConfigurationError, match=r"Unknown key 'conditions\.0\.nois'"):
        load(file, ["conditions=[{equation: u = 0, at: {x: 0}, nois: 1}]"])


def test_conditions_of_a_file_may_hold_several_equations(tmp_path):
    """A list of texts, as the main equation may be."""
    rows = [f"{x},{t},{x * t}" for x in np.linspace(0, 1, 7) for t in np.linspace(0, 1, 5)]
    (tmp_path / "u.csv").write_text("\n".join(["x,t,u", *rows]))
    path = tmp_path / "u.yaml"
    path.write_text(
        "equation: u_t = D*u_xx\ndata: {file: u.csv, noise: 0.01}\nunknowns: {D: }\n"
        "conditions: [{equation: [u = 0, u_xx = 0], at: {x: start}}]\n"
    )
    found = [str(c) for c in load(path).problem().system.conditions]
    assert found == ["u = 0 at x = 0", "u_xx = 0 at x = 0"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("[u = 0]", r"'conditions.0' was given as 'u = 0': .* a mapping with some of the keys equation, at"),
        ("[{equation: u = 0}]", r"'conditions.0.at' was expected and not given; {'equation': 'u = 0'}"),
        ("[{equaton: u = 0, at: {x: 0}}]", r"'conditions.0.equaton'\. Did you mean 'equation'"),
        ("[{equation: 3, at: {x: 0}}]", r"'conditions.0.equation' was given as 3: .* text, or .* list"),
    ],
)
def test_wrong_conditions_of_a_file_say_what_was_expected(tmp_path, given, said):
    """With the keys of a problem file, without the names of classes."""
    path = tmp_path / "u.yaml"
    path.write_text(
        f"equation: u_t = D*u_xx\ndata: {{file: u.csv}}\nunknowns: {{D: }}\nconditions: {given}\n"
    )
    with pytest.raises(ConfigurationError, match=said) as error:
        load(path)
    assert "ConditionEntry" not in str(error.value)


def test_condition_at_a_named_experiment(tmp_path):
    """Its name is the number of its curve; a name that no experiment has is refused with the nearest."""
    t = np.tile(np.linspace(0.5, 5, 8), 3)
    table = pd.DataFrame({"who": np.repeat(["Ada", "Bea", "Cy"], 8), "t": t, "u": np.exp(-0.4 * t)})
    table.to_csv(tmp_path / "doses.csv", index=False)
    data = mf.read(tmp_path / "doses.csv", coordinates=["who", "t"], values="u", noise=0.01)
    unknowns = {"k": ScalarUnknown(), "dose": ScalarUnknown()}

    def posed(name):
        return InverseProblem(
            "u_t = -k*u", data, unknowns, conditions=[Condition("u = dose", {"who": name, "t": 0})]
        )

    assert posed("Bea").system.conditions[0].at == {"who": 1.0, "t": 0.0}
    with pytest.raises(ConfigurationError, match="Did you mean 'Bea'"):
        posed("Bae")
