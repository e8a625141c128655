"""Self-contained HTML pages: one for each nucleus, and one for the study."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from markupsafe import Markup

from mollifier.chromatin import figures
from mollifier.chromatin.groups import QUANTITIES
from mollifier.chromatin.model import ChromatinModel
from mollifier.chromatin.result import NucleusResult
from mollifier.chromatin.study import Study
from mollifier.io.files import write_text
from mollifier.reporting.page.parts import document, drawing, rendered, table

NUMBERS = {
    "area": ("area", "um^2"),
    "frames": ("frames", ""),
    "molecules": ("localisations", ""),
    "pixel": ("pixel", "nm"),
    "resolution": ("resolution", "nm"),
    "phi_h": ("mean volume fraction of heterochromatin", ""),
    "domains": ("domains inside, the rim at the lamina left out", ""),
    "radius": ("average radius of domains", "nm"),
    "spacing": ("average spacing of their centres", "nm"),
    "lamina": ("share of the area of heterochromatin at the lamina", ""),
    "lamina_thickness": ("thickness of the rim at the lamina", "nm"),
    "rate": ("mean lam over identified pixels", ""),
    "rate_total_sd": ("its standard error", ""),
    "rate_sd": ("by noise alone", ""),
    "rate_assumed_sd": ("by what is assumed: parameters, levels, outline", ""),
    "outline_offset": ("the fitted outline lies within the given one by", "nm"),
    "outline_sd": ("its standard error", "nm"),
    "identified": ("share of the nucleus where lam is identified", ""),
    "rate_balance": ("lam from the balance alone, if it were even", ""),
    "rate_geometric": ("lam from radius and spacing of domains", ""),
    "seconds": ("time taken", "s"),
}
_MOST_DOMAINS = 40
_LEVEL = 0.95


def nucleus_page(
    result: NucleusResult,
    path: str | os.PathLike[str],
    model: ChromatinModel | None = None,
    truth: xr.DataArray | None = None,
) -> Path:
    """Write the page of one nucleus.

    Parameters
    ----------
    result
        Result of the nucleus.
    path
        File of the page; its folder is created if needed.
    model
        Model whose assumptions are listed.
    truth
        The true lam on the pixels of the map, if it is known.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    parts = [
        ("answer", "In short", _answer(result)),
        ("truth", "Comparison with the truth", _truth(result, truth)),
        ("treatment", "Change after the treatment", _treatment(result)),
        ("rate", "Rate of methylation over acetylation", _rate(result)),
        ("fields", "Density, fractions, domains", _fields(result)),
        ("balance", "Integral balance", _balance(result)),
        ("domains", "Domains", _domains(result)),
        ("thresholds", "Levels of the phases", _thresholds(result)),
        ("assumed", "Assumptions", _assumed(model or ChromatinModel(), result)),
    ]
    head = _section("nucleus_head", result.field, result.name, result.group, *_state(result))
    return write_text(path, document(f"{result.field}, nucleus {result.name}", head, parts))


