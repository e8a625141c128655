"""Fields of a solution for the script of the page: on even nodes, thinned, as 16-bit numbers."""

from __future__ import annotations

import base64
import math
from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr

from mollifier.equations.names import time_coordinate
from mollifier.mollify.arrays import Array
from mollifier.problem.solution import Solution
from mollifier.reporting import style

# Nodes of a map along a side, positions of a slider, numbers in all panels together, points of measurement.
_ALONG, _POSITIONS, _NUMBERS, _POINTS = 160, 61, 1_800_000, 3_000
_MISSING = 65535


def colours() -> dict[str, str]:
    """The two colour tables, 256 times red, green, blue, base64."""
    tables = {"sequential": style.SEQUENTIAL, "diverging": style.DIVERGING}
    scale = np.linspace(0, 1, 256)
    made = {n: (mpl.colormaps[c](scale)[:, :3] * 255).round().astype(np.uint8) for n, c in tables.items()}
    return {n: base64.b64encode(table.tobytes()).decode() for n, table in made.items()}


def panels(solution: Solution, forward: xr.Dataset) -> list[dict[str, Any]]:
    """What the page draws: states with measurements and the forward solution, unknown fields, residuals."""
    found = []
    # The engines may keep derivatives beside the fields.
    fields = solution.provenance.get("fields") or solution.states
    for name in (n for n in solution.states if n in fields):
        state = solution.dataset[name]
        beside = {"forward": _like(forward[name], state)} if name in forward else {}
        found.append(_panel(name, state, f"{name}, fitted", beside, solution))
        if beside:
            gap = (beside["forward"] - state).assign_attrs(state.attrs)
            found.append(_panel(f"{name}_gap", gap, f"{name}: forward solution less fit", {}, None))
    for name in solution.unknown_fields:
        sd = solution.dataset.get(f"{name}_sd")
        beside = {} if sd is None else {"sd": sd}
        found.append(_panel(name, solution.dataset[name], f"{name}, estimated", beside, None))
        if sd is not None and sd.ndim > 1:
            found.append(_panel(f"{name}_sd", sd, f"standard error of {name}", {}, None))
    for name in solution.residuals:
        title = f"{name.replace('_', ' ')} of the equation, relative to its terms"
        found.append(_panel(name, solution.dataset[name], title, {}, None))
    kept = [p for p in found if p is not None]
    share = _NUMBERS / max(len(kept), 1)
    return [{**p, "id": f"panel-{i}"} for i, p in enumerate(_packed(p, share) for p in kept)]


def _like(field: xr.DataArray, other: xr.DataArray) -> xr.DataArray:
    """A forward solution on the nodes of the state."""
    along = {d: other[d] for d in other.dims}
    return field.interp(along, kwargs={"fill_value": "extrapolate"}).transpose(*other.dims)


