"""The layer beside each framework's own autodiff: ``python -m benchmarks.adapters`` prints the table."""

# The frameworks are an extra.
from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.table import Table, environment, number
from mollifier.adapters.residual import ResidualLayer
from mollifier.mollify.grid import Axis, Grid
from mollifier.nn.layers import Affine, Sine

GRID = Grid(Axis("x", 0.0, 3.0, 31), Axis("t", 0.0, 1.0, 21))
STEPS, RATE, WEIGHT, NOISE = 2000, 1e-2, 0.1, 0.01


@dataclass(frozen=True)
class Case:
    """``u_t = sign * k * d^order u / dx^order``, whose solution is two decaying waves."""

    equation: str
    order: int
    sign: int
    true: float
    start: float
    radius: float

    def measured(self) -> np.ndarray:
        """The solution on the grid with 1 % noise, (n,)."""
        x, t = GRID.coords().T
        waves = [a * np.exp(-self.true * m**self.order * t) * f(m * x) for a, m, f in _WAVES]
        u = np.sum(waves, axis=0)
        return u + NOISE * u.std() * np.random.default_rng(0).standard_normal(u.shape)

    def layer(self) -> ResidualLayer:
        """The equation on the layer."""
        return ResidualLayer(self.equation, GRID, unknowns=["k"], radius={"x": self.radius, "t": 0.25})


_WAVES: tuple[tuple[float, int, Callable[..., Any]], ...] = ((1.0, 1, np.sin), (0.5, 2, np.cos))
CASES = {
    "heat": Case("u_t = k*u_xx", 2, 1, 0.3, 0.6, 0.3),
    "plate": Case("u_t = -k*u_xxxx", 4, -1, 0.05, 0.1, 0.6),
}


@dataclass(frozen=True)
class Row:
    """One fit."""

    framework: str
    case: str
    derivatives: str
    error: float
    seconds: float
    memory_mib: float


def network() -> torch.nn.Module:
    """A sine network; DeepXDE's own is of the same size."""
    torch.manual_seed(0)
    layers = [torch.nn.Linear(2, 32), Sine(2.0), torch.nn.Linear(32, 32), Sine(2.0)]
    return torch.nn.Sequential(Affine.from_box([0.0, 0.0], [3.0, 1.0]), *layers, torch.nn.Linear(32, 1))


def with_lightning(case: Case, layer: bool) -> tuple[Callable[[], Any], Callable[[], float]]:
    """Training, and the value of k after it."""
    import lightning

    from mollifier.adapters.lightning import MollifiedModule

    class Nested(MollifiedModule):
        """The same with derivatives by nested reverse mode at the grid's points."""

        def losses(self) -> tuple[Tensor, Tensor]:
            p = torch.as_tensor(GRID.coords(), dtype=torch.float32).requires_grad_(True)
            u: Any = self.network(p)
            u_x, u_t = _slope(u, p).split(1, 1)
            for _ in range(case.order - 1):
                u_x = _slope(u_x, p)[:, :1]
            residual = u_t - case.sign * self.raw["k"] * u_x
            return (u - self.data.reshape(-1, 1)).square().mean(), residual.square().mean()

    kind: Any = MollifiedModule if layer else Nested
    data = case.measured().reshape(GRID.shape)
    module = kind(network(), case.layer(), data, {"k": case.start}, weight=WEIGHT, rate=RATE, steps=STEPS)
    trainer = lightning.Trainer(max_epochs=1, **_quiet())
    return lambda: trainer.fit(module), lambda: module.estimates["k"]


