"""The adapter to DeepXDE, against the real package, imported only where a test runs."""

import numpy as np
import pytest
import torch

from heat import GRID, TRUE, equation, heat, needs, places
from mollifier.errors import ConfigurationError

pytestmark = needs("deepxde")


@pytest.fixture
def dde():
    """The package, on PyTorch."""
    from mollifier.adapters.deepxde import deepxde

    return deepxde


@pytest.fixture
def problem(dde):
    """The adapter."""
    from mollifier.adapters.deepxde import MollifiedPDE

    return MollifiedPDE


def test_deepxde_losses_are_of_the_layer(dde, problem):
    """The exact solution has no residual and no misfit; a condition keeps its rows."""
    outer = dde.icbc.PointSetBC(np.array([[0.0, 0.0], [3.0, 1.0]]), np.zeros((2, 1)))
    pde = problem(equation(), {"k": TRUE}, {"u": heat(GRID.coords())}, bcs=[outer])
    assert len(pde.train_x) == 2 + pde.residual.layer.nodes.size
    y = torch.as_tensor(heat(pde.train_x), dtype=torch.float32)[:, None]
    losses = pde.losses(None, y, lambda a, b: (a - b).square().mean(), torch.as_tensor(pde.train_x), None)
    assert [float(v) < 1e-5 for v in losses] == [True, True, False]
    assert float(losses[2]) == pytest.approx(float(y[:2].square().mean()))


@pytest.mark.slow
def test_deepxde_recovers_the_conductivity(dde, problem):
    """Scattered measurements of heat: k within 5 %."""
    dde.config.set_random_seed(0)
    k = dde.Variable(1.0)
    pde = problem(equation(), {"k": k}, {"u": heat(places())}, places())
    net = dde.nn.FNN([2, 24, 24, 1], "tanh", "Glorot normal")
    net.apply_feature_transform(lambda x: x / x.new_tensor([1.5, 0.5]) - 1)
    model = dde.Model(pde, net)
    options = {"loss_weights": [0.1, 1.0], "external_trainable_variables": [k], "verbose": 0}
    model.compile("adam", lr=1e-2, **options)
    model.train(iterations=1500, verbose=0)
    assert float(k) == pytest.approx(TRUE, rel=0.05)


def test_deepxde_refuses_names_that_are_not_there(problem):
    """A variable or data under a name the equations do not hold."""
    with pytest.raises(ConfigurationError, match="q"):
        problem(equation(), {"q": 1.0})
    with pytest.raises(ConfigurationError, match="v: data"):
        problem(equation(), {"k": 1.0}, {"v": 0.0})
