"""The network engine: fields and unknowns as networks, derivatives by the layer (or by autodiff, to compare)."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import nn

import mollifier
from mollifier.collocation import collocate
from mollifier.data import Observations
from mollifier.engines import gauss_newton
from mollifier.engines.gauss_newton import GaussNewton
from mollifier.engines.model import Block, Model
from mollifier.engines.objective import Objective
from mollifier.engines.ratio import ratio_read_out
from mollifier.engines.runner import Progress, Run
from mollifier.engines.stages import Adam, Lbfgs, Stage
from mollifier.problem import InverseProblem
from mollifier.settings import Settings
from mollifier.solution import Estimate, Solution

_GAUSS_NEWTON_STEPS, _LBFGS_STEPS = 150, 2000


def solve_network(
    problem: InverseProblem,
    settings: Settings,
    seed: int = 0,
    progress: Callable[[Progress], None] | None = None,
    folder: Path | None = None,
    resume: bool = False,
    network: nn.Module | None = None,
) -> Solution:
    """Solve with networks.

    Parameters
    ----------
    problem, settings
        The question, and the choices of the run.
    seed
        Fixes the networks' starting weights and the held-out samples; the caller's random state is left alone.
    progress
        Called after every step.
    folder
        Where a checkpoint is kept; none by default.
    resume
        Take up the checkpoint in the folder.
    network
        A module (n, d) -> (n, fields) on coordinates scaled to [-1, 1], in place of the multilayer perceptron.
    """
    begun = time.monotonic()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        objective, held = _prepare(problem, settings, seed, network)
        run = Run(
            objective,
            _stages(objective, settings),
            settings.training.time_limit,
            progress,
            folder,
            _fingerprint(problem, settings, seed),
            settings.training.checkpoint_every,
        )
        if resume:
            run.resume()
        status = run.run()
        datasets = _Reader(run, held).datasets()
        estimates = _estimates(run)
    provenance = _provenance(problem, settings, seed, objective) | {"seconds": time.monotonic() - begun}
    return Solution(status, estimates, *datasets, provenance)


def _prepare(
    problem: InverseProblem, settings: Settings, seed: int, network: nn.Module | None
) -> tuple[Objective, Observations | None]:
    """Model and objective on the fitted part of the data, and the held-out part."""
    fitted, held = problem.data, None
    if settings.held_out:
        fitted, held = problem.data.hold_out(settings.held_out, seed, variables=list(problem.fields))
    model = Model(problem, collocate(problem, settings.collocation), settings, network)
    return Objective(model, fitted, settings).to(settings.training.device), held


def _stages(objective: Objective, settings: Settings) -> list[Stage]:
    """Adam on the data, then Gauss-Newton where the problem is small enough, else Adam and L-BFGS."""
    t = settings.training
    stages: list[Stage] = [Adam(objective, t.warmup_steps, t.learning_rate, warmup=True)]
    optimiser = t.optimiser
    if optimiser == "auto":
        optimiser = "gauss-newton" if gauss_newton.fits(objective.model) else "lbfgs"
    if optimiser == "gauss-newton":
        steps = _GAUSS_NEWTON_STEPS if t.steps is None else t.steps
        return [*stages, GaussNewton(objective, steps, t.tolerance)]
    steps = _LBFGS_STEPS if t.steps is None else t.steps
    stages.append(Adam(objective, t.adam_steps, t.learning_rate / 5, warmup=False))
    return [*stages, Lbfgs(objective, steps, t.tolerance)]


def _fingerprint(problem: InverseProblem, settings: Settings, seed: int) -> dict[str, Any]:
    """What a resumed run must have in common with the one that was interrupted."""
    return {
        "equation": [e.text for e in problem.system.equations],
        "data": problem.data.digest(),
        "unknowns": {n: repr(u) for n, u in problem.unknowns.items()},
        "constants": dict(problem.constants),
        "settings": settings.model_dump_json(exclude={"training": {"time_limit", "checkpoint_every", "steps"}}),
        "seed": seed,
    }


def _provenance(problem: InverseProblem, settings: Settings, seed: int, objective: Objective) -> dict[str, Any]:
    c = objective.model.collocation
    return _fingerprint(problem, settings, seed) | {
        "engine": "network",
        "settings": settings.model_dump(mode="json"),
        "versions": {"mollifier": mollifier.__version__, "torch": torch.__version__, "numpy": np.__version__},
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
        "device": settings.training.device,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "collocation": {
            "nodes": dict(zip(c.grid.names, c.grid.shape, strict=True)),
            "radius": c.radius,
            "kernel": repr(c.kernel),
        },
        "parameters": sum(p.numel() for p in objective.model.parameters()),
        "noise": {f: problem.data.noise_sd(f) for f in problem.fields},
    }


def _estimates(run: Run) -> dict[str, Estimate]:
    """Scalar unknowns, with Laplace standard errors where Gauss-Newton has run."""
    model = run.objective.model
    values = model.values()
    sd: dict[str, float | None] = dict.fromkeys(values)
    last = run.stages[-1]
    if isinstance(last, GaussNewton) and run.stage >= len(run.stages) - 1 and values:
        spread = last.covariance().diagonal()[-len(values) :].sqrt().tolist()
        slopes = [s.slope() for s in model.scalars.values()]  # type: ignore[operator]
        sd = {n: abs(k) * s for n, k, s in zip(values, slopes, spread, strict=True)}
    units = {n: u.unit for n, u in model.problem.scalars.items()}
    return {n: Estimate(n, v, sd[n], units[n]) for n, v in values.items()}


class _Reader:
    """The datasets of a solution, read off a finished run."""

    def __init__(self, run: Run, held: Observations | None) -> None:
        self.run, self.held = run, held
        self.model = run.objective.model
        self.problem = self.model.problem
        with torch.no_grad():
            self.env, self.observed, _ = self.model()
            self.residuals = [r.cpu().numpy() for r in run.objective.residuals(self.env)]

    def datasets(self) -> tuple[xr.Dataset, xr.Dataset, xr.Dataset]:
        """Fields on the collocation grid, fit at the samples, history."""
        return self._fields(), self._fit(), self._history()

    def _fields(self) -> xr.Dataset:
        grid = self.model.collocation.grid
        units = self.problem.data.units
        coords = {a.name: (a.name, a.points, _attrs(a.unit)) for a in grid}
        variables: dict[str, Any] = {}
        for block in self.model.blocks:
            for name in block.names:
                unit = units.get(name, "") or getattr(self.problem.unknowns.get(name), "unit", "")
                value = self.env[name].detach().cpu().numpy().reshape(block.grid.shape)
                variables[name] = (block.grid.names, value, _attrs(unit))
        for i, r in enumerate(self.residuals):
            label = "residual" if len(self.residuals) == 1 else f"residual_{i}"
            note = {"long_name": "residual relative to the rms of the equation's terms"}
            variables[label] = (grid.names, r, note)
        for name, value in ratio_read_out(self.problem, self.env, grid.shape).items():
            over = self.problem.unknown_fields[name].over
            if over == grid.names:
                note = {"long_name": f"{name} read out as a ratio, masked where its factor is small"}
                variables[f"{name}_ratio"] = (grid.names, value, note)
        for name, sd in self._field_sd().items():
            block = self.model.unknown_blocks[name]
            assert isinstance(block, Block)
            variables[f"{name}_sd"] = (block.grid.names, sd, {"long_name": f"standard error of {name} (Laplace)"})
        return xr.Dataset(variables, coords)

    def _field_sd(self) -> dict[str, np.ndarray]:
        last = self.run.stages[-1]
        if not isinstance(last, GaussNewton) or self.run.stage < len(self.run.stages) - 1:
            return {}
        return last.field_sd()

    def _fit(self) -> xr.Dataset:
        """One row per sample, fitted or held out; all fields' rows one after another."""
        parts = [(self.run.objective.fitted, False)] + ([(self.held, True)] if self.held is not None else [])
        rows = [
            (b, channel, name, data.samples(name), held)
            for b, block in enumerate(self.model.state_blocks)
            for channel, name in enumerate(block.names)  # type: ignore[arg-type]
            for data, held in parts
        ]
        total = sum(len(s.values) for *_, s, _ in rows)
        out: dict[str, np.ndarray] = {c: np.full(total, np.nan) for c in self.problem.coordinates}
        for f in self.problem.fields:
            out |= {f: np.full(total, np.nan), f"{f}_sd": np.full(total, np.nan), f"{f}_fitted": np.full(total, np.nan)}
            out[f"{f}_held_out"] = np.zeros(total, dtype=bool)
        low = 0
        for b, channel, name, s, held in rows:
            here = slice(low, low + len(s.values))
            low += len(s.values)
            index = self.model.places[b].index(s.points)
            for c, x in zip(s.coordinates, s.points.T, strict=True):
                out[c][here] = x
            out[name][here] = s.values
            out[f"{name}_sd"][here] = s.sd
            out[f"{name}_fitted"][here] = self.observed[b][channel].cpu().numpy()[index]
            out[f"{name}_held_out"][here] = held
        names = [n for n in out if n not in self.problem.coordinates]
        return xr.Dataset(
            {n: ("observation", out[n]) for n in names},
            {c: ("observation", out[c]) for c in self.problem.coordinates},
        )

    def _history(self) -> xr.Dataset:
        return xr.Dataset({n: ("step", np.asarray(v)) for n, v in self.run.history.items()})


def _attrs(unit: str) -> Mapping[str, str]:
    return {"units": unit} if unit else {}
