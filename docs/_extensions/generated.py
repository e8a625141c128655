"""Reference pages from the code: the directive `generated` writes, at build, the part that it names."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from parts import PARTS
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


class Generated(SphinxDirective):
    """``{generated} NAME``: the Markdown that `parts.PARTS[NAME]` returns, in place of the directive."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Parse it here, headings included; the page is written anew in every build."""
        self.env.note_reread()
        return self.parse_text_to_nodes(PARTS[self.arguments[0]](), allow_section_headings=True)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("generated", Generated)
    return {"version": "1", "parallel_read_safe": True}