def _panel(
    name: str, field: xr.DataArray, title: str, beside: dict[str, xr.DataArray], solution: Solution | None
) -> dict[str, Any] | None:
    """A panel's fields, with the coordinate of the slider first; None where nothing is known."""
    field = field.squeeze(drop=True)
    if not field.ndim or not np.isfinite(field.values).any():
        return None
    dims = [str(d) for d in field.dims]
    moved = (time_coordinate(dims) or dims[-1]) if len(dims) > 1 else None
    across = [d for d in dims if d != moved]
    held = {d: field.sizes[d] // 2 for d in across[2:]}
    order = [d for d in (moved, *across[:2]) if d is not None]
    layers = {"value": field, **{n: b.squeeze(drop=True) for n, b in beside.items()}}
    layers = {n: b.isel(held).transpose(*order) for n, b in layers.items()}
    whole = (
        f"{title} ({', '.join(f'{d} = {float(field[d][i]):.4g}' for d, i in held.items())})"
        if held
        else title
    )
    return {
        "name": name.removesuffix("_gap"),
        "title": whole,
        "unit": "" if "residual" in name else style.unit(field),
        "diverging": name.startswith("residual") or name.endswith("_gap"),
        "slider": moved,
        "across": across[:2],
        "layers": layers,
        "points": None if solution is None or len(dims) > 2 else _measured(solution, name, moved, across[0]),
    }


def _measured(solution: Solution, name: str, moved: str | None, along: str) -> Array | None:
    """Rows (position, value, held out, position of the slider), shape (n, 4)."""
    if name not in solution.observed:
        return None
    fit = solution.fit
    columns = [fit[along], fit[name], fit[f"{name}_held_out"], fit[moved] if moved else fit[name]]
    rows = np.stack([c.values.astype(float) for c in columns], -1)
    rows = rows[np.isfinite(rows).all(axis=1)]
    return rows[style.some(len(rows), _POINTS)]


def _packed(panel: dict[str, Any], numbers: float) -> dict[str, Any]:
    layers, order = panel["layers"], [d for d in (panel["slider"], *panel["across"]) if d]
    first = layers["value"]
    most = [min(first.sizes[d], _POSITIONS if d == panel["slider"] else _ALONG) for d in order]
    excess = math.prod(most) * len(layers) / numbers
    if excess > 1:
        most = [max(2, int(n / excess ** (1 / len(most)))) for n in most]
    even = {d: _even(first[d].values, n) for d, n in zip(order, most, strict=True)}
    drawn = {n: a.interp(even) if a.ndim else a for n, a in layers.items()}
    value = drawn["value"].values
    low, high = style.limits(value, symmetric=panel["diverging"], spare=0.002)
    axes = {d: _axis(first[d], even[d]) for d in order}
    rows = panel["points"]
    made = {
        **{n: panel[n] for n in ("name", "title", "unit")},
        "colours": "diverging" if panel["diverging"] else "sequential",
        "low": low,
        "high": high,
        "span": _span(drawn, rows),
        "slider": axes[panel["slider"]] if panel["slider"] else None,
        "across": [axes[d] for d in panel["across"]],
        "flat": bool(time_coordinate([panel["slider"] or ""])),
        "layers": {n: _numbers(a.values) for n, a in drawn.items()},
    }
    if rows is not None and len(rows):
        made["points"] = {"rows": [[float(f"{v:.6g}") for v in r] for r in rows], "reach": _reach(rows)}
    return made


def _reach(rows: Array) -> float:
    """Half the width of a slice that holds some forty points."""
    spread = float(np.ptp(rows[:, 3]))
    return min(0.5, 20 / len(rows)) * spread


def _even(nodes: Array, count: int) -> Array:
    return np.linspace(float(nodes[0]), float(nodes[-1]), count)


def _axis(coordinate: xr.DataArray, nodes: Array) -> dict[str, Any]:
    return {
        "name": str(coordinate.name),
        "unit": style.unit(coordinate),
        "lower": float(nodes[0]),
        "upper": float(nodes[-1]),
        "size": len(nodes),
    }


def _span(drawn: dict[str, xr.DataArray], rows: Array | None) -> list[float]:
    """What a curve's vertical axis spans: all positions of the slider, intervals and measurements."""
    parts = [drawn["value"].values]
    if "sd" in drawn:
        half = 1.96 * drawn["sd"].values
        parts += [parts[0] - half, parts[0] + half]
    if rows is not None:
        parts.append(rows[:, 1])
    low, high = style.limits(*parts, spare=0.001)
    return [low - 0.05 * (high - low), high + 0.05 * (high - low)]


def _numbers(values: Array) -> dict[str, Any]:
    """16 bits each between the least and the greatest."""
    finite = np.isfinite(values)
    low, high = (float(f(values[finite])) if finite.any() else 0.0 for f in (np.min, np.max))
    scaled = (np.where(finite, values, low) - low) / ((high - low) or 1.0) * (_MISSING - 1)
    coded = np.where(finite, scaled.round(), _MISSING).astype("<u2")
    return {"low": low, "high": high, "data": base64.b64encode(coded.tobytes()).decode()}
