"""Nuclei of real size with published statistics: domains, a rim, background, blinking and drift, recovered.

The command `mollifier chromatin` reads each as a file, once for every definition of a domain. The truth is
the same definition on what was simulated.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter1d, map_coordinates
from scipy.spatial import KDTree

from benchmarks.journal import Journal
from benchmarks.table import Follow, Table, environment, number, percent
from mollifier.chromatin.definitions import DEFINITIONS, DomainRule
from mollifier.chromatin.domains import average
from mollifier.errors import ConfigurationError, did_you_mean

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Plan:
    """A nucleus to simulate; lengths in nm.

    The diameter and the thickness of the rim are those of untreated nuclei in the code of Kant et al. (Nat.
    Commun. 15:4338, 2024; DMSO: 16,470 and 298 nm), the radii of domains those of ChromSTEM in A549 cells
    (median 74, quartiles 58 and 93, mean 80.6).

    Attributes
    ----------
    diameter, uneven
        Mean diameter, and amplitude of the waves of the edge relative to the radius.
    localizations
        Rows of the table.
    domains, radius, spread
        Number of domains inside, median radius, and standard deviation of its logarithm.
    gap
        Smallest distance between domains, and from domains to the rim.
    rim, rim_spread
        Mean thickness of the heterochromatin at the lamina, and its relative standard deviation along the
        edge.
    compaction
        Density of heterochromatin relative to that of euchromatin.
    precision, drift
        Standard error of a position, and amplitude of the drift that is left after correction.
    repeats
        Mean number of further localisations of a molecule, in consecutive frames.
    background
        Localisations outside any molecule, over the whole field, as a share.
    frames
        Of the recording.
    """

    diameter: float = 16_470.0
    uneven: float = 0.06
    localizations: int = 2_400_000
    domains: int = 2_357
    radius: float = 74.0
    spread: float = 0.35
    gap: float = 60.0
    rim: float = 298.0
    rim_spread: float = 0.2
    compaction: float = 5.0
    precision: float = 10.0
    drift: float = 5.0
    repeats: float = 0.3
    background: float = 0.01
    frames: int = 20_000


def scaled(by: float) -> Plan:
    """A nucleus of another diameter, with as many localisations and domains to an area.

    Examples
    --------
    >>> small = scaled(0.5)
    >>> small.diameter, small.localizations, small.domains
    (8235.0, 600000, 546)
    """
    plan = Plan()

    def inner(diameter: float) -> float:
        return (diameter - 2 * plan.rim) ** 2

    room = inner(by * plan.diameter) / inner(plan.diameter)
    return replace(
        plan, diameter=by * plan.diameter, localizations=round(by**2 * plan.localizations),
        domains=round(room * plan.domains),
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Truth:
    """What was simulated; lengths in nm.

    Attributes
    ----------
    domains
        ``x``, ``y``, ``radius`` and ``depth``, the distance of its nearest point from the edge.
    radius
        Of a disc of the area of the nucleus.
    edge, rim_area
        Length of the edge, and area of the rim.
    """

    domains: pd.DataFrame
    radius: float
    edge: float
    rim_area: float


_PIXEL = 10.0
_WAVES = (2, 3, 4)


def simulated(plan: Plan, seed: int = 0) -> tuple[pd.DataFrame, Truth]:
    """Localisations with the columns of ThunderSTORM, and the truth.

    Labels are a Poisson process; each molecule appears in a random frame and a Poisson number of consecutive
    ones.
    """
    rng = np.random.default_rng(seed)
    place, depth, rim, edge = _outline(plan, rng)
    domains = _domains(plan, place, depth, rim, rng)
    tree = KDTree(domains[:, :2])
    i, j = np.nonzero(depth > 0)
    pixels = np.stack([place[i], place[j]], 1)
    distance, owner = tree.query(pixels, k=8)
    dense = (distance <= domains[owner, 2]).any(1) | (rim[i, j] >= depth[i, j])
    weight = np.where(dense, plan.compaction, 1.0)
    molecules = plan.localizations * (1 - plan.background) / (1 + plan.repeats)
    count = rng.poisson(molecules * weight / weight.sum())
    xy = np.repeat(pixels, count, axis=0) + rng.uniform(-0.5, 0.5, (count.sum(), 2)) * _PIXEL
    times = 1 + rng.poisson(plan.repeats, len(xy))
    owner = np.repeat(np.arange(len(xy)), times)
    later = np.arange(len(owner)) - np.repeat(np.cumsum(times) - times, times)
    frame = rng.integers(0, plan.frames, len(xy))[owner] + later
    error = plan.precision * np.exp(0.3 * rng.standard_normal(len(owner)) - 0.045)
    xy = xy[owner] + error[:, None] * rng.standard_normal((len(owner), 2))
    xy += plan.drift * np.stack([f(2 * np.pi * frame / plan.frames) for f in (np.sin, np.cos)], 1)
    false = rng.poisson(plan.background * plan.localizations)
    xy = np.vstack([xy, rng.uniform(place[0], place[-1], (false, 2))])
    frame = np.append(frame, rng.integers(0, plan.frames, false))
    error = np.append(error, np.full(false, plan.precision))
    order = np.argsort(frame, kind="stable")
    table = pd.DataFrame({
        "frame": frame[order] + 1, "x [nm]": xy[order, 0] - place[0], "y [nm]": xy[order, 1] - place[0],
        "intensity [photon]": np.round(1e5 / error[order] ** 2, 1), "uncertainty_xy [nm]": error[order],
    })  # fmt: skip
    known = pd.DataFrame(domains, columns=["x", "y", "radius"])
    known["depth"] = _at(depth, place, domains[:, :2]) - known["radius"]
    known[["x", "y"]] -= place[0]
    area = _PIXEL**2 * float((depth > 0).sum())
    rim_area = _PIXEL**2 * float(((depth > 0) & (rim >= depth)).sum())
    return table.round(2), Truth(known, float(np.sqrt(area / np.pi)), edge, rim_area)


def _outline(plan: Plan, rng: np.random.Generator) -> tuple[Array, Array, Array, float]:
    """Pixel centres along each axis; depth below the edge and thickness of the rim; length of the edge."""
    waves = [(k, *(plan.uneven / k * rng.standard_normal(2)).tolist()) for k in _WAVES]
    half = 0.62 * plan.diameter
    place = np.arange(-half, half, _PIXEL)
    angle = np.linspace(0, 2 * np.pi, 3_601)
    along = plan.diameter / 2 * (1 + sum(a * np.cos(k * angle) + b * np.sin(k * angle) for k, a, b in waves))
    x, y = place[:, None], place
    here = np.arctan2(y, x) % (2 * np.pi)
    inside = np.hypot(x, y) < np.interp(here, angle, along)
    depth = np.asarray(distance_transform_edt(inside)) * _PIXEL
    smooth = gaussian_filter1d(rng.standard_normal(angle.size - 1), 60, mode="wrap")
    thickness = plan.rim * (1 + plan.rim_spread * smooth / smooth.std())
    rim = np.interp(here, angle, np.append(thickness, thickness[0]))
    edge = float(np.hypot(np.diff(along * np.cos(angle)), np.diff(along * np.sin(angle))).sum())
    return place, depth, np.maximum(rim, 50.0), edge


def _domains(plan: Plan, place: Array, depth: Array, rim: Array, rng: np.random.Generator) -> Array:
    """Centres and radii, (domains, 3), the largest placed first."""
    radii = np.sort(plan.radius * np.exp(plan.spread * rng.standard_normal(plan.domains)))[::-1]
    room = depth - rim
    found = np.zeros((plan.domains, 3))
    for n, r in enumerate(radii):
        while True:
            many = rng.uniform(place[0], place[-1], (64, 2))
            free = _at(room, place, many) >= r + plan.gap
            for x, y in many[free]:
                others = found[:n]
                if (np.hypot(others[:, 0] - x, others[:, 1] - y) >= others[:, 2] + r + plan.gap).all():
                    found[n] = x, y, r
                    break
            if found[n, 2]:
                break
    return found


def _at(values: Array, place: Array, points: Array) -> Array:
    return np.asarray(map_coordinates(values, (points - place[0]).T / _PIXEL, order=1))


CAPTION = (
    "Simulated nuclei with background, blinking, drift and localisation errors, read by the command in one "
    "process, pages included. Found: domains inside with a cluster whose centre lies in them; extra: other "
    "clusters inside, per domain. Radius, spacing and thickness of the rim: found over true, each by the "
    "definition itself. Lamina: share of the area of heterochromatin at the lamina, found and true. Seconds: "
    "wall clock and processor; peak: resident memory."
)
PREVIEW = "preview"


@dataclass(frozen=True)
class Row:
    """One nucleus by one definition.

    Attributes
    ----------
    definition, seed
        Name of the definition, or "preview", and seed of the nucleus.
    localizations, domains
        Rows of the table, and true domains inside.
    found, extra
        Share of the true domains found, and clusters inside that are none of them, per true domain.
    radius, spacing, thickness
        Found over true.
    lamina, lamina_true
        Share of the area of heterochromatin at the lamina.
    seconds, processor, memory_mib
        Of the command.
    message
        Why there is no answer.
    """

    definition: str
    seed: int
    localizations: int
    domains: int
    found: float = math.nan
    extra: float = math.nan
    radius: float = math.nan
    spacing: float = math.nan
    thickness: float = math.nan
    lamina: float = math.nan
    lamina_true: float = math.nan
    seconds: float = math.nan
    processor: float = math.nan
    memory_mib: float = math.nan
    message: str = ""


def run(
    definitions: Sequence[str] = (*DEFINITIONS, PREVIEW),
    seeds: Sequence[int] = (0,),
    *,
    plan: Plan | None = None,
    folder: Path,
    options: Sequence[str] = (),
    progress: Follow | None = None,
    journal: Journal | None = None,
) -> Table:
    """The table; Ctrl-C ends the run and keeps the rows that are done.

    Parameters
    ----------
    definitions
        Names of `mollifier.chromatin.definitions.DEFINITIONS`, and "preview".
    seeds
        Of the nuclei.
    plan
        `Plan` by default.
    folder
        Folder of the simulated files and of the results.
    options
        Further options of the command, as "--quick".
    progress
        Called before every command.
    journal
        Where each row is kept as it is done, and looked up before it is run.

    Raises
    ------
    ConfigurationError
        If there is no such definition.
    """
    known = (*DEFINITIONS, PREVIEW)
    for name in definitions:
        if name not in known:
            raise ConfigurationError(f"There is no definition '{name}'.{did_you_mean(name, known)}")
    plan, journal = plan or Plan(), Journal() if journal is None else journal
    rows, stopped = [], False
    try:
        for n, seed in enumerate(seeds):
            made: list[tuple[Path, Truth]] = []
            for k, name in enumerate(definitions):
                if progress is not None:
                    progress(
                        n * len(definitions) + k, len(seeds) * len(definitions), f"nucleus {seed}, {name}"
                    )
                asked = {"plan": str(plan), "definition": name, "seed": seed, "options": list(options)}
                rows.append(journal.once(asked, Row, partial(_row, plan, seed, name, folder, made, options)))
    except KeyboardInterrupt:
        stopped = True
    return Table("nucleus", tuple(rows), COLUMNS, CAPTION, environment(), "", stopped, lambda r: r.message)


def _row(
    plan: Plan,
    seed: int,
    name: str,
    folder: Path,
    made: list[tuple[Path, Truth]],
    options: Sequence[str],
) -> Row:
    """Simulate, where it is not yet done, run the command, and compare."""
    if not made:
        table, truth = simulated(plan, seed)
        file = folder / f"nucleus_{seed}.csv"
        file.parent.mkdir(parents=True, exist_ok=True)
        table.to_csv(file, index=False)
        made.append((file, truth))
    file, truth = made[0]
    out = folder / f"nucleus_{seed}_{name}"
    chosen = ["--preview"] if name == PREVIEW else ["--domains", "clusters" if name == "ours" else name]
    command = [sys.executable, "-m", "mollifier", "chromatin", str(file), *chosen, *options, "--workers", "1"]
    begun = time.perf_counter()
    with subprocess.Popen([*command, "--quiet", "--out", str(out)]) as process:
        _, _, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begun
        process.returncode = 0
    # Linux reports kilobytes.
    spent = seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024
    cells = out / "cells.csv"
    if not cells.is_file():
        row = Row(name, seed, plan.localizations, 0, message=f"{name}: no result")
        return replace(row, seconds=spent[0], processor=spent[1], memory_mib=spent[2])
    return _compared(name, seed, plan, truth, out / file.stem / "1", pd.read_csv(cells).iloc[0], spent)


def _compared(
    name: str,
    seed: int,
    plan: Plan,
    truth: Truth,
    folder: Path,
    cell: Any,
    spent: tuple[float, float, float],
) -> Row:
    rule = DEFINITIONS.get(name, DomainRule())
    if rule.select == "phase":
        rule = replace(rule, lamina=max(rule.lamina, float(cell["resolution"])))
    reach = rule.reach(truth.radius)
    inside: Any = truth.domains[truth.domains["depth"] > reach]
    places = inside[["x", "y"]].to_numpy(dtype=float)
    near: Any = KDTree(places).query(places, k=rule.neighbours + 1)[0]
    spacing = near[:, 1:].mean(axis=1)
    table: Any = pd.read_csv(folder / "domains.csv")
    table = table[table["place"] == "interior"]
    distance, owner = (np.asarray(v) for v in KDTree(places).query(table[["x", "y"]].to_numpy(dtype=float)))
    hits = distance < inside["radius"].to_numpy(dtype=float)[owner]
    found = len(np.unique(owner[hits]))
    area = math.pi * truth.domains["radius"].to_numpy(dtype=float) ** 2
    rim = truth.rim_area + float(area[(truth.domains["depth"] <= reach).to_numpy()].sum())
    return Row(
        name, seed, plan.localizations, len(inside), found / len(inside), (len(table) - found) / len(inside),
        cell["radius"] / average(inside["radius"].to_numpy(dtype=float), rule),
        cell["spacing"] / average(spacing, rule), cell["lamina_thickness"] / (rim / truth.edge),
        cell["lamina"], rim / (truth.rim_area + float(area.sum())), *spent,
    )  # fmt: skip


# Head of a column of the table -> its cell.
COLUMNS: dict[str, Callable[[Row], str]] = {
    "definition": lambda r: r.definition,
    "seed": lambda r: str(r.seed),
    "localisations": lambda r: f"{r.localizations:,}",
    "domains": lambda r: f"{r.domains:,}",
    "found": lambda r: percent(r.found),
    "extra": lambda r: percent(r.extra),
    "radius": lambda r: number(r.radius, ".3f"),
    "spacing": lambda r: number(r.spacing, ".3f"),
    "rim": lambda r: number(r.thickness, ".3f"),
    "lamina": lambda r: number(r.lamina, ".3f"),
    "true": lambda r: number(r.lamina_true, ".3f"),
    "seconds": lambda r: number(r.seconds),
    "processor s": lambda r: number(r.processor),
    "peak, MiB": lambda r: f"{r.memory_mib:,.0f}",
}