def study_page(study: Study, path: str | os.PathLike[str], pages: Mapping[tuple[str, str], str]) -> Path:
    """Write the page of a study.

    Parameters
    ----------
    study
        The study.
    path
        File of the page.
    pages
        (field, nucleus) -> address of its page, relative to this one.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    whole = [r for r in study.results if r.name]
    failed = [r for r in study.results if r.error]
    parts = [
        ("comparison", "Treated against control", _comparison(study)),
        ("cells", "Cells", _cells(study, pages)),
        ("failed", "Failures", _failed(failed)),
        ("levels", "Levels of all cells", _section("levels", study.levels)),
        ("assumed", "Assumptions", _assumed(study.settings.model, None)),
    ]
    fields = len({r.field for r in study.results})
    head = _section("study_head", len(whole), fields, _badges(whole, len(failed)))
    return write_text(path, document("Chromatin study", head, parts))


def _section(macro: str, *args: Any) -> str:
    return rendered("chromatin.html.j2", macro, *args)


def number(value: Any) -> str:
    """A value for a table; "not known" for NaN.

    >>> number(0.123456), number(float("nan")), number(1234567.0)
    ('0.1235', 'not known', '1,234,567')
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "not known"
    if isinstance(value, int | float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return str(value)


def _with_unit(value: float, unit: str) -> str:
    return number(value) if math.isnan(value) else f"{number(value)} {unit}".strip()


def _state(result: NucleusResult) -> tuple[str, str]:
    """What there is, and the tone of its badge."""
    if result.error or not result.status:
        return "no map of rates", "bad"
    name, _, message = result.status.partition(": ")
    if name == "converged":
        return "; ".join(t for t in ("map of rates", message) if t), "good"
    return name, "care"


def _badges(whole: Sequence[NucleusResult], failed: int) -> list[tuple[str, str]]:
    """How many nuclei have each status, with the tone of its badge; only converged ones have a map to use."""
    counts = Counter(r.status.partition(": ")[0] for r in whole if r.status)
    good = counts.pop("converged", 0)
    badges = [(f"{good} map{'s' * (good != 1)} of rates", "good")] if good else []
    badges += [(f"{n} {name}", "care") for name, n in counts.items()]
    return badges + ([(f"{failed} failed", "bad")] if failed else [])


def _answer(result: NucleusResult) -> str:
    n = result.numbers
    first = ""
    if math.isfinite(n.get("rate", math.nan)):
        whole, noise = (number(n[k]) for k in ("rate_total_sd", "rate_sd"))
        first = f"lam = {number(n['rate'])} ± {whole}; by noise alone ± {noise}"
    rows = [(text, _with_unit(n[k], unit)) for k, (text, unit) in NUMBERS.items() if k in n]
    return _section("answer", result.error, first, result.notes, rows)


def _truth(result: NucleusResult, truth: xr.DataArray | None) -> str:
    if truth is None or result.rate is None:
        return ""
    rate = result.rate
    label = "The true rate, the estimated rate, and a scatter plot of both"
    return drawing(lambda: figures.truth_figure(rate, truth), label)


def _treatment(result: NucleusResult) -> str:
    n = result.numbers
    if "step_size" not in n:
        return ""
    parts = {"size": "relative change of lam", "delay": "delay to its middle (s)", "spread": "its spread (s)"}
    rows = [
        (text, *(number(n[f"step_{name}{end}"]) for end in ("", "_sd", "_low", "_high")))
        for name, text in parts.items()
    ]
    heads = ("", "value", "standard error", "95 % from", "to")
    return table("With what is assumed", heads, rows)


def _rate(result: NucleusResult) -> str:
    if result.rate is None:
        return ""
    label = "Map of the rate with its error and identifiability"
    drawn = drawing(lambda: figures.rate_figure(result), label)
    profile = drawing(lambda: figures.profile_figure(result), "Rate against distance from the nuclear edge")
    return _section("rate") + drawn + profile


def _fields(result: NucleusResult) -> str:
    if result.fields is None:
        return ""
    label = "Signal with domains (white) and the rim at the lamina (orange line), and volume fractions"
    return drawing(lambda: figures.fields_figure(result), label)


def _balance(result: NucleusResult) -> str:
    n = result.numbers
    if "defect" not in n:
        return ""
    rows = [
        ("gain, integral of lam phi_e", f"{n['gain']:.3f}"),
        ("loss, integral of phi_h", "1"),
        ("change, half the growth of phi_d", f"{n['change']:+.3f}"),
        ("defect, gain - loss - change", f"{n['defect']:+.3f}"),
    ]
    return _section("balance", rows)


def _domains(result: NucleusResult) -> str:
    domains: Any = result.domains[result.domains["place"] == "interior"]
    attrs = {} if result.fields is None else result.fields.attrs
    rule = [
        (k.removeprefix("domain_").replace("_", " "), v) for k, v in attrs.items() if k.startswith("domain_")
    ]
    heads = ("domain", "x (um)", "y (um)", "radius (nm)", "spacing (nm)", "to the edge (nm)", "lam")
    rows = [
        (
            int(d["domain"]),
            f"{d['x'] / 1e3:.2f}",
            f"{d['y'] / 1e3:.2f}",
            *(number(float(d[c])) for c in ("radius", "spacing", "edge_distance")),
            number(float(d["rate"])),
        )
        for d in domains.head(_MOST_DOMAINS).to_dict("records")
    ]
    all_shown = len(rows) == len(domains)
    caption = (
        "Domains inside" if all_shown else f"The {len(rows)} largest of {len(domains)} inside, of domains.csv"
    )
    return _section("domains", caption, heads, rows, rule)


def _thresholds(result: NucleusResult) -> str:
    if result.fields is None:
        return ""
    attrs = result.fields.attrs
    rows = [
        (k.removeprefix("threshold_").replace("_", " "), number(v))
        for k, v in attrs.items()
        if k.startswith("threshold_")
    ]
    others = [(k.replace("_", " "), number(v)) for k, v in attrs.items() if _plain(k, v)]
    drawn = drawing(lambda: figures.levels_figure(result), "Histogram of the signal, with the levels")
    return _section("thresholds", Markup(drawn), rows, others)


def _plain(key: str, value: Any) -> bool:
    shown = key != "note" and not key.startswith(("threshold_", "domain_"))
    return shown and isinstance(value, str | int | float)


def _assumed(model: ChromatinModel, result: NucleusResult | None) -> str:
    e = model.energy
    rows = [
        ("depth of the double well of heterochromatin (well)", number(e.well)),
        ("energy of dilution in euchromatin (mixing)", number(e.mixing)),
        ("volume fraction at the densest packing (packed)", number(e.packed)),
        ("width of an interface (interface)", f"{number(e.interface)} nm"),
        ("attraction by the lamina (adhesion)", number(e.adhesion)),
        ("range of the attraction (reach)", f"{number(e.reach)} nm"),
        ("diffusion D (diffusion)", f"{number(model.diffusion)} nm^2/s"),
        ("rate of acetylation (acetylation)", f"{number(model.acetylation)} 1/s"),
        ("diffusion length sqrt(D/Gamma_ac)", f"{number(model.length)} nm"),
    ]
    listed = _section("assumed", rows)
    if result is None or result.sensitivity is None:
        return listed
    s = result.sensitivity
    moved = [
        (
            str(p).replace("_", " "),
            f"{float(s['sd'].sel(parameter=p)):.3g}",
            *(f"{100 * float(s['level'].sel(parameter=p, sign=k)):+.1f} %" for k in (-1, 1)),
            *(f"{100 * float(s['pattern'].sel(parameter=p, sign=k)):.1f} %" for k in (-1, 1)),
        )
        for p in s["parameter"].values
    ]
    heads = (
        "quantity",
        "standard deviation",
        "mean, lower",
        "mean, higher",
        "pattern, lower",
        "pattern, higher",
    )
    return listed + _section("sensitivity", heads, moved)


def _cells(study: Study, pages: Mapping[tuple[str, str], str]) -> str:
    shown = ["area", "resolution", "domains", "radius", "spacing", "rate", "rate_total_sd", "rate_sd"]
    shown += ["identified", "rate_balance", "rate_geometric", "defect"]
    cells = study.cells
    kept = [c for c in shown if c in cells and bool(np.isfinite(cells[c].to_numpy(dtype=float)).any())]
    grouped = bool((cells["group"] != "").any())
    rows = []
    for r in study.results:
        if not r.name:
            continue
        name, address = f"{r.field}, {r.name}", pages.get((r.field, r.name))
        link = Markup('<a href="{}">{}</a>').format(address, name) if address else name
        values = [number(r.numbers.get(c, math.nan)) for c in kept]
        rows.append((link, *([r.group] if grouped else []), _state(r)[0].partition("; ")[0], *values))
    units = {"area": "um^2", "resolution": "nm", "radius": "nm", "spacing": "nm"}
    heads = ["nucleus", *(["group"] if grouped else []), "map of rates", *(_headed(c, units) for c in kept)]
    return table("One row for each nucleus (cells.csv has all columns)", heads, rows)


def _headed(name: str, units: Mapping[str, str]) -> str:
    return f"{name.replace('_', ' ')} ({units[name]})" if name in units else name.replace("_", " ")


def _failed(failed: Sequence[NucleusResult]) -> str:
    if not failed:
        return ""
    rows = [(f"{r.field} {r.name}".strip(), r.error) for r in failed]
    return table("Other nuclei are not affected", ("where", "why"), rows)


def _comparison(study: Study) -> str:
    found = study.comparison
    if not len(found):
        return ""
    cells: Any = study.cells[study.cells["group"] != ""]
    rows = []
    for r in found.to_dict("records"):
        within = "" if r["unit"] == "cell" else f" in {r['units']} and {r['units_control']} {r['unit']}s"
        rows.append(
            (
                f"{r['quantity']}: {r['group']}",
                f"{r['cells']} and {r['cells_control']}{within}",
                *(number(r[k]) for k in ("mean", "mean_control")),
                *(_interval(r, k) for k in ("difference", "ratio", "g")),
                number(r["p_holm"]),
                "differs" if r["p_holm"] < 1 - _LEVEL else "",
            )
        )
    control = found["control"].iloc[0]
    heads = (
        "quantity",
        "cells",
        "mean",
        f"mean of {control}",
        "difference",
        "ratio",
        "Hedges' g",
        "adjusted p",
        "",
    )
    label = "A dot for each cell, coloured by replicate; mean and standard error of the units in black"
    drawn = drawing(lambda: figures.groups_figure(cells, QUANTITIES), label)
    doubtful = sum(r.group != "" and _state(r)[1] == "care" for r in study.results)
    return _section("comparison", heads, rows, Markup(drawn), found["unit"].iloc[0], doubtful)


def _interval(row: Mapping[Any, Any], name: str) -> str:
    if math.isnan(row[name]):
        return "not known"
    if math.isnan(row[f"{name}_low"]):
        return number(row[name])
    ends = (number(row[f"{name}_low"]), number(row[f"{name}_high"]))
    return f"{number(row[name])} ({ends[0]} to {ends[1]})"
