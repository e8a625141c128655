"""The smoothness prior of states: on the boundary where values there determine them."""

from __future__ import annotations

import numpy as np
import pytest

import mollifier as mf
from mollifier.engines.joint.engine import stages_of
from mollifier.engines.joint.settings import JointSettings
from mollifier.engines.joint.stages import Joint
from mollifier.problem.inverse_problem import InverseProblem


def wells(equation: str, names: tuple[str, str], count: int = 40) -> InverseProblem:
    """Samples of a state over two coordinates, for an equation with an unknown number k."""
    a, b = np.random.default_rng(0).random((2, count))
    data = mf.Observations({"u": np.sin(2 * a + b)}, dict(zip(names, (a, b), strict=True)), noise=0.01)
    return InverseProblem(equation, data, {"k": mf.ScalarUnknown()})


def weights(problem: InverseProblem, alone: bool) -> dict[int, np.ndarray]:
    """Weights of the rows along each coordinate, over the largest, in the order of the nodes."""
    settings = JointSettings.model_validate(
        {"collocation": {"nodes": dict.fromkeys(problem.coordinates, 9)}, "held_out": 0.0}
    )
    objective, stages, _ = stages_of(problem, settings)
    joint = stages[-1]
    assert isinstance(joint, Joint)
    roughness = joint.linearisation.roughness
    lattice = objective.model.blocks[0].mollified.lattice
    rows = roughness.rows(objective.states[0], [np.zeros((1, lattice.size))], True, alone)
    found = {}
    for axis, part in rows.items():
        squares = np.asarray(part.fields[0, 0].power(2).sum(axis=1)).ravel()
        found[axis] = squares / squares.max()
    return found


def test_rows_are_those_of_the_boundary_where_it_determines_the_state():
    """Under Poisson's equation only rows outside of the collocation grid count, on its four sides."""
    problem = wells("0 = k*u_xx + u_yy + 1", ("x", "y"))
    for of_axis in weights(problem, alone=False).values():
        outside = of_axis > 1e-3
        assert 0 < outside.sum() < len(of_axis) / 2
        assert of_axis[~outside].max() < 1e-6
    for of_axis in weights(problem, alone=True).values():
        np.testing.assert_allclose(of_axis, 1.0)


@pytest.mark.parametrize(("equation", "names"), [("u_t = k*u_xx", ("x", "t")), ("u_x = k*u_yy", ("x", "y"))])
def test_rows_are_everywhere_in_an_evolution(equation, names):
    """A state that evolves between few sensors is as smooth there as at them."""
    for of_axis in weights(wells(equation, names), alone=False).values():
        np.testing.assert_allclose(of_axis, 1.0)
