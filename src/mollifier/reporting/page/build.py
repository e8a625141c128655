"""The parts of the page, and the page."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from mollifier.diagnostics.validation.validate import Validation, validate
from mollifier.io.files import jsonable, write_text
from mollifier.problem.solution import Solution
from mollifier.reporting.figures import history_figure
from mollifier.reporting.fits import fit_figure
from mollifier.reporting.mathml import mathml
from mollifier.reporting.page.parts import asset, badge, document, drawing, table
from mollifier.reporting.panels import colours, described, panels
from mollifier.reporting.sensitivity import has_radii, sensitivity_figure

_KEYS = {
    "value": ("var(--first)", "found"),
    "sd": ("var(--first)", "95 % interval"),
    "forward": ("var(--second)", "forward solution (dashed)"),
    "points": ("var(--soft)", "measured near there (held out: orange)"),
}
_TONES = {"holds": "good", "doubtful": "care", "refuted": "bad"}


def report(
    solution: Solution,
    path: str | os.PathLike[str],
    validation: Validation | bool = True,
    problem_file: str = "",
    command: str = "",
) -> Path:
    """Write the report of a solution as one HTML page.

    Parameters
    ----------
    solution
        What to report.
    path
        The page; its folder is made if need be.
    validation
        Result of `mollifier.validate`; computed here by default, left out of the page if False.
    problem_file
        Text of the problem file behind it.
    command
        What to type to get it again.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    found = validation if isinstance(validation, Validation) else validate(solution) if validation else None
    content = {"panels": [], "colours": colours()}
    forward = solution.dataset[[]] if found is None else found.forward
    content["panels"] = panels(solution, forward)
    parts = [
        ("question", "The question", _question(solution)),
        ("answer", "The answer", _answer(solution)),
        ("maps", "Fields", _maps(content["panels"])),
        ("fit", "The fit", _fit(solution)),
        ("sensitivity", "Sensitivity" if has_radii(solution.history) else "The run", _run(solution)),
        ("validation", "Validation", _validation(found)),
        ("repeat", "How to repeat it", _repeat(solution, problem_file, command)),
    ]
    # "</" would end the script within a text.
    content = json.dumps(jsonable(content), ensure_ascii=False).replace("</", "<\\/")
    script = (
        f'<script type="application/json" id="content">{content}</script>\n'
        f"<script>\n{asset('page.js')}\n</script>\n"
    )
    return write_text(path, document(_plain_title(solution), _head(solution, found), parts, script))


def _equations(solution: Solution) -> list[str]:
    found = solution.provenance.get("equation") or []
    return [found] if isinstance(found, str) else [str(e) for e in found]


def _plain_title(solution: Solution) -> str:
    return "; ".join(_equations(solution)) or "An inverse problem"


def _head(solution: Solution, validation: Validation | None) -> str:
    names = [*solution.estimates, *solution.unknown_fields]
    wanted = ", ".join(f"<em>{escape(n)}</em>" for n in names)
    status = solution.status
    badges = [f"Engine {badge(status.name, 'good' if status.ok else 'care')}"]
    if validation is not None:
        badges.append(f"Validation {badge(validation.status, _TONES[validation.status])}")
    lines = [f"<h1>{wanted} from measurements of {escape(', '.join(solution.observed))}</h1>"]
    lines.append(f"<p>{' · '.join(badges)}</p>")
    return "\n".join(lines)


def _question(solution: Solution) -> str:
    equations = "".join(f'<div class="equation">{mathml(e)}</div>' for e in _equations(solution))
    unknowns = solution.provenance.get("unknowns")
    listed = ""
    if isinstance(unknowns, Mapping):
        rows = [
            (n, str(u).partition("(")[0].removesuffix("Unknown").lower(), _bounds(str(u)))
            for n, u in unknowns.items()
        ]
        listed = table("Unknown", ("name", "kind", "given of it"), rows)
    constants = solution.provenance.get("constants") or {}
    known = [f"{n} = {v:g}" for n, v in constants.items()] + [
        f"{n}: measured or given" for n in solution.known
    ]
    rows = []
    for name in solution.observed:
        values, held = solution.fit[name].values, solution.fit[f"{name}_held_out"].values.astype(bool)
        finite = np.isfinite(values)
        unit = solution.dataset[name].attrs.get("units", "") if name in solution.dataset else ""
        rows.append(
            (
                name,
                f"{int(finite.sum()):,}",
                f"{int((held & finite).sum()):,}",
                f"{values[finite].min():.4g} to {values[finite].max():.4g} {unit}".strip(),
                f"{float(np.nanmedian(solution.fit[f'{name}_sd'].values)):.3g} {unit}".strip(),
            )
        )
    data = table("Measured", ("variable", "values", "held out", "range", "standard error"), rows)
    places = []
    for c in map(str, solution.dataset.dims):
        a = solution.dataset[c]
        unit = a.attrs.get("units", "")
        wraps = "wraps" if a.attrs.get("periodic") else ""
        places.append((c, f"{float(a[0]):.4g} to {float(a[-1]):.4g} {unit}".strip(), a.size, wraps))
    grid = table("Coordinates", ("name", "range", "nodes of the answer", ""), places)
    given = f"<p>Known: {escape('; '.join(known))}.</p>" if known else ""
    return "\n".join([equations, listed, given, data, grid])


def _bounds(text: str) -> str:
    """What was said of an unknown, from its repr, without what was left out.

    >>> _bounds("ScalarUnknown(lower=0.0, upper=None, initial=None, unit='')")
    'lower=0.0'
    """
    inside = text.partition("(")[2].rpartition(")")[0]
    parts = re.split(r", (?=\w+=)", inside)
    return ", ".join(p for p in parts if p and not p.endswith(("=None", "=''", "='auto'"))) or "nothing"


