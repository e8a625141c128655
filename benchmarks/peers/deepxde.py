"""DeepXDE: a network for the state and one for the unknown field, by PDE residuals and observations."""

# An extra, not installed for development.
from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from importlib import import_module
from typing import Any

import torch
import xarray as xr
from torch import Tensor

from benchmarks.cases.base import Case
from benchmarks.peers.pinn import ADAM, DEPTH, LEARNING_RATE, WIDTH, Clock, Posed, Watch, pose
from mollifier.data.observations import Observations

# Between two looks at the clock.
_LBFGS_STEPS = 5


def recover(case: Case, data: Observations, seconds: float, seed: int, watch: Watch) -> xr.Dataset:
    """DeepXDE: the unknown is a further output, the observations a `PointSetBC`; Adam, then L-BFGS.

    As its demos of inverse problems do (docs, "Inverse problem for the Poisson equation with unknown forcing
    field" and "for the Lorenz system"): separate tanh networks for the two fields, of 3 layers of 40 with
    Glorot's start, reverse autodiff, Adam first. As its maintainer advises (issues 31, 33 and 257): inputs in
    [-1, 1], outputs of order one, loss weights. As the docs of `set_LBFGS_options` advise: double precision,
    no stop on small changes. Weights come from the noise that the observations estimate; a positive unknown
    is a softplus; periodic coordinates enter as sines and cosines; the equation of fourth order is split in
    two of second order by an auxiliary output. The fields returned are those with the least misfit to a tenth
    of the observations that was held out.

    Adam takes a fifth of the time at rate 3e-3. Beyond 4,000 observations L-BFGS cannot be afforded: batches
    of 500, drawn anew with as many collocation points in each step (`PDEPointResampler`), Adam throughout,
    single precision. Rates, parts and weights were set by hand after a few short runs on one seed, seen
    against the truth; no search was made, and others may serve it better. Time counts from when it is
    imported.

    Parameters
    ----------
    case
        Langevin, heat or chromatin.
    data
        Noisy observations of it.
    seconds
        Wall clock; the last step that is begun is one that should end within it.
    seed
        Of the start, the batches and the observations held out.
    watch
        Called now and then with the seconds so far and the best fields so far.

    Raises
    ------
    ConfigurationError
        If it is another case.
    """
    os.environ["DDE_BACKEND"] = "pytorch"
    deepxde: Any = import_module("deepxde")
    started = time.perf_counter()
    posed = pose(case, data, seed)
    precision = torch.get_default_dtype()
    with _silent():
        deepxde.config.set_default_float("float32" if posed.batch else "float64")
    try:
        deepxde.config.set_random_seed(seed)
        return _descend(deepxde, posed, Clock(posed, seconds, watch, started))
    finally:
        torch.set_default_dtype(precision)


def _descend(deepxde: Any, posed: Posed, clock: Clock) -> xr.Dataset:
    """Both optimisers, one after the other."""
    network = _network(deepxde, posed)
    model = deepxde.Model(_data(deepxde, posed), network)
    _compile(model, "adam", posed, lr=LEARNING_RATE)
    _train(deepxde, model, clock, 1.0 if posed.batch else ADAM, iterations=10**9, display_every=10**9)
    if posed.batch is None:
        options = deepxde.optimizers.config.LBFGS_options
        deepxde.optimizers.set_LBFGS_options(ftol=0, gtol=0, maxiter=10**9)
        options.update(iter_per_step=_LBFGS_STEPS, fun_per_step=2 * _LBFGS_STEPS)
        _compile(model, "L-BFGS", posed)
        _train(deepxde, model, clock, 1.0)
    return clock.end(network.state, network.unknown)


@contextmanager
def _silent() -> Iterator[None]:
    """It reports its settings and how long each took."""
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
        yield


def _compile(model: Any, optimizer: str, posed: Posed, **options: Any) -> None:
    with _silent():
        model.compile(optimizer, loss_weights=posed.weights, verbose=0, **options)


def _network(deepxde: Any, posed: Posed) -> Any:
    """A network for the state and one for the unknown, which may depend on fewer coordinates."""

    class Pair(deepxde.nn.NN):
        def __init__(self) -> None:
            super().__init__()
            hidden = [WIDTH] * DEPTH
            sizes = (posed.inputs(posed.coordinates), *hidden, 1 + len(posed.balance.auxiliary))
            self.state = deepxde.nn.FNN(sizes, "tanh", "Glorot normal")
            self.unknown = deepxde.nn.FNN((posed.inputs(posed.over), *hidden, 1), "tanh", "Glorot normal")

        def forward(self, x: Tensor) -> Tensor:
            return posed.outputs(x, self.state, self.unknown)

    return Pair()


def _data(deepxde: Any, posed: Posed) -> Any:
    """Residuals at quasi-random points, the observations as a set of points."""
    place = {c: i for i, c in enumerate(posed.coordinates)}

    def residuals(x: Tensor, y: Tensor) -> list[Tensor]:
        def gradient(v: Tensor, names: Any) -> list[Tensor]:
            return [deepxde.grad.jacobian(v, x, i=0, j=place[n]) for n in names]

        columns = {n: y[:, i : i + 1] for i, n in enumerate(posed.names)}
        columns |= {c: x[:, i : i + 1] for c, i in place.items()}
        return posed.balance.residuals(columns, gradient)

    if len(place) == 1:
        box = deepxde.geometry.Interval(posed.lower[0], posed.upper[0])
    else:
        box = deepxde.geometry.Hypercube(posed.lower, posed.upper)
    observed = deepxde.icbc.PointSetBC(posed.points, posed.values, component=0, batch_size=posed.batch)
    number, drawn = (posed.batch, "pseudo") if posed.batch else (posed.collocation, "Hammersley")
    return deepxde.data.PDE(box, residuals, [observed], num_domain=number, train_distribution=drawn)


def _train(deepxde: Any, model: Any, clock: Clock, until: float, **options: Any) -> None:
    """Descend until a part of the time is over."""

    class Stop(deepxde.callbacks.Callback):
        def on_epoch_end(self) -> None:
            self.model.stop_training = clock.step(model.net.state, model.net.unknown, until)

    callbacks = [Stop()]
    if clock.posed.batch:
        callbacks.append(deepxde.callbacks.PDEPointResampler(1, pde_points=True, bc_points=True))
    model.train(callbacks=callbacks, verbose=0, **options)
