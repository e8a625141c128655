"""The parts of the page, and the page."""

from __future__ import annotations

import io
import json
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

import mollifier
from mollifier.files import jsonable, write_text
from mollifier.report import style
from mollifier.report.figures import history_figure
from mollifier.report.fits import fit_figure
from mollifier.report.mathml import mathml
from mollifier.report.panels import colours, described, panels
from mollifier.report.sensitivity import has_radii, sensitivity_figure
from mollifier.solution import Solution
from mollifier.validation import Validation

# Ink in drawings, which the page's own takes the place of.
_INK = "#010203"
_KEYS = {
    "value": ("var(--first)", "found"),
    "sd": ("var(--first)", "95 % interval"),
    "forward": ("var(--second)", "forward solution (dashed)"),
    "points": ("var(--soft)", "measured near there (held out: orange)"),
}
_TONES = {"holds": "good", "doubtful": "care", "refuted": "bad"}


def save_page(
    solution: Solution,
    path: str | os.PathLike[str],
    validation: Validation | None = None,
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
        What `mollifier.validation.validate` said; left out of the page where it is not given.
    problem_file
        Text of the problem file behind it.
    command
        What to type to get it again.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    content = {"panels": [], "colours": colours()}
    forward = solution.dataset[[]] if validation is None else validation.forward
    content["panels"] = panels(solution, forward)
    parts = [
        ("question", "The question", _question(solution)),
        ("answer", "The answer", _answer(solution)),
        ("maps", "Fields", _maps(content["panels"])),
        ("fit", "The fit", _fit(solution)),
        ("sensitivity", "Sensitivity" if has_radii(solution.history) else "The run", _run(solution)),
        ("validation", "Validation", _validation(validation)),
        ("repeat", "How to repeat it", _repeat(solution, problem_file, command)),
    ]
    shown = [(i, head, body) for i, head, body in parts if body]
    text = _TEMPLATE.format(
        title=escape(_plain_title(solution)),
        css=_asset("page.css"),
        head=_head(solution, validation),
        links="".join(f'<a href="#{i}">{head}</a>' for i, head, _ in shown),
        sections="\n".join(
            f'<section id="{i}" aria-labelledby="{i}-h"><h2 id="{i}-h">{head}</h2>\n{body}\n</section>'
            for i, head, body in shown
        ),
        # "</" would end the script within a text.
        content=json.dumps(jsonable(content), ensure_ascii=False).replace("</", "<\\/"),
        script=_asset("page.js"),
        version=mollifier.__version__,
    )
    return write_text(path, text)


_TEMPLATE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>
{css}
</style>
</head>
<body>
<header>
{head}
<nav aria-label="Sections">{links}</nav>
</header>
<main>
{sections}
</main>
<footer class="soft"><p>Written by mollifier {version}.</p></footer>
<script type="application/json" id="content">{content}</script>
<script>
{script}
</script>
</body>
</html>
"""  # noqa: E501


def _asset(name: str) -> str:
    return files("mollifier.report.page").joinpath(name).read_text(encoding="utf-8").strip()


def _equations(solution: Solution) -> list[str]:
    found = solution.provenance.get("equation") or []
    return [found] if isinstance(found, str) else [str(e) for e in found]


def _plain_title(solution: Solution) -> str:
    return "; ".join(_equations(solution)) or "An inverse problem"


def _badge(text: str, tone: str) -> str:
    return f'<span class="badge {tone}">{escape(text)}</span>'


def _head(solution: Solution, validation: Validation | None) -> str:
    names = [*solution.estimates, *solution.unknown_fields]
    wanted = ", ".join(f"<em>{escape(n)}</em>" for n in names)
    status = solution.status
    badges = [f"Engine {_badge(status.name, 'good' if status.ok else 'care')}"]
    if validation is not None:
        badges.append(f"Validation {_badge(validation.status, _TONES[validation.status])}")
    lines = [f"<h1>{wanted} from measurements of {escape(', '.join(solution.observed))}</h1>"]
    lines.append(f"<p>{' · '.join(badges)}</p>")
    return "\n".join(lines)


def _table(caption: str, heads: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    top = "".join(f'<th scope="col">{escape(h)}</th>' for h in heads)
    body = ""
    for row in rows:
        first, *others = (escape(str(c)) for c in row)
        body += f'<tr><th scope="row">{first}</th>' + "".join(f"<td>{c}</td>" for c in others) + "</tr>\n"
    return (
        f'<div class="wide" tabindex="0"><table><caption>{escape(caption)}</caption>'
        f"<thead><tr>{top}</tr></thead><tbody>\n{body}</tbody></table></div>"
    )


def _question(solution: Solution) -> str:
    equations = "".join(f'<div class="equation">{mathml(e)}</div>' for e in _equations(solution))
    unknowns = solution.provenance.get("unknowns")
    listed = ""
    if isinstance(unknowns, Mapping):
        rows = [
            (n, str(u).partition("(")[0].removesuffix("Unknown").lower(), _bounds(str(u)))
            for n, u in unknowns.items()
        ]
        listed = _table("Unknown", ("name", "kind", "given of it"), rows)
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
    data = _table("Measured", ("variable", "values", "held out", "range", "standard error"), rows)
    places = []
    for c in map(str, solution.dataset.dims):
        a = solution.dataset[c]
        unit = a.attrs.get("units", "")
        wraps = "wraps" if a.attrs.get("periodic") else ""
        places.append((c, f"{float(a[0]):.4g} to {float(a[-1]):.4g} {unit}".strip(), a.size, wraps))
    grid = _table("Coordinates", ("name", "range", "nodes of the answer", ""), places)
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
        parts.append(_table("Numbers", ("unknown", "estimate ± standard error", "95 % interval"), rows))
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
        parts.append(_table("Fields", ("unknown", "over", "range", "median standard error"), rows))
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


@contextmanager
def _without_font_messages() -> Iterator[None]:
    """Text stays text, in the reader's own fonts: those that matplotlib misses are of no matter."""
    logger = logging.getLogger("matplotlib.font_manager")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _drawing(make: Callable[[], Figure], label: str) -> str:
    """A figure as SVG in the page, in the page's own ink."""
    ink = dict.fromkeys(
        ("text.color", "axes.edgecolor", "axes.labelcolor", "axes.titlecolor", "xtick.color", "ytick.color"),
        _INK,
    )
    with style.look(), mpl.rc_context({**ink, "axes.facecolor": "none", "svg.fonttype": "none"}):
        buffer = io.StringIO()
        figure = make()
        with _without_font_messages():
            figure.savefig(
                buffer, format="svg", transparent=True, bbox_inches="tight", metadata={"Date": None}
            )
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :].replace(_INK, "currentColor").replace("#000000", "currentColor")
    # Ids are of one drawing alone; a page has several.
    own = re.sub(r"\W+", "-", label)[:20]
    svg = re.sub(r'\bid="', f'id="{own}-', svg)
    svg = re.sub(r'(href="#|url\(#)', rf"\g<1>{own}-", svg)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = svg.replace("<svg ", f'<svg role="img" aria-label="{escape(label)}" ', 1)
    return f'<figure class="drawn">{svg}<figcaption>{escape(label)}</figcaption></figure>'