def _answer(solution: Solution) -> str:
    parts = []
    if solution.status.message:
        parts.append(f"<p>The engine: {escape(str(solution.status))}.</p>")
    rows = []
    for name, e in solution.estimates.items():
        value = str(e).removeprefix(f"{name} = ")
        interval = "not given" if e.sd is None else "{:.5g} to {:.5g}".format(*e.interval(0.95))
        rows.append((name, value, interval))
    if rows:
        parts.append(table("Numbers", ("unknown", "estimate ± standard error", "95 % interval"), rows))
    rows = []
    for name in solution.unknown_fields:
        a, sd = solution.dataset[name], solution.dataset.get(f"{name}_sd")
        unit = a.attrs.get("units", "")
        finite = a.values[np.isfinite(a.values)]
        if not finite.size:
            continue
        spread = "not given" if sd is None else f"{float(np.nanmedian(sd.values)):.3g} {unit}".strip()
        span = f"{finite.min():.4g} to {finite.max():.4g} {unit}".strip()
        rows.append((name, ", ".join(map(str, a.dims)), span, spread))
    if rows:
        parts.append(table("Fields", ("unknown", "over", "range", "median standard error"), rows))
    return "\n".join(parts)


def _maps(found: list[dict[str, Any]]) -> str:
    drawn = []
    for p in found:
        views = '<svg class="map" role="img" viewBox="0 0 480 290"></svg>' if p["slider"] else ""
        if len(p["across"]) == 1:
            views += '<svg class="profile" role="img" viewBox="0 0 480 290"></svg>'
        slider = ""
        if p["slider"]:
            size = p["slider"]["size"]
            name = escape(p["slider"]["name"])
            slider = (
                f'<div class="slider"><label for="{p["id"]}-s">Position along {name}</label>'
                f'<input type="range" id="{p["id"]}-s" min="0" max="{size - 1}" value="{size // 2}">'
                f'<output for="{p["id"]}-s"></output></div>'
            )
        keys = "".join(_key(k) for k in described(p))
        legend = f'<ul class="legend">{keys}</ul>' if keys else ""
        drawn.append(
            f'<figure class="panel" id="{p["id"]}"><h3>{escape(p["title"])}</h3>'
            f'<div class="views">{views}</div>{slider}{legend}</figure>'
        )
    if not drawn:
        return ""
    note = "<noscript><p>The maps need JavaScript; all else on this page does not.</p></noscript>"
    return note + "\n".join(drawn)


def _key(kind: str) -> str:
    """An entry of a legend."""
    colour, text = _KEYS[kind]
    opacity = 0.3 if kind == "sd" else 1
    return f'<li><span class="key" style="background:{colour};opacity:{opacity}"></span>{text}</li>'


def _fit(solution: Solution) -> str:
    rows = []
    for name, m in solution.misfit.items():
        cells = ["none" if m[k] is None else f"{m[k]:.3g}" for k in ("fitted", "held_out")]
        rows.append((name, *cells))
    if not rows:
        return ""
    heads = ("variable", "over points fitted", "over points held out")
    shown = table("Rms of (fitted - measured) / standard error; about 1 is what noise leaves", heads, rows)
    label = (
        "Fitted fields with measurements, measured against fitted values, and errors in units of the noise"
    )
    return shown + drawing(lambda: fit_figure(solution), label)


def _run(solution: Solution) -> str:
    if has_radii(solution.history):
        label = (
            "Estimates with 95 % intervals against the radius of the test functions; the chosen one in red"
        )
        return drawing(lambda: sensitivity_figure(solution), label)
    if not solution.history.sizes["step"] or not solution.history.data_vars:
        return ""
    return drawing(lambda: history_figure(solution), "Loss and estimates against time, stage by stage")


def _validation(found: Validation | None) -> str:
    if found is None:
        return ""
    said = {
        "holds": "Nothing was found against the answer.",
        "doubtful": "Take the answer with doubt.",
        "refuted": "The equation with what was found does not explain the data.",
    }
    parts = [f"<p>{badge(found.status, _TONES[found.status])} {said[found.status]}</p>"]
    items = [*found.reasons, *found.notes]
    if items:
        parts.append("<ul>" + "".join(f"<li>{escape(i)}</li>" for i in items) + "</ul>")
    parts.append(
        table(
            "Tests: mean square error over the noise's variance, and what neighbours share", *found.columns()
        )
    )
    return "\n".join(parts)


def _repeat(solution: Solution, problem_file: str, command: str) -> str:
    p = solution.provenance
    rows = []
    for name in ("engine", "seed", "date", "python", "machine", "device", "seconds", "data"):
        if p.get(name) is not None:
            value = f"{p[name]:.3g}" if isinstance(p[name], float) else p[name]
            rows.append(({"data": "SHA-256 of the data"}.get(name, name), value))
    rows += [(f"{n} version", v) for n, v in (p.get("versions") or {}).items()]
    parts = [table("The run", ("", ""), rows)]
    if command:
        parts.append(f"<h3>Command</h3><pre>{escape(command)}</pre>")
    if problem_file:
        parts.append(f"<h3>Problem file</h3><pre>{escape(problem_file.strip())}</pre>")
    settings = p.get("settings")
    if settings:
        text = escape(json.dumps(settings, indent=2, ensure_ascii=False))
        parts.append(f"<details><summary>All settings</summary><pre>{text}</pre></details>")
    return "\n".join(parts)
