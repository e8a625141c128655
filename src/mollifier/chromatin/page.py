"""Self-contained HTML pages: one for each nucleus, and one for the study."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from mollifier.chromatin import figures
from mollifier.chromatin.groups import QUANTITIES
from mollifier.chromatin.model import ChromatinModel
from mollifier.chromatin.result import NucleusResult
from mollifier.chromatin.study import Study
from mollifier.io.files import write_text
from mollifier.reporting.page.parts import badge, document, drawing, table

NUMBERS = {
    "area": ("area", "um^2"),
    "frames": ("frames", ""),
    "molecules": ("localisations", ""),
    "pixel": ("pixel", "nm"),
    "resolution": ("resolution", "nm"),
    "phi_h": ("mean volume fraction of heterochromatin", ""),
    "domains": ("domains", ""),
    "radius": ("median radius of domains", "nm"),
    "spacing": ("median spacing of their centres", "nm"),
    "lamina": ("share of domains at the lamina", ""),
    "rate": ("mean lam over identified pixels", ""),
    "rate_sd": ("its standard error, with the model assumed true", ""),
    "identified": ("share of the nucleus where lam is identified", ""),
    "rate_balance": ("lam from the balance alone, if it were even", ""),
    "rate_geometric": ("lam from radius and spacing, 1/((d/R)^2 - 1)", ""),
    "seconds": ("time taken", "s"),
}
_MOST_DOMAINS = 40
_LARGE = 2.0


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
        ("rate", "Rate of methylation over acetylation", _rate(result)),
        ("fields", "Density, fractions, domains", _fields(result)),
        ("balance", "Integral balance", _balance(result)),
        ("domains", "Domains", _domains(result.domains)),
        ("thresholds", "Levels of the phases", _thresholds(result)),
        ("assumed", "Assumptions", _assumed(model or ChromatinModel(), result)),
    ]
    title = f"{result.field}, nucleus {result.name}"
    group = f" · group {escape(result.group)}" if result.group else ""
    tone = ("no map of rates", "bad") if result.error else ("map of rates", "good")
    head = f"<h1>{escape(title)}</h1>\n<p>{badge(*tone)}{group}</p>"
    return write_text(path, document(title, head, parts))


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
        ("levels", "Levels of all cells", _levels(study)),
        ("assumed", "Assumptions", _assumed(study.settings.model, None)),
    ]
    fields = len({r.field for r in study.results})
    head = (
        f"<h1>{len(whole)} nuclei of {fields} field(s) of view</h1>\n<p>"
        f"{badge(f'{sum(r.rate is not None for r in whole)} maps of rates', 'good')} "
        + (badge(f"{len(failed)} failed", "bad") if failed else "")
        + "</p>"
    )
    return write_text(path, document("Chromatin study", head, parts))


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


def _answer(result: NucleusResult) -> str:
    n = result.numbers
    rows = [(text, f"{number(n[k])} {unit}".strip()) for k, (text, unit) in NUMBERS.items() if k in n]
    parts = []
    if result.error:
        parts.append(f'<p class="bad">{escape(result.error)}</p>')
    if result.notes:
        parts.append("<ul>" + "".join(f"<li>{escape(t)}</li>" for t in result.notes) + "</ul>")
    return "\n".join([*parts, table("Numbers", ("", ""), rows)])


def _truth(result: NucleusResult, truth: xr.DataArray | None) -> str:
    if truth is None or result.rate is None:
        return ""
    rate = result.rate
    label = "The true rate, the estimated rate, and a scatter plot of both"
    return drawing(lambda: figures.truth_figure(rate, truth), label)


def _rate(result: NucleusResult) -> str:
    if result.rate is None:
        return ""
    intro = (
        "<p>lam = Gamma_me/Gamma_ac is dimensionless. Identifiability is the ratio of posterior to prior "
        "standard deviation, for a prior as wide as the median of lam: near 0 the data determine lam, near 1 "
        "they do not. Values above 0.5 are hatched.</p>"
    )
    drawn = drawing(lambda: figures.rate_figure(result), "Map of the rate with its error and identifiability")
    profile = drawing(lambda: figures.profile_figure(result), "Rate against distance from the nuclear edge")
    return intro + drawn + profile


def _fields(result: NucleusResult) -> str:
    if result.fields is None:
        return ""
    label = "Signal with domains (orange at the lamina, white within), and volume fractions"
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
    intro = (
        "<p>No flux crosses the edge of a nucleus: the gain equals the loss plus the change. A large defect "
        "shows that the mask, the levels or the assumed steady state are wrong.</p>"
    )
    return intro + table("In units of the loss", ("", ""), rows)


def _domains(domains: pd.DataFrame) -> str:
    if not len(domains):
        return "<p>No domain was found.</p>"
    heads = ("domain", "x (um)", "y (um)", "radius (nm)", "spacing (nm)", "to the edge (nm)", "place", "lam")
    rows = [
        (
            int(d["domain"]),
            f"{d['x'] / 1e3:.2f}",
            f"{d['y'] / 1e3:.2f}",
            *(number(float(d[c])) for c in ("radius", "spacing", "edge_distance")),
            d["place"],
            number(float(d["rate"])),
        )
        for d in domains.head(_MOST_DOMAINS).to_dict("records")
    ]
    more = len(domains) - len(rows)
    said = f"The {len(rows)} largest of {len(domains)}; domains.csv holds all" if more else "Domains"
    return table(said, heads, rows)


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
    intro = (
        "<p>A signal between two levels is a mixture of these two phases. The levels are choices, not "
        "measurements, and the map depends on them: vary them, as --set "
        "levels.heterochromatin_quantile=0.85.</p>"
    )
    return "\n".join([intro, drawn, table("Levels", ("", ""), rows), table("Source", ("", ""), others)])


def _plain(key: str, value: Any) -> bool:
    return isinstance(value, str | int | float) and not key.startswith("threshold_") and key != "note"


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
    intro = (
        "<p>phi_d_t = D lap(mu_d) + 2 Gamma_ac (lam phi_e - phi_h), with no flux through the nuclear edge "
        "and mu_d from the free energy below. Its parameters are assumed, and lam depends on them. Intervals "
        "do not include their errors.</p>"
    )
    parts = [intro, table("Assumed", ("", ""), rows)]
    if result is None:
        return "\n".join(parts)
    if result.sensitivity is None:
        parts.append("<p>The dependence of lam on each of them was not computed: add --sensitivity.</p>")
        return "\n".join(parts)
    s = result.sensitivity
    moved = [
        (
            str(p),
            *(f"{100 * float(s['level'].sel(parameter=p, sign=k)):+.1f} %" for k in (-1, 1)),
            *(f"{100 * float(s['pattern'].sel(parameter=p, sign=k)):.1f} %" for k in (-1, 1)),
        )
        for p in s["parameter"].values
    ]
    change = f"{float(s.attrs['change']):.0%}"
    heads = ("parameter", f"level at -{change}", f"at +{change}", f"pattern at -{change}", f"at +{change}")
    parts.append(table("Change of lam when a parameter changes, relative to its median", heads, moved))
    return "\n".join(parts)


def _cells(study: Study, pages: Mapping[tuple[str, str], str]) -> str:
    shown = ["area", "resolution", "domains", "radius", "spacing", "rate", "rate_sd", "identified"]
    shown += ["rate_balance", "rate_geometric", "defect"]
    cells = study.cells
    kept = [c for c in shown if c in cells and bool(np.isfinite(cells[c].to_numpy(dtype=float)).any())]
    grouped = bool((cells["group"] != "").any())
    body = ""
    for r in study.results:
        if not r.name:
            continue
        name = escape(f"{r.field}, {r.name}")
        address = pages.get((r.field, r.name))
        link = f'<a href="{escape(address, quote=True)}">{name}</a>' if address else name
        values = [escape(r.group)] if grouped else []
        values += [number(r.numbers.get(c, math.nan)) for c in kept]
        body += f'<tr><th scope="row">{link}</th>' + "".join(f"<td>{v}</td>" for v in values) + "</tr>\n"
    units = {"area": "um^2", "resolution": "nm", "radius": "nm", "spacing": "nm"}
    heads = ["nucleus", *(["group"] if grouped else []), *(_headed(c, units) for c in kept)]
    top = "".join(f'<th scope="col">{h}</th>' for h in heads)
    return (
        '<div class="wide" tabindex="0"><table>'
        "<caption>One row for each nucleus (cells.csv has all columns)</caption>"
        f"<thead><tr>{top}</tr></thead><tbody>\n{body}</tbody></table></div>"
    )


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
        large = math.isfinite(r["p"]) and (r["difference_low"] > 0 or r["difference_high"] < 0)
        rows.append(
            (
                f"{r['quantity']}: {r['group']}",
                f"{r['cells']} and {r['cells_control']}",
                *(number(r[k]) for k in ("mean", "mean_control")),
                *(_interval(r, k) for k in ("difference", "ratio", "g")),
                "differs" if large else "",
            )
        )
    control = found["control"].iloc[0]
    heads = ("quantity", "cells", "mean", f"mean of {control}", "difference", "ratio", "Hedges' g", "")
    intro = (
        "<p>The cell is the unit. Intervals are 95 %: Welch's t for the difference of cell means, and the "
        "delta method for the ratio, because groups of a few cells are too small for a bootstrap. They hold "
        "for one comparison each; among many, some miss by chance. Cells of one dish are more alike than "
        "cells of several: a group of one dish does not show the variation between dishes.</p>"
    )
    drawn = drawing(
        lambda: figures.groups_figure(cells, QUANTITIES),
        "A dot for each cell; mean and standard error in red",
    )
    return intro + table("Against control", heads, rows) + drawn


def _interval(row: Mapping[Any, Any], name: str) -> str:
    if math.isnan(row[name]):
        return "not known"
    ends = (number(row[f"{name}_low"]), number(row[f"{name}_high"]))
    return f"{number(row[name])} ({ends[0]} to {ends[1]})"


def _levels(study: Study) -> str:
    if study.levels is not None:
        e, h = study.levels
        return (
            f"<p>All cells have the levels of the control cells: euchromatin at {e:.3g} and heterochromatin "
            f"at {h:.3g} times the mean signal of a nucleus.</p>"
        )
    return (
        "<p>The levels are quantiles of each nucleus, which makes all nuclei look alike: amounts of "
        "heterochromatin and levels of lam cannot be compared between cells. With --groups the control cells "
        "set the levels of all.</p>"
    )
