"""YAML from anywhere, as plain values: nothing that makes objects, refers to others or repeats a key.

By PyYAML: ruamel.yaml limits depth and repeated keys, but aliases, tags and dates need this class too.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

import yaml
from yaml.composer import ComposerError
from yaml.constructor import ConstructorError

from mollifier.errors import ConfigurationError

_DEEPEST = 20


def parse_yaml(text: str) -> Any:
    """YAML as plain values: no aliases, no repeated keys, 20 levels; only true and false are booleans.

    Raises `ConfigurationError` with line and column.

    >>> parse_yaml("{K: 1e-3, on: [x, y], steps: 20}")
    {'K': 0.001, 'on': ['x', 'y'], 'steps': 20}
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        said = str(error.problem or error.context)
        hint = " Indent with spaces, not with tabs." if "'\\t'" in said else ""
        raise ConfigurationError(f"{where}{said}.{hint}") from None
    except yaml.reader.ReaderError as error:
        before, what = text[: int(error.position)].split("\n"), f"U+{int(error.character):04X}"
        raise ConfigurationError(
            f"line {len(before)}, column {len(before[-1]) + 1}: the character {what} is not allowed in YAML; "
            "is this a text file?"
        ) from None
    # What a tag says a value is, and it is not: the constructors fail in as many ways.
    except (yaml.YAMLError, ValueError, ArithmeticError, LookupError, AttributeError, TypeError) as error:
        first = str(error).strip().splitlines() or ["unreadable"]
        raise ConfigurationError(f"this is no YAML that can be read ({first[0]}).") from None


class _Loader(yaml.SafeLoader):
    """Plain values only."""

    _depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise ComposerError(
                None, None, "aliases (*name) are not read; write the value out", event.start_mark
            )
        self._depth += 1
        if self._depth > _DEEPEST:
            event = self.peek_event()
            raise ComposerError(None, None, f"more than {_DEEPEST} levels of nesting", event.start_mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag != "tag:yaml.org,2002:str":
                what = getattr(key, "value", None)
                shown = f"'{what}'" if isinstance(what, str) else "a list or mapping"
                raise ConstructorError(
                    None, None, f"the key {shown} is no name; quote it if it is one", key.start_mark
                )
            if key.value in seen:
                raise ConstructorError(None, None, f"the key '{key.value}' is given twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_TAG = "tag:yaml.org,2002:"
_PLAIN = {f"{_TAG}{kind}" for kind in ("null", "bool", "int", "float", "str", "seq", "map")}
_Loader.yaml_constructors = {
    tag: construct
    for tag, construct in yaml.SafeLoader.yaml_constructors.items()
    if tag in _PLAIN or tag is None
}
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if tag == f"{_TAG}null"]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    f"{_TAG}bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_Loader.add_implicit_resolver(f"{_TAG}int", re.compile(r"^[-+]?(?:0|[1-9][0-9_]*)$"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    f"{_TAG}float",
    re.compile(
        r"^(?:[-+]?(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
    ),
    list("-+0123456789."),
)
