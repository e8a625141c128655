"""Parts that pages are built of: style, tables, badges, drawings, sections."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from html import escape
from importlib.resources import files
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from mollifier._version import __version__
from mollifier.reporting import style

# Ink in drawings, which the page's own takes the place of.
_INK = "#010203"


def asset(name: str) -> str:
    """A file beside this one, as text."""
    return files("mollifier.reporting.page").joinpath(name).read_text(encoding="utf-8").strip()


def badge(text: str, tone: str) -> str:
    """A word in a frame, in the tone good, care or bad."""
    return f'<span class="badge {tone}">{escape(text)}</span>'


def table(caption: str, heads: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """A table; the first cell of a row is its head."""
    top = "".join(f'<th scope="col">{escape(h)}</th>' for h in heads)
    body = ""
    for row in rows:
        first, *others = (escape(str(c)) for c in row)
        body += f'<tr><th scope="row">{first}</th>' + "".join(f"<td>{c}</td>" for c in others) + "</tr>\n"
    return (
        f'<div class="wide" tabindex="0"><table><caption>{escape(caption)}</caption>'
        f"<thead><tr>{top}</tr></thead><tbody>\n{body}</tbody></table></div>"
    )


def document(title: str, head: str, parts: Sequence[tuple[str, str, str]], script: str = "") -> str:
    """A page that needs nothing beside itself.

    Parameters
    ----------
    title
        As text.
    head
        HTML on top.
    parts
        Id, heading and HTML of each section; those without HTML are left out.
    script
        HTML at the end.
    """
    shown = [(i, escape(name), body) for i, name, body in parts if body]
    return _TEMPLATE.format(
        title=escape(title),
        css=asset("page.css"),
        head=head,
        links="".join(f'<a href="#{i}">{name}</a>' for i, name, _ in shown),
        sections="\n".join(
            f'<section id="{i}" aria-labelledby="{i}-h"><h2 id="{i}-h">{name}</h2>\n{body}\n</section>'
            for i, name, body in shown
        ),
        script=script,
        version=__version__,
    )


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
{script}</body>
</html>
"""  # noqa: E501


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


def drawing(make: Callable[[], Figure], label: str) -> str:
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
