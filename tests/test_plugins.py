"""A kernel, a reader, a network, a function and an engine of a user, each one file, at the command line."""

import json
import sys
from pathlib import Path

import pytest

from command_line import call, write_table
from mollifier.data.readers.registry import READERS
from mollifier.engines.registry import ENGINES
from mollifier.equations.functions import FUNCTIONS
from mollifier.io.plugins import VARIABLE
from mollifier.mollify.kernels import KERNELS
from mollifier.nn.registry import NETWORKS

KERNEL = '''
"""Half a period of a cosine squared."""
from dataclasses import dataclass

import numpy as np

from mollifier.mollify.kernels import KERNELS


@dataclass(frozen=True)
class Cosine:
    smoothness: float = 2

    @classmethod
    def for_order(cls, order, degree=None):
        return cls(), 6.0

    def __call__(self, s, order=0):
        a = np.pi * s
        value = [np.cos(a / 2) ** 2, -np.pi / 2 * np.sin(a), -(np.pi**2) / 2 * np.cos(a)]
        return np.where(np.abs(s) < 1, value[order], 0.0)


KERNELS.register("cosine", Cosine)
'''

READER = '''
"""Rows of x, t and u, separated by slashes."""
import pandas as pd

from mollifier.data.readers.registry import READERS, Reader


def load(path):
    return pd.read_csv(path, sep="/"), {}


READERS.register("slashes", Reader((".slashes",), load))
'''

NETWORK = '''
"""One hidden layer of Gaussians."""
import torch

from mollifier.nn.registry import NETWORKS


class Gaussians(torch.nn.Module):
    def __init__(self, inputs, outputs, width=20):
        super().__init__()
        self.inner, self.outer = torch.nn.Linear(inputs, width), torch.nn.Linear(width, outputs)

    def forward(self, points):
        return self.outer(torch.exp(-self.inner(points) ** 2))


NETWORKS.register("gaussians", Gaussians)
'''

FUNCTION = '''
"""The logistic function."""
import math

import sympy

from mollifier.equations.functions import FUNCTIONS, Function


class Logistic(sympy.Function):
    def fdiff(self, argindex=1):
        return self * (1 - self)


def on_arrays(module, x):
    return 1 / (1 + module.exp(-x))


FUNCTIONS.register("logistic", Function(Logistic, lambda x: 1 / (1 + math.exp(-x)), on_arrays))
'''

ENGINE = '''
"""D of u_t = D*u_xx on a grid, by least squares of finite differences."""
import numpy as np
import xarray as xr
from pydantic import Field

from mollifier.engines.base import Engine
from mollifier.engines.registry import ENGINES
from mollifier.problem.estimate import Estimate
from mollifier.problem.settings import Strict
from mollifier.problem.solution import Solution
from mollifier.problem.status import Status


class DifferencesSettings(Strict):
    margin: int = Field(default=1, ge=1, description="Nodes left out at each end.")


class Differences(Engine):
    name = "differences"
    settings = DifferencesSettings

    def unsuited(self, problem):
        return None if problem.data.gridded else "it needs data on a grid"

    def solve(self, request):
        u = request.problem.data.dataset["u"].transpose("x", "t")
        x, t, m = u["x"].values, u["t"].values, request.settings.margin
        inside = slice(m, -m), slice(m, -m)
        slope = np.gradient(u.values, t, axis=1)[inside].ravel()
        bend = np.gradient(np.gradient(u.values, x, axis=0), x, axis=0)[inside].ravel()
        value = float(bend @ slope / (bend @ bend))
        sd = float(np.std(slope - value * bend) / np.sqrt(bend @ bend))
        rows = u.stack(observation=("x", "t")).reset_index("observation")
        fit = xr.Dataset({"u": rows, "u_fitted": rows, "u_sd": rows * 0 + 1.0, "u_held_out": rows != rows})
        about = {"engine": self.name, "settings": request.settings.model_dump(), "unknowns": ["D"], "seed": 0}
        history = xr.Dataset({"loss": ("step", [0.0])})
        found = {"D": Estimate("D", value, sd)}
        return Solution(Status("converged"), found, xr.Dataset({"u": u}), fit, history, about)


ENGINES.register("differences", Differences())
'''

