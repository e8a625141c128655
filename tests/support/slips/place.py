"""What the calls of `slips.calls` name: small data, a problem, an answer, a grid, a layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import xarray as xr

import mollifier as mf
from mollifier.problem.estimate import Estimate
from mollifier.problem.status import Status

TABLE = "x,t,u\n" + "".join(f"{x},{t},{x * t}\n" for x in range(4) for t in range(5))
PROBLEM = "equation: u_t = D*u_xx\ndata: {file: u.csv}\nunknowns: {D: {lower: 0}}\n"


def files(folder: Path) -> None:
    """Files that calls name."""
    for name, text in {"u.csv": TABLE, "p.yaml": PROBLEM, "one.csv": "a\n1\n2\n", "text.tif": "text"}.items():
        (folder / name).write_text(text)


def names() -> dict[str, Any]:
    """Name -> what it stands for in a call."""
    x, t = np.random.default_rng(0).random((2, 60))
    scattered = mf.Observations({"u": np.exp(-t) * np.sin(3 * x)}, {"x": x, "t": t}, noise=0.01)
    x, t = np.linspace(0, 1, 12), np.linspace(0, 1, 10)
    ds = xr.Dataset({"u": (("x", "t"), np.exp(-t) * np.sin(3 * x[:, None]))}, {"x": x, "t": t})
    grid = mf.Grid(mf.Axis("x", 0.0, 1.0, 12), mf.Axis("t", 0.0, 1.0, 10))
    layer = mf.MollifierLayer(grid, ["u", "u_xx"], radius=0.3)

    def problem(
        equation: Any = "u_t = D*u_xx", data: Any = scattered, unknowns: Any = None, **more: Any
    ) -> Any:
        unknowns = {"D": mf.ScalarUnknown()} if unknowns is None else unknowns
        return mf.InverseProblem(equation, data, unknowns, **more)

    empty = xr.Dataset({"u": ("observation", [])}), xr.Dataset({"loss": ("step", [])})
    solution = mf.Solution(Status("converged"), {"D": Estimate("D", 1.0, 0.1)}, xr.Dataset(), *empty, {})
    return {
        "mf": mf, "np": np, "pd": pd, "torch": torch, "xr": xr,
        "P": problem, "G": lambda **shape: problem(data=ds, domain=mf.Domain(**shape)),
        "S": mf.ScalarUnknown, "F": mf.FieldUnknown, "O": mf.Observations,
        "ds": ds, "grid_obs": mf.Observations.from_dataset(ds, noise=0.01), "problem": problem(),
        "solution": solution, "grid": grid, "layer": layer, "values": np.ones(grid.shape),
        "emitted": torch.zeros(len(layer.coords()), 1),
    }  # fmt: skip
