"""Makes the data of four examples by schemes that the engines do not use: `python examples/data/make.py`.

True values: corner.yaml and disc.yaml as `conductivity` and `radial` below, separation.yaml F = phi^3 - phi,
subjects.yaml k = 0.4. Noise of seed 100.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp
import xarray as xr
from scipy.integrate import solve_ivp
from scipy.interpolate import RegularGridInterpolator
from scipy.linalg import circulant
from scipy.sparse.linalg import spsolve

HERE = Path(__file__).parent


def noisy(values, share, rng):
    """Values with normal noise relative to their rms."""
    return values + share * np.sqrt(np.mean(values**2)) * rng.standard_normal(values.shape)


def movie(name, values, noise, rng, **coords):
    """A gridded file of one field."""
    found = xr.Dataset({name: (tuple(coords), noisy(values, noise, rng).round(5).astype("f4"))}, coords)
    return found, {name: {"zlib": True}}


def radial(r):
    """Conductivity of the disc."""
    return 0.05 * (1 + 0.6 * np.sin(3 * r))


def disc(rng, cells=400):
    """A disc whose edge is heated and cooled, by finite volumes in r."""
    edges = np.linspace(0, 1, cells + 1)
    centres, h = (edges[1:] + edges[:-1]) / 2, edges[1]

    def outside(t):
        return 0.5 * np.sin(3 * t)

    def rate(t, u):
        flux = edges[1:] * radial(edges[1:]) * np.diff(np.append(u, 2 * outside(t) - u[-1])) / h
        return np.diff(np.concatenate([[0], flux])) / (centres * h)

    t = np.linspace(0, 3, 61)
    start = np.exp(-((centres / 0.4) ** 2))
    u = solve_ivp(rate, (0, 3), start, "LSODA", t, rtol=1e-8, atol=1e-10, lband=1, uband=1).y
    whole, r = np.vstack([u[:1], u, outside(t)[None]]), np.linspace(0, 1, 41)
    places = np.concatenate([[0], centres, [1]])
    values = np.stack([np.interp(r, places, column) for column in whole.T], 1)
    found, packed = movie("u", values, 0.01, rng, r=r, t=t)
    found.to_netcdf(HERE / "disc.nc", engine="h5netcdf", encoding=packed)


def conductivity(x, y):
    """Conductivity of the L."""
    warm = np.exp(-((x - 0.25) ** 2 + (y - 0.7) ** 2) / 0.03)
    cold = np.exp(-((x - 0.65) ** 2 + (y - 0.25) ** 2) / 0.04)
    return 1 + 0.5 * warm - 0.35 * cold


def corner(rng, n=400):
    """An L with u = x - y on its outer edges and no flux through the two inner ones, by finite volumes."""
    h = 1 / n
    c = (np.arange(n) + 0.5) * h
    x, y = np.meshgrid(c, c, indexing="ij")
    inside = np.minimum(x, y) < 0.5
    number = np.full((n, n), -1)
    number[inside] = np.arange(inside.sum())
    rows, columns, weights, right = [], [], [], np.zeros(inside.sum())
    for axis, sign in ((0, 1), (0, -1), (1, 1), (1, -1)):
        dx, dy = (sign * h if axis == a else 0.0 for a in (0, 1))
        beyond = (
            (np.minimum(x + dx, y + dy) < 0.5) & (x + dx < 1) & (x + dx > 0) & (y + dy < 1) & (y + dy > 0)
        )
        outer = inside & ((x + dx > 1) | (x + dx < 0) | (y + dy > 1) | (y + dy < 0))
        k = conductivity(x + dx / 2, y + dy / 2)
        near = np.roll(number, -sign, axis)
        here = inside & beyond
        rows += [number[here], number[here], number[outer]]
        columns += [number[here], near[here], number[outer]]
        weights += [k[here], -k[here], 2 * k[outer]]
        right[number[outer]] += 2 * (k * (x + dx / 2 - y - dy / 2))[outer]
    shape = (len(right), len(right))
    matrix = sp.csr_array((np.concatenate(weights), (np.concatenate(rows), np.concatenate(columns))), shape)
    u = np.full((n, n), np.nan)
    u[inside] = spsolve(sp.csc_array(matrix), right)
    places = rng.random((4000, 2)) * (1 - 2 * h) + h
    found = RegularGridInterpolator((c, c), u, bounds_error=False)(places)
    keep = np.flatnonzero(np.isfinite(found))[:700]
    table = {"x [m]": places[keep, 0], "y [m]": places[keep, 1], "u [K]": noisy(found[keep], 0.01, rng)}
    pd.DataFrame(table).round(4).to_csv(HERE / "corner.csv", index=False)
    long, short = np.linspace(0.02, 0.98, 20), np.linspace(0.02, 0.48, 10)
    x = np.concatenate([long, 0 * long, short, 1 + 0 * short])
    y = np.concatenate([0 * long, long, 1 + 0 * short, short])
    k = noisy(conductivity(x, y), 0.01, rng)
    table = {"x [m]": x, "y [m]": y, "k [W/(m K)]": k}
    pd.DataFrame(table).round(4).to_csv(HERE / "corner_edge.csv", index=False)


def separation(rng, n=512, length=20.0):
    """A mixture that separates along x, by central differences on four times as many nodes."""
    x, h = np.arange(n) * length / n, length / n
    draw = np.random.default_rng(5)
    waves = [draw.normal() * np.cos(2 * np.pi * m * x / length + 6.3 * draw.random()) for m in range(1, 9)]
    start = 0.5 * sum(waves) / np.abs(sum(waves)).max()
    lap, t = circulant([-2.0, 1.0, *[0.0] * (n - 3), 1.0]) / h**2, np.linspace(0, 6, 121)
    done = solve_ivp(
        lambda _, u: lap @ (u**3 - u - 0.16 * lap @ u), (0, 6), start, "BDF", t, rtol=1e-6, atol=1e-8,
        jac=lambda _, u: lap * (3 * u**2 - 1) - 0.16 * lap @ lap,
    )  # fmt: skip
    found, packed = movie("phi", done.y[::4], 0.01, rng, x=x[::4], t=t)
    found["x"].attrs["periodic"] = length
    found.to_netcdf(HERE / "separation.nc", engine="h5netcdf", encoding=packed)


def subjects(rng):
    """Twenty subjects, six times each: their decay from levels of their own."""
    names = [f"S{i:02d}" for i in range(1, 21)]
    level = np.exp(rng.normal(size=20))
    t = np.array([0, 0.5, 1, 2, 3, 5])
    u = noisy(level[:, None] * np.exp(-0.4 * t), 0.02, rng)
    table = {"subject": np.repeat(names, 6), "t [h]": np.tile(t, 20), "u [mg/l]": u.ravel().round(4)}
    pd.DataFrame(table).to_csv(HERE / "subjects.csv", index=False)


for make in (disc, corner, separation, subjects):
    make(np.random.default_rng(100))
