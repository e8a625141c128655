"""The same problem gives the same numbers in every process, whatever order Python gives to sets of names."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

_PROGRAM = """
import hashlib, sys, warnings
import numpy as np, xarray as xr, mollifier as mf
warnings.simplefilter("ignore")
x, t = np.linspace(0, 1, 18), np.linspace(0, 1, 14)
X, T = np.meshgrid(x, t, indexing="ij")
rng = np.random.default_rng(0)
u = np.exp(-T) * np.sin(3 * X) + 0.3 * X + 0.01 * rng.standard_normal(X.shape)
v = np.cos(2 * X) * np.exp(-0.5 * T) + 0.01 * rng.standard_normal(X.shape)
noisy = {"u": (("x", "t"), u), "v": (("x", "t"), v)}
hidden = {"states": {"w": mf.StateUnknown()}}
over = lambda c: mf.FieldUnknown(over=(c,))
numbers = lambda names: {n: mf.ScalarUnknown() for n in names}
questions = {
    "system": ("uv", ["u_t = D*u_xx - a*u*v^2 + F*(1 - u) + k*v", "v_t = E*v_xx + a*u*v^2 - c*v + k*u"],
               numbers("DaFEc") | {"k": over("x")}, {}),
    "law": ("u", "u_t = dx(D*u_x) + s*u + q", numbers("sq") | {"D": over("u")}, {}),
    "eliminated": ("uv", ["u_t = D*u_xx - a*u*u_x - w_x", "v_t = D*v_xx - b*u - w_t"],
                   numbers("Dab"), hidden),
    "decays": ("uv", ["u_t = -a*u", "v_t = a*b*u - c*v"], numbers("abc"), {}),
}
for engine, name in [("weak", "system"), ("weak", "law"), ("weak", "eliminated"), ("joint", "decays")]:
    fields, equation, unknowns, more = questions[name]
    data = xr.Dataset({f: noisy[f] for f in fields}, {"x": x, "t": t})
    data = data.isel(x=9, drop=True) if name == "decays" else data
    solution = mf.solve(mf.InverseProblem(equation, data, unknowns, **more), engine)
    digest = hashlib.sha256()
    for table in (solution.to_dataset(), solution.fit):
        for n in sorted(map(str, table.data_vars)):
            digest.update(np.ascontiguousarray(table[n].values, dtype=float).tobytes())
    print(engine, name, digest.hexdigest())
"""


@pytest.fixture(scope="module")
def digests():
    """What two processes print whose sets of names have different orders."""
    found = []
    for seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": seed, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-c", _PROGRAM]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        found.append(done.stdout.splitlines())
    return found


def test_numbers_do_not_depend_on_the_order_of_sets(digests):
    """Bit for bit: the order of sums decides the last digit, and chains of decisions may decide more."""
    first, second = digests
    assert len(first) == 4
    assert first == second