def _fit(solution: Solution) -> str:
    rows = []
    for name, m in solution.misfit.items():
        cells = ["none" if m[k] is None else f"{m[k]:.3g}" for k in ("fitted", "held_out")]
        rows.append((name, *cells))
    if not rows:
        return ""
    heads = ("variable", "over points fitted", "over points held out")
    table = _table("Rms of (fitted - measured) / standard error; about 1 is what noise leaves", heads, rows)
    label = (
        "Fitted fields with measurements, measured against fitted values, and errors in units of the noise"
    )
    return table + _drawing(lambda: fit_figure(solution), label)


def _run(solution: Solution) -> str:
    if has_radii(solution.history):
        label = (
            "Estimates with 95 % intervals against the radius of the test functions; the chosen one in red"
        )
        return _drawing(lambda: sensitivity_figure(solution), label)
    if not solution.history.sizes["step"] or not solution.history.data_vars:
        return ""
    return _drawing(lambda: history_figure(solution), "Loss and estimates against time, stage by stage")


def _validation(found: Validation | None) -> str:
    if found is None:
        return ""
    said = {
        "holds": "Nothing was found against the answer.",
        "doubtful": "Take the answer with doubt.",
        "refuted": "The equation with what was found does not explain the data.",
    }
    parts = [f"<p>{_badge(found.status, _TONES[found.status])} {said[found.status]}</p>"]
    items = [*found.reasons, *found.notes]
    if items:
        parts.append("<ul>" + "".join(f"<li>{escape(i)}</li>" for i in items) + "</ul>")
    parts.append(
        _table(
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
    parts = [_table("The run", ("", ""), rows)]
    if command:
        parts.append(f"<h3>Command</h3><pre>{escape(command)}</pre>")
    if problem_file:
        parts.append(f"<h3>Problem file</h3><pre>{escape(problem_file.strip())}</pre>")
    settings = p.get("settings")
    if settings:
        text = escape(json.dumps(settings, indent=2, ensure_ascii=False))
        parts.append(f"<details><summary>All settings</summary><pre>{text}</pre></details>")
    return "\n".join(parts)
