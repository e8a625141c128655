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
from mollifier.chromatin.comparison import NOT_COMPARED
from mollifier.chromatin.fractions import NO_BACKGROUND
from mollifier.chromatin.model import ChromatinModel
from mollifier.chromatin.result import NucleusResult
from mollifier.chromatin.study import Study
from mollifier.io.files import write_text
from mollifier.reporting.page.parts import document, drawing, rendered, table

NUMBERS = {
    "area": ("area", "um^2"),
    "frames": ("frames", ""),
    "molecules": ("molecules inside, in all frames", ""),
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
    """Write the page of one nucleus to a file, whose folder is created if needed.

    The assumptions of the model are listed; ``truth`` is the true lam on the pixels of the map, if it is
    known. Raises `OutputError` if the page cannot be written.
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
    """Write the page of a study; ``pages`` is (field, nucleus) -> address of its page, relative to this one.

    Raises `OutputError` if it cannot be written.
    """
    whole = [r for r in study.results if r.name]
    why = [(f"{r.field} {r.name}".strip(), r.error) for r in study.results if r.error]
    parts = [
        ("comparison", "Treated against control", _comparison(study)),
        ("cells", "Cells", _cells(study, pages)),
        ("failed", "Failures", table("Other nuclei are not affected", ("where", "why"), why) if why else ""),
        ("levels", "Levels of all cells", _section("levels", study.levels, study.settings)),
        ("assumed", "Assumptions", _assumed(study.settings.model, None)),
    ]
    fields = len({r.field for r in study.results})
    head = _section("study_head", len(whole), fields, _badges(whole, len(why)))
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
    badges = [
        (good, f"map{'s' * (good != 1)} of rates", "good"),
        *((n, k, "care") for k, n in counts.items()),
    ]
    return [(f"{n} {name}", tone) for n, name, tone in (*badges, (failed, "failed", "bad")) if n]


def _answer(result: NucleusResult) -> str:
    n, first = result.numbers, ""
    if math.isfinite(n.get("rate", math.nan)):
        rate, whole, noise = (number(n[k]) for k in ("rate", "rate_total_sd", "rate_sd"))
        first = f"lam = {rate} ± {whole}; by noise alone ± {noise}"
    rows = []
    for key, (text, unit) in NUMBERS.items():
        if key in n:
            rows.append((text, number(n[key]) + (f" {unit}" if unit and not math.isnan(n[key]) else "")))
    return _section("answer", result.error, first, result.notes, rows)


def _truth(result: NucleusResult, truth: xr.DataArray | None) -> str:
    rate = result.rate
    if truth is None or rate is None:
        return ""
    label = "The true rate, the estimated rate, and a scatter plot of both"
    return drawing(lambda: figures.truth_figure(rate, truth), label)


def _treatment(result: NucleusResult) -> str:
    n = result.numbers
    if "step_size" not in n:
        return ""
    parts = {"size": "relative change of lam", "delay": "delay to its middle (s)", "spread": "its spread (s)"}
    ends = {"": "value", "_sd": "standard error", "_low": "95 % from", "_high": "to"}
    rows = [(text, *(number(n[f"step_{name}{end}"]) for end in ends)) for name, text in parts.items()]
    return table("With what is assumed", ("", *ends.values()), rows)


def _rate(result: NucleusResult) -> str:
    if result.rate is None:
        return ""
    label = "Map of the rate with its error and identifiability"
    drawn = drawing(lambda: figures.rate_figure(result), label)
    profile = drawing(lambda: figures.profile_figure(result), "Rate against distance from the nuclear edge")
    return _section("rate") + drawn + profile


def _fields(result: NucleusResult) -> str:
    label = "Signal with domains (white) and the rim at the lamina (orange line), and volume fractions"
    return drawing(lambda: figures.fields_figure(result), label) if result.fields is not None else ""


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


def _attrs(result: NucleusResult, prefix: str) -> list[tuple[str, Any]]:
    """Attributes of the fields that begin with a prefix, without it."""
    found = {} if result.fields is None else result.fields.attrs
    return [(k.removeprefix(prefix).replace("_", " "), v) for k, v in found.items() if k.startswith(prefix)]


def _domains(result: NucleusResult) -> str:
    domains: Any = result.domains[result.domains["place"] == "interior"]
    heads = ("domain", "x (um)", "y (um)", "radius (nm)", "spacing (nm)", "to the edge (nm)", "lam")
    shown = ("radius", "spacing", "edge_distance", "rate")
    rows = [
        (int(d["domain"]), *(f"{d[c] / 1e3:.2f}" for c in "xy"), *(number(float(d[c])) for c in shown))
        for d in domains.head(_MOST_DOMAINS).to_dict("records")
    ]
    largest = f"The {len(rows)} largest of {len(domains)} inside, of domains.csv"
    caption = "Domains inside" if len(rows) == len(domains) else largest
    return _section("domains", caption, heads, rows, _attrs(result, "domain_"))


def _thresholds(result: NucleusResult) -> str:
    if result.fields is None:
        return ""
    rows = [(k, number(v)) for k, v in _attrs(result, "threshold_") if v != NO_BACKGROUND]
    others = [
        (k, number(v))
        for k, v in _attrs(result, "")
        if k != "note" and not k.startswith(("threshold ", "domain ")) and isinstance(v, str | int | float)
    ]
    drawn = drawing(lambda: figures.levels_figure(result), "Histogram of the signal, with the levels")
    return _section("thresholds", Markup(drawn), rows, others)


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
    s, moved = result.sensitivity, []
    for k, name in enumerate(s["parameter"].values):
        sd, mean, pattern = (s[v].values[k] for v in ("sd", "level", "pattern"))
        percent = (*(f"{100 * v:+.1f} %" for v in mean), *(f"{100 * v:.1f} %" for v in pattern))
        moved.append((str(name).replace("_", " "), f"{sd:.3g}", *percent))
    heads = ("quantity", "standard deviation", "mean, lower", "mean, higher")
    return listed + _section("sensitivity", (*heads, "pattern, lower", "pattern, higher"), moved)


def _cells(study: Study, pages: Mapping[tuple[str, str], str]) -> str:
    shown = ["area", "resolution", "domains", "radius", "spacing", "rate", "rate_total_sd", "rate_sd"]
    shown += ["identified", "rate_balance", "rate_geometric", "defect"]
    cells = study.cells
    kept = [c for c in shown if c in cells and bool(np.isfinite(cells[c].to_numpy(dtype=float)).any())]
    grouped = bool((cells["group"] != "").any())
    rows = []
    for r in study.results:
        if r.name:
            name, address = f"{r.field}, {r.name}", pages.get((r.field, r.name))
            link = Markup('<a href="{}">{}</a>').format(address, name) if address else name
            values = [number(r.numbers.get(c, math.nan)) for c in kept]
            rows.append((link, *([r.group] if grouped else []), _state(r)[0].partition("; ")[0], *values))
    units = {"area": " (um^2)", "resolution": " (nm)", "radius": " (nm)", "spacing": " (nm)"}
    heads = [c.replace("_", " ") + units.get(c, "") for c in kept]
    heads = ["nucleus", *(["group"] if grouped else []), "map of rates", *heads]
    return table("One row for each nucleus (cells.csv has all columns)", heads, rows)


def _comparison(study: Study) -> str:
    found = study.comparison
    if not len(found):
        return ""
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
    control = f"mean of {found['control'].iloc[0]}"
    heads = ("quantity", "cells", "mean", control, "difference", "ratio", "Hedges' g", "adjusted p", "")
    label = "A dot for each cell, coloured by replicate; mean and standard error of the units in black"
    drawn = drawing(lambda: figures.groups_figure(study.compared), label)
    doubtful = sum(r.group != "" and _state(r)[1] == "care" for r in study.results)
    left_out = "" if study.settings.comparable else NOT_COMPARED
    return _section("comparison", heads, rows, Markup(drawn), found["unit"].iloc[0], doubtful, left_out)


def _interval(row: Mapping[Any, Any], name: str) -> str:
    value, low, high = (number(float(row[f"{name}{end}"])) for end in ("", "_low", "_high"))
    return value if math.isnan(row[f"{name}_low"]) else f"{value} ({low} to {high})"