def with_deepxde(case: Case, layer: bool) -> tuple[Callable[[], Any], Callable[[], float]]:
    """Training, and the value of k after it."""
    from mollifier.adapters.deepxde import MollifiedPDE, deepxde

    k = deepxde.Variable(case.start)

    def residual(x: Tensor, y: Tensor) -> Tensor:
        u_x = y
        for _ in range(case.order // 2):
            u_x = deepxde.grad.hessian(u_x, x, i=0, j=0)
        return deepxde.grad.jacobian(y, x, i=0, j=1) - case.sign * k * u_x

    if layer:
        pde = MollifiedPDE(case.layer(), {"k": k}, {"u": case.measured()})
    else:
        box = deepxde.geometry.Rectangle([0.0, 0.0], [3.0, 1.0])
        observed = deepxde.icbc.PointSetBC(GRID.coords(), case.measured()[:, None])
        pde = deepxde.data.PDE(box, residual, [observed], anchors=GRID.coords())
    net = deepxde.nn.FNN([2, 32, 32, 1], Sine(2.0), "Glorot normal")
    net.apply_feature_transform(lambda x: x / x.new_tensor([1.5, 0.5]) - 1)
    model = deepxde.Model(pde, net)
    options = {"loss_weights": [WEIGHT, 1.0], "external_trainable_variables": [k], "verbose": 0}
    model.compile("adam", lr=RATE, **options)
    return lambda: model.train(iterations=STEPS, display_every=STEPS, verbose=0), lambda: float(k)


def with_pina(case: Case, layer: bool) -> tuple[Callable[[], Any], Callable[[], float]]:
    """Training, and the value of k after it."""
    from pina import Condition, LabelTensor, Trainer
    from pina.domain import CartesianDomain
    from pina.equation import Equation
    from pina.operator import grad
    from pina.optim import TorchOptimizer
    from pina.problem import InverseProblem, SpatialProblem
    from pina.solver import PhysicsInformedSingleModelSolver
    from pina.weighting import ScalarWeighting

    from mollifier.adapters.pina import conditions

    class Ordered(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = network()

        def forward(self, x: Any) -> Tensor:
            return self.net(x.extract(["x", "t"]).as_subclass(Tensor))

    def residual(x: Any, y: Any, params: Any) -> Any:
        slope = y
        for _ in range(case.order):
            slope = LabelTensor(grad(slope, x, ["u"], ["x"]).as_subclass(Tensor), ["u"])
        u_t = grad(y, x, ["u"], ["t"]).as_subclass(Tensor)
        return LabelTensor(u_t - case.sign * params["k"] * slope.as_subclass(Tensor), ["r"])

    if layer:
        made = conditions(case.layer(), {"u": case.measured()})
    else:
        at = LabelTensor(torch.as_tensor(GRID.coords(), dtype=torch.float32), ["x", "t"])
        target = LabelTensor(torch.as_tensor(case.measured()[:, None], dtype=torch.float32), ["u"])
        made = {
            "equation": Condition(input=at, equation=Equation(residual)),
            "data": Condition(input=at, target=target),
        }
    body = {
        "output_variables": ["u"],
        "spatial_domain": CartesianDomain({"x": [0.0, 3.0], "t": [0.0, 1.0]}),
        "unknown_parameter_domain": CartesianDomain({"k": [0.0, 1.0]}),
        "conditions": made,
    }
    problem: Any = type("Waves", (SpatialProblem, InverseProblem), body)()
    problem.unknown_parameters["k"].data.fill_(case.start)
    weights = ScalarWeighting({"equation": WEIGHT, "data": 1.0})
    adam = TorchOptimizer(torch.optim.Adam, lr=RATE)
    solver = PhysicsInformedSingleModelSolver(problem, Ordered(), adam, weighting=weights)
    trainer = Trainer(solver, max_epochs=STEPS, **_quiet())
    return trainer.train, lambda: float(problem.unknown_parameters["k"])


FRAMEWORKS = {"lightning": with_lightning, "deepxde": with_deepxde, "pina": with_pina}


def fit(framework: str, name: str, derivatives: str) -> Row:
    """One fit in this process: error of k in %, seconds of training, memory beyond that before it."""
    warnings.simplefilter("ignore")
    case = CASES[name]
    train, estimate = FRAMEWORKS[framework](case, derivatives == "layer")
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    train()
    seconds = time.perf_counter() - start
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return Row(framework, name, derivatives, 100 * abs(estimate() / case.true - 1), seconds, grown)


def run() -> Table:
    """Every framework, equation and way to differentiate, each in a process of its own."""
    rows = []
    for framework in FRAMEWORKS:
        for case in CASES:
            for derivatives in ("layer", "autodiff"):
                command = [sys.executable, "-m", "benchmarks.adapters", framework, case, derivatives]
                done = subprocess.run(
                    command, capture_output=True, text=True, check=True, env=dict(os.environ)
                )
                rows.append(Row(**json.loads(done.stdout.splitlines()[-1])))
    columns: dict[str, Callable[[Row], str]] = {
        "framework": lambda r: r.framework,
        "equation": lambda r: CASES[r.case].equation,
        "derivatives": lambda r: r.derivatives,
        "error of k, %": lambda r: number(r.error, ".2g"),
        "seconds": lambda r: number(r.seconds, ".1f"),
        "memory, MiB": lambda r: number(r.memory_mib, ".0f"),
    }
    caption = (
        f"{STEPS} full-batch steps of Adam on 31 by 21 points with 1 % noise, one seed. Memory is the "
        "growth of the process during training."
    )
    return Table("adapters", tuple(rows), columns, caption, environment(torch=torch.__version__))


def _slope(u: Tensor, p: Tensor) -> Tensor:
    return torch.autograd.grad(u.sum(), p, create_graph=True)[0]


def _quiet() -> dict[str, Any]:
    shown = ["enable_progress_bar", "enable_model_summary", "logger", "enable_checkpointing"]
    return dict.fromkeys(shown, False) | {"accelerator": "cpu"}


if __name__ == "__main__":
    if len(sys.argv) == 4:
        print(json.dumps(fit(*sys.argv[1:]).__dict__))
    else:
        print(run().to_markdown())
