"""From volume fractions in a nucleus to its map of rates, by the general engines.

No flux crosses the edge of a nucleus, so that fields end there with even symmetry: a few pixels outside are
filled with the mirror images of those inside. The equation is multiplied by a smooth window that falls off
over them, so that test functions on a nucleus of any shape vanish at its end, and with them all derivatives
that are moved onto them. Pixels further out have no say. On a curved edge the mirror errs by the width of the
window over the radius of curvature, and its pixels repeat the noise of those inside: what this does to the
errors is measured, not corrected.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter

from mollifier.apps.chromatin.model import RATE, ChromatinModel
from mollifier.apps.chromatin.simulate import edge_distance
from mollifier.data import Observations
from mollifier.engines import solve
from mollifier.errors import ConfigurationError, DataError, did_you_mean
from mollifier.grid import Axis, Grid
from mollifier.measured import differentiate
from mollifier.problem import InverseProblem
from mollifier.solution import Solution
from mollifier.unknowns import FieldUnknown

Array = NDArray[np.float64]

# Pixels over which the window falls off, how many of these lie outside the edge, and its own smoothing: over
# narrower ones its fourth derivatives drown the data (tried: 3 to 7, on one nucleus).
_RISE, _BAND, _SOFT = 5.0, 5.0, 1.0
# Pixels to a radius with which known sources are differentiated, and the level of the intervals.
_RADIUS, _LEVEL = 4.0, 0.95
_CHANGE = 0.2


@dataclass(frozen=True, eq=False)
class RateMap:
    """A map of lam = Gamma_me/Gamma_ac with what is known of its error.

    Attributes
    ----------
    dataset
        Over the pixels of the nucleus, NaN elsewhere: ``lam``, ``lam_sd``, ``lam_low`` and ``lam_high``
        (95 %), ``phi_e``, and ``identifiability``: posterior over prior standard error for a prior as wide as
        lam's own level (that of the engine, ``lam_prior_sd``, is nearly flat). Near 0 the data decide; near
        1, as where phi_e vanishes, they say nothing.
    solution
        Of the engine, in scaled units.
    balance
        ``gain`` = integral of lam phi_e, ``loss`` = integral of phi_h, ``change`` = half the growth of the
        integral of phi_d, each over area and time and in units of ``loss``, and ``defect``, ``gain - loss -
        change``: zero where no flux crosses the edge.
    geometric
        lam from the size and spacing of domains, where these were given.
    """

    dataset: xr.Dataset
    solution: Solution
    balance: dict[str, float]
    geometric: float | None = None


def infer_rate(
    fields: xr.Dataset,
    model: ChromatinModel,
    over: Sequence[str] = ("x", "y"),
    engine: str = "weak",
    prior: str = "h2",
    radius: Mapping[str, float] | None = None,
    geometry: float | None = None,
    seed: int = 0,
) -> RateMap:
    """lam over a nucleus, from one image, a pair of frames, or a time-lapse.

    Parameters
    ----------
    fields
        ``phi_d`` over x, y (nm) and, unless the image is a still one, t (s); ``phi_n`` over some of these;
        ``phi_d_sd``, the standard error of each value, estimated from the differences of neighbours where it
        is missing; ``mask`` (x, y), by default the pixels where phi_d is finite. Pixels that are NaN in any
        frame are left out.
    model
        In nm and s. Its parameters are assumed, and lam depends on them: see `sensitivity`.
    over
        ("x", "y"), or ("x", "y", "t") for a rate that changes in time.
    engine
        Of `mollifier.solve`. The weak engine needs no state at the edge.
    prior
        Of the rate, as in `mollifier.FieldUnknown`.
    radius
        Of the test functions along x, y (nm) and t (s); chosen from the data if not given.
    geometry
        lam by `mollifier.apps.chromatin.model.geometric_rate`, to be kept beside the map.
    seed
        Of the engine.

    Raises
    ------
    DataError
        If a variable or coordinate is missing, or the nucleus is too narrow for the window.
    ConfigurationError
        If the rate is to vary over t and there is one image only.
    """
    data = _checked(fields)
    still = "t" not in data["phi_d"].dims
    if still and "t" in over:
        raise ConfigurationError("A rate that varies over t was asked for; there is one image only.")
    scaled = model.scaled()
    observed, text = _posed(data, model, scaled, still)
    problem = InverseProblem(
        text, observed, {RATE: FieldUnknown(over=tuple(over), lower=0.0, prior=prior)}, fields=["phi_h"]
    )
    settings = None if radius is None else {"collocation": {"radius": _scaled_radius(radius, model)}}
    solution = solve(problem, engine, seed=seed, settings=settings)
    found = _map(solution, data, model)
    return RateMap(found, solution, _balance(found, data, model), geometry)


def sensitivity(
    fields: xr.Dataset,
    model: ChromatinModel,
    found: RateMap,
    change: float = _CHANGE,
    parameters: Sequence[str] | None = None,
) -> xr.Dataset:
    """How the map answers to the model's parameters: solved again with each of them a share lower and higher.

    Parameters
    ----------
    fields, model
        As given to `infer_rate`.
    found
        Its answer; the test functions stay those it chose.
    change
        Share by which parameters are moved.
    parameters
        Names of those to move; all that are not zero by default.

    Returns
    -------
    Dataset
        Over ``parameter`` and ``sign`` (-1, 1): ``level``, the change of the median of lam; ``pattern``, the
        rms of the change of lam; both relative to the median of lam.

    Raises
    ------
    ConfigurationError
        If the change is not between 0 and 1, or there is no such parameter.
    """
    if not 0 < change < 1:
        raise ConfigurationError(f"change={change} was given; a share between 0 and 1 was wanted.")
    base = found.dataset["lam"]
    over = tuple(str(d) for d in base.dims)
    radius = {c: r * _unit(c, model) for c, r in found.solution.provenance["radius"].items() if r}
    middle = float(base.median())
    known = _parameters(model)
    names = list(known) if parameters is None else list(parameters)
    for name in names:
        if name not in known:
            raise ConfigurationError(
                f"The model has no parameter '{name}' to move.{did_you_mean(name, known)}"
            )
    table = np.zeros((2, len(names), 2))
    for i, name in enumerate(names):
        for k, sign in enumerate((-1, 1)):
            other = _with(model, name, known[name] * (1 + sign * change))
            lam = infer_rate(fields, other, over, radius=radius).dataset["lam"]
            table[0, i, k] = (float(lam.median()) - middle) / middle
            table[1, i, k] = float(np.sqrt(((lam - base) ** 2).mean())) / middle
    coords = {"parameter": names, "sign": [-1, 1]}
    dims = ("parameter", "sign")
    attrs = {"change": change}
    return xr.Dataset({"level": (dims, table[0]), "pattern": (dims, table[1])}, coords, attrs)


def _parameters(model: ChromatinModel) -> dict[str, float]:
    """Those that are not zero, nor without effect because another one is."""
    energy = {f.name: float(getattr(model.energy, f.name)) for f in dataclasses.fields(model.energy)}
    if not energy["adhesion"]:
        del energy["reach"]
    both = {**energy, "diffusion": model.diffusion, "acetylation": model.acetylation}
    return {name: value for name, value in both.items() if value}


def _with(model: ChromatinModel, name: str, value: float) -> ChromatinModel:
    if hasattr(model.energy, name):
        return replace(model, energy=replace(model.energy, **{name: value}))
    return replace(model, **{name: value})


def _unit(coordinate: str, model: ChromatinModel) -> float:
    return model.time if coordinate == "t" else model.length


def _scaled_radius(radius: Mapping[str, float], model: ChromatinModel) -> dict[str, float]:
    return {c: r / _unit(c, model) for c, r in radius.items()}


def _checked(given: xr.Dataset) -> xr.Dataset:
    """The fields on the smallest box around the nucleus; ``mask`` is true where all is known."""
    missing = [v for v in ("phi_d", "phi_n") if v not in given]
    if missing or not {"x", "y"} <= set(given["phi_d"].dims):
        raise DataError(
            f"The fields hold {', '.join(map(str, given.data_vars))}; phi_d and phi_n over x, y and, for a "
            "film, t were wanted."
        )
    data = given.transpose("x", "y", "t", missing_dims="ignore")
    known: xr.DataArray = data["phi_d"].notnull() & data["phi_n"].notnull()
    if "phi_d_sd" in data:
        known = known & (data["phi_d_sd"] > 0)
    if "t" in known.dims:
        known = known.all("t")
    if "mask" in data:
        known = known & (data["mask"] > 0)
    data = data.assign(mask=known)
    depth = float(_depth(np.pad(known.values, 1)).max())
    if depth < 2 * _RISE:
        raise DataError(
            f"The nucleus is {2 * depth:.0f} pixels wide where it is widest; more than "
            f"{4 * _RISE:.0f} were wanted. Give an image with smaller pixels, or another mask."
        )
    rows, columns = (np.flatnonzero(known.values.any(axis)) for axis in (1, 0))
    return _framed(data.isel(x=slice(rows[0], rows[-1] + 1), y=slice(columns[0], columns[-1] + 1)))


def _framed(data: xr.Dataset) -> xr.Dataset:
    """With free pixels around, for the window to fall off over."""
    room = int(np.ceil(_BAND + 4 * _SOFT)) + 1
    wide = data.pad({"x": room, "y": room}, constant_values={"mask": False}, keep_attrs=True)
    for c in ("x", "y"):
        step = float(data[c][1] - data[c][0])
        wide[c] = (c, float(data[c][0]) + step * (np.arange(wide.sizes[c]) - room), data[c].attrs)
    return wide.assign(mask=wide["mask"].fillna(0).astype(bool))


def _depth(mask: NDArray[np.bool_]) -> Array:
    """Distance from the edge of the mask in pixels, negative outside."""
    within, beyond = (np.asarray(distance_transform_edt(m)) for m in (mask, ~mask))
    return np.where(mask, within - 0.5, 0.5 - beyond)


def window(mask: NDArray[np.bool_]) -> Array:
    """One within the nucleus, falling off smoothly to zero over the pixels outside, (x, y)."""
    s = np.clip((_depth(mask) + _BAND) / _RISE, 0.0, 1.0)
    rise = s**4 * (35 - 84 * s + 70 * s**2 - 20 * s**3)
    return np.asarray(gaussian_filter(rise, _SOFT))


def mirrored(mask: NDArray[np.bool_]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """For every pixel the row and column of itself, or of its mirror image in the edge if it lies outside."""
    depth, place = _depth(mask), np.indices(mask.shape)
    slope = np.array(np.gradient(np.asarray(gaussian_filter(depth, 1.0))))
    slope /= np.maximum(np.sqrt((slope**2).sum(0)), 1e-9)
    across = np.rint(place - 2 * np.minimum(depth, 0.0) * slope).astype(np.intp)
    across = np.stack([np.clip(a, 0, n - 1) for a, n in zip(across, mask.shape, strict=True)])
    nearest: Any = distance_transform_edt(~mask, return_distances=False, return_indices=True)
    across = np.where(mask[tuple(across)], across, nearest)
    found = np.where(mask, place, across)
    return found[0], found[1]


def _posed(
    data: xr.Dataset, model: ChromatinModel, scaled: ChromatinModel, still: bool
) -> tuple[Observations, str]:
    """Observations in scaled units, whole on their box, and the windowed equation."""
    inside = data["mask"].values
    nearest = mirrored(inside)
    place = {str(c): data[c].values / _unit(str(c), model) for c in data["phi_d"].dims}

    def filled(values: xr.DataArray) -> xr.DataArray:
        whole = values if {"x", "y"} <= set(values.dims) else values.broadcast_like(data["mask"])
        whole = whole.transpose("x", "y", ...)
        return whole.copy(data=whole.values[nearest]).assign_coords({c: place[str(c)] for c in whole.dims})

    q = 1 - filled(data["phi_n"])
    phi_h = (filled(data["phi_d"]) + q).transpose("x", "y", ...) / 2
    content: dict[str, Any] = {"phi_h": phi_h.drop_attrs(), "window": (("x", "y"), window(inside))}
    if "phi_d_sd" in data:
        content["sd"] = filled(data["phi_d_sd"]).broadcast_like(phi_h).transpose(*phi_h.dims) / 2
    else:
        measured = phi_h.where(xr.DataArray(inside, dims=("x", "y")))
        sd = Observations.from_dataset(measured.rename("phi_h")).noise_sd("phi_h")
        content["sd"] = xr.full_like(phi_h, sd)
    uniform = float(np.ptp(q.values)) <= 1e-9
    sources = not uniform or bool(scaled.energy.adhesion)
    if not uniform:
        content["chromatin"] = q.drop_attrs()
    if sources:
        content["source"] = _source(q, scaled, inside)
    number = 1 - float(q.values.flat[0]) if uniform else None
    left, right = scaled.equation(number, still, sources).split(" = ")
    observed = Observations.from_dataset(xr.Dataset(content), noise={"phi_h": "sd"})
    return observed, f"window*({left} - ({right})) = 0"


def _source(q: xr.DataArray, scaled: ChromatinModel, inside: NDArray[np.bool_]) -> xr.DataArray:
    """What a varying nucleoplasm and the lamina add, in scaled units, on the pixels of the box."""
    e = scaled.energy
    names = [str(d) for d in q.dims if q.sizes[d] > 1]
    axes = {c: Axis.from_points(c, q[c].values) for c in names}
    grid = Grid(axes["x"], axes["y"])
    spacing = axes["x"].spacing
    mask = xr.DataArray(inside, {"x": q["x"], "y": q["y"]}, ("x", "y"))
    distance = edge_distance(mask).values
    lamina = e.adhesion / 2 * np.exp(-np.maximum(distance, -2 * e.reach) / e.reach)

    def lap(values: Array) -> Array:
        both = (differentiate(values, grid, o, radius=_RADIUS * spacing) for o in ("u_xx", "u_yy"))
        return np.sum([np.asarray(b) for b in both], axis=0)

    def one(values: Array) -> Array:
        return lap(e.interface**2 * lap(values) - e.mixing * values - lamina)

    if "t" not in q.dims:
        return xr.DataArray(one(q.values), {"x": q["x"], "y": q["y"]}, ("x", "y"))
    frames = np.stack([one(q.isel(t=k).values) for k in range(q.sizes["t"])], -1)
    return q.copy(data=frames + np.gradient(q.values, q["t"].values, axis=-1))


def _map(solution: Solution, data: xr.Dataset, model: ChromatinModel) -> xr.Dataset:
    """The engine's fields on the pixels of the nucleus, in the data's units."""
    inside = data["mask"]
    z = NormalDist().inv_cdf(0.5 + _LEVEL / 2)
    coords = [c for c in ("x", "y", "t") if c in solution.dataset[RATE].dims]
    at = {c: data[c].values / _unit(c, model) for c in coords}
    parts = {}
    for name in (RATE, f"{RATE}_sd", f"{RATE}_prior_sd"):
        if name in solution.dataset:
            found = solution.dataset[name]
            same = all(found.sizes[c] == len(at[c]) for c in coords)
            parts[name] = (found if same else found.interp(at)).assign_coords({c: data[c] for c in coords})
    lam, sd = parts[RATE], parts[f"{RATE}_sd"]
    phi_e = ((1 - data["phi_n"] - data["phi_d"]) / 2).rename("phi_e")
    level = float(lam.where(inside).median())
    found = xr.Dataset(
        {
            **parts,
            "lam_low": np.maximum(lam - z * sd, 0.0),
            "lam_high": np.maximum(lam + z * sd, 0.0),
            "phi_e": phi_e,
            "identifiability": sd / np.hypot(sd, level),
        }
    )
    return found.where(inside).assign(mask=inside)


def _balance(found: xr.Dataset, data: xr.Dataset, model: ChromatinModel) -> dict[str, float]:
    """Integrals over the nucleus and the time of the data, relative to that of phi_h."""
    phi_h = ((1 - data["phi_n"] + data["phi_d"]) / 2).where(data["mask"])
    gain, loss = ((v.mean(("x", "y"))) for v in (found["lam"] * found["phi_e"], phi_h))
    change = 0.0
    if "t" in data["phi_d"].dims:
        total = data["phi_d"].where(data["mask"]).mean(("x", "y"))
        seconds = float(total["t"][-1] - total["t"][0])
        change = float(total[-1] - total[0]) / 2 / seconds / model.acetylation
        gain, loss = (v.integrate("t") / seconds for v in (gain, loss))
    gain, loss = float(gain), float(loss)
    return {
        "gain": gain / loss,
        "loss": 1.0,
        "change": change / loss,
        "defect": (gain - loss - change) / loss,
    }
