"""Parts that pages are built of, from the templates beside: tables, badges, drawings, the page."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from html import escape
from typing import Any

import matplotlib as mpl
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from mollifier._version import __version__
from mollifier.reporting import style

# Colour of lines and text in drawings; the page replaces it by its text colour.
_INK = "#010203"
# Control characters and halves of surrogate pairs, which no page may hold.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


@lru_cache(maxsize=1)
def _templates() -> Environment:
    return Environment(
        loader=PackageLoader("mollifier.reporting"),
        autoescape=True,
        finalize=_printable,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )


def _printable(value: Any) -> Any:
    """What a template inserts, without characters that would break the page."""
    if not isinstance(value, str):
        return value
    return type(value)(_UNPRINTABLE.sub("\ufffd", value))


def rendered(template: str, macro: str, *args: Any, **options: Any) -> str:
    """HTML of a macro in a file of the templates; values are escaped unless they are `Markup`."""
    return str(getattr(_templates().get_template(template).module, macro)(*args, **options))


def badge(text: str, tone: str) -> str:
    """A word in a frame, in the tone good, care or bad."""
    return rendered("parts.html.j2", "badge", text, tone)


def table(caption: str, heads: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """A table; the first cell of a row is its head."""
    return rendered("parts.html.j2", "table", caption, heads, rows)


def document(title: str, head: str, parts: Sequence[tuple[str, str, str]], content: Any = None) -> str:
    """A page that needs no other file and no network.

    ``head`` is HTML on top, ``parts`` are id, heading and HTML of each section, of which those without HTML
    are left out. The page's script draws ``content``, in types that JSON knows; without it there is no
    script.
    """
    shown = [(i, name, Markup(body)) for i, name, body in parts if body]
    page = _templates().get_template("page.html.j2")
    return page.render(title=title, head=Markup(head), parts=shown, content=content, version=__version__)


@contextmanager
def _without_font_messages() -> Iterator[None]:
    """The reader's browser has its fonts: those that matplotlib misses do not matter."""
    logger = logging.getLogger("matplotlib.font_manager")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def drawing(make: Callable[[], Figure], label: str) -> str:
    """A figure as SVG for a page, in the page's text colour."""
    ink = dict.fromkeys(
        ("text.color", "axes.edgecolor", "axes.labelcolor", "axes.titlecolor", "xtick.color", "ytick.color"),
        _INK,
    )
    with style.look(), mpl.rc_context({**ink, "svg.fonttype": "none"}), _without_font_messages():
        figure, buffer = make(), io.StringIO()
        for part in (figure, *figure.axes):
            part.patch.set_alpha(0.0)
        style.draw(figure, "svg", buffer)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :].replace(_INK, "currentColor").replace("#000000", "currentColor")
    # A page has several drawings, whose ids must differ.
    own = re.sub(r"\W+", "-", label)[:20]
    svg = re.sub(r'\bid="', f'id="{own}-', svg)
    svg = re.sub(r'(href="#|url\(#)', rf"\g<1>{own}-", svg)
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = svg.replace("<svg ", f'<svg role="img" aria-label="{escape(label)}" ', 1)
    return rendered("parts.html.j2", "drawing", Markup(svg), label)