PROBLEM = 'equation: "{}"\ndata: {{file: {}}}\nunknowns: {{D: {{lower: 0}}{}}}\n'


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Registries and environment are as before after each test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(VARIABLE, "")
    for registry in (KERNELS, READERS, NETWORKS, FUNCTIONS, ENGINES):
        monkeypatch.setattr(registry, "_entries", dict(registry._entries))
    write_table()
    Path("p.yaml").write_text(PROBLEM.format("u_t = D*u_xx", "u.csv", ""))
    yield tmp_path
    for name in [n for n in sys.modules if n.startswith("mollifier_plugin_")]:
        del sys.modules[name]


def solved(name, text, *words):
    """The JSON of ``mollifier --plugin FILE solve p.yaml``; an answer or none, but no error."""
    # A name for each test: a file is loaded once in a process.
    path = Path(f"{name}.py").absolute()
    path.write_text(text)
    result = call("--plugin", str(path), "solve", "p.yaml", "--json", "--no-figures", *words)
    assert result.exit_code in (0, 1), result.output
    return json.loads(result.stdout)


def test_plugin_kernel(folder):
    few = ["collocation.kernel=cosine", "collocation.nodes={x: 17, t: 17}"]
    found = solved("a_kernel", KERNEL, "-e", "joint", *(w for s in few for w in ("--set", s)))
    assert found["provenance"]["collocation"]["kernel"] == "Cosine(smoothness=2)"
    assert found["estimates"]["D"]["value"] == pytest.approx(1 / 9, rel=0.02)


def test_plugin_reader(folder):
    Path("u.slashes").write_text(Path("u.csv").read_text().replace(",", "/"))
    Path("p.yaml").write_text(PROBLEM.format("u_t = D*u_xx", "u.slashes", ""))
    found = solved("a_reader", READER, "-e", "weak")
    assert found["estimates"]["D"]["value"] == pytest.approx(1 / 9, rel=0.02)


def test_plugin_network(folder):
    few = [f"training.{s}" for s in ("warmup_steps=20", "steps=2")]
    few += ["network={kind: gaussians, width: 12}", "collocation.max_nodes=200"]
    found = solved("a_network", NETWORK, "-e", "network", *(w for s in few for w in ("--set", s)))
    assert found["provenance"]["settings"]["network"]["kind"] == "gaussians"
    assert "D" in found["estimates"]


def test_plugin_function(folder):
    Path("p.yaml").write_text(PROBLEM.format("u_t = D*u_xx + r*logistic(u)", "u.csv", ", r: scalar"))
    found = solved("a_function", FUNCTION, "-e", "joint")
    assert found["provenance"]["equation"] == ["u_t = D*u_xx + r*logistic(u)"]
    assert abs(found["estimates"]["r"]["value"]) < 0.05


def test_plugin_engine(folder):
    """It solves, is listed in errors, has its settings checked, and is compared in a separate process."""
    found = solved("an_engine", ENGINE, "-e", "differences", "--set", "margin=2")
    assert found["estimates"]["D"]["value"] == pytest.approx(1 / 9, rel=0.05)
    assert found["provenance"]["settings"] == {"margin": 2}
    wrong = call("solve", "p.yaml", "-e", "diferences")
    assert "There is no engine 'diferences'. Did you mean 'differences'?" in wrong.stderr
    wrong = call("solve", "p.yaml", "-e", "weak", "--set", "margin=2")
    assert "'margin' was given to engine 'weak', which does not use it" in wrong.stderr
    assert "engines that do: differences." in wrong.stderr
    words = "p.yaml --engines differences --out c --json --no-figures"
    rows = json.loads(call("compare", *words.split()).stdout)["rows"]
    assert [(r["engine"], r["status"]) for r in rows] == [("differences", "converged")]


def test_plugin_is_loaded_from_the_environment(folder, monkeypatch):
    Path("by_environment.py").write_text(ENGINE)
    monkeypatch.setenv(VARIABLE, str(folder / "by_environment.py"))
    result = call("solve", "p.yaml", "-e", "differences", "--json", "--no-figures")
    assert json.loads(result.stdout)["provenance"]["engine"] == "differences"


def test_plugin_that_is_missing_is_an_error(folder):
    result = call("--plugin", "none.py", "check", "p.yaml")
    assert result.exit_code == 2
    assert "none.py' could not be loaded: there is no such file" in result.stderr
