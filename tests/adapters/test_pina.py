"""The adapter to PINA, against the real package, imported only where a test runs."""

import pytest
import torch

from heat import GRID, TRUE, equation, heat, needs, network, places
from mollifier.errors import ConfigurationError

pytestmark = needs("pina")


@pytest.fixture
def conditions():
    """The adapter."""
    from mollifier.adapters.pina import conditions

    return conditions


class Labelled(torch.nn.Module):
    """A network with columns in the grid's order; PINA sorts them by name."""

    def __init__(self):
        super().__init__()
        self.net = network()

    def forward(self, x):
        return self.net(x.extract(["x", "t"]).as_subclass(torch.Tensor))


def problem(made):
    """An inverse problem with these conditions."""
    from pina.domain import CartesianDomain
    from pina.problem import InverseProblem, SpatialProblem

    body = {
        "output_variables": ["u"],
        "spatial_domain": CartesianDomain({"x": [0.0, 3.0], "t": [0.0, 1.0]}),
        "unknown_parameter_domain": CartesianDomain({"k": [0.1, 1.0]}),
        "conditions": made,
    }
    return type("Heat", (SpatialProblem, InverseProblem), body)()


def fit(made, epochs, **options):
    """Train on the conditions; the value of k."""
    from pina import Trainer
    from pina.optim import TorchOptimizer
    from pina.solver import PhysicsInformedSingleModelSolver
    from pina.weighting import ScalarWeighting

    torch.manual_seed(0)
    posed = problem(made)
    adam = TorchOptimizer(torch.optim.Adam, lr=3e-2)
    weights = ScalarWeighting({"equation": 0.1, "data": 1.0})
    solver = PhysicsInformedSingleModelSolver(posed, Labelled(), adam, weighting=weights)
    shown = ["enable_progress_bar", "enable_model_summary", "logger", "enable_checkpointing"]
    quiet = dict.fromkeys(shown, False)
    Trainer(solver, max_epochs=epochs, accelerator="cpu", **quiet, **options).train()
    return float(posed.unknown_parameters["k"])


def test_pina_residuals_of_the_exact_solution(conditions):
    """In any order of points the exact solution has no residual, and a misfit as the kernel smooths it."""
    from pina import LabelTensor

    for data in ({"data": {"u": heat(GRID.coords())}}, {"data": {"u": heat(places())}, "points": places()}):
        for condition in conditions(equation(), **data).values():
            x = condition.input[torch.randperm(len(condition.input))]
            values = torch.as_tensor(heat(x.extract(["x", "t"]).tensor), dtype=torch.float32)
            found = condition.equation.residual(x, LabelTensor(values[:, None], ["u"]), {"k": TRUE})
            assert float(found.tensor.abs().max()) < 5e-3


@pytest.mark.slow
def test_pina_recovers_the_conductivity(conditions):
    """Scattered measurements of heat: k within 5 %."""
    made = conditions(equation(), {"u": heat(places())}, places())
    assert fit(made, 500) == pytest.approx(TRUE, rel=0.05)


def test_pina_refuses_parts_and_strange_names(conditions):
    """A part of the nodes, and data of a field that is not there."""
    with pytest.raises(ConfigurationError, match="v: data are of"):
        conditions(equation(), {"v": 0.0})
    made = conditions(equation(), {"u": heat(GRID.coords())})
    with pytest.raises(ConfigurationError, match="batch_size=None"):
        fit(made, 1, batch_size=100)
