"""Objects that show as their text in a notebook."""

from __future__ import annotations

from html import escape


class Printed:
    """A base of classes whose text is made for people.

    >>> class Answer(Printed):
    ...     def __str__(self):
    ...         return "r < 1"
    >>> Answer()._repr_html_()
    '<pre>r &lt; 1</pre>'
    """

    def _repr_html_(self) -> str:
        return f"<pre>{escape(str(self))}</pre>"
