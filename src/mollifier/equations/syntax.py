"""Text of equations -> syntax trees whose nodes know their place in the text.

A tokeniser and a precedence-climbing parser of our own: nothing is ever evaluated, every error points at its
place, and names may be any identifiers, Python's keywords among them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from mollifier.equations.hints import foreign
from mollifier.errors import EquationError

MAX_LENGTH = 10_000
MAX_DEPTH = 40
MAX_NAME = 100
_SHOWN = 100  # characters of a line shown in an error

_NUMBER = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_OPERATORS = {"+", "-", "*", "/", "^", "(", ")", "[", "]", ",", "=", "<", ">"}
_ALIASES = {"\u2212": "-", "\u00b7": "*", "\u22c5": "*", "\u00d7": "*"}
WHERE = "where"  #: The function whose value depends on an inequality.
_INFIX = {"+", "-", "*", "/", "^", "="}


class Token(NamedTuple):
    """A piece of text: ``kind`` is number, name, operator, break or end."""

    kind: str
    text: str
    start: int
    end: int


@dataclass(frozen=True)
class Node:
    """A node of the tree.

    ``kind`` is one of number, name, call, vector, negative, sum, product, power. In a product ``value`` holds
    one ``*`` or ``/`` for each child, in a sum one ``+`` or ``-``.
    """

    kind: str
    value: str
    children: tuple[Node, ...]
    start: int
    end: int


@dataclass(frozen=True)
class Statement:
    """One equation as written: ``left`` minus ``right`` is zero; ``right`` is None without an equals sign."""

    text: str
    left: Node
    right: Node | None

    @property
    def sides(self) -> list[Node]:
        """The left side, and the right one if there is one."""
        return [side for side in (self.left, self.right) if side is not None]


def error_at(source: str, start: int, end: int, message: str) -> EquationError:
    """An error that shows the line and a caret line under ``source[start:end]``.

    >>> print(error_at("u_t = w", 6, 7, "'w' is not known."))
    'w' is not known.
      u_t = w
            ^
    """
    first = source.rfind("\n", 0, start) + 1
    last = source.find("\n", start)
    last = len(source) if last < 0 else last
    end = min(max(end, start + 1), max(last, start + 1))
    low = max(first, start - _SHOWN // 2)
    high = min(last, low + _SHOWN)
    line = "".join(c if c.isprintable() else " " for c in source[low:high])
    carets = "^" * min(end - start, _SHOWN // 2)
    return EquationError(f"{message}\n  {line}\n  {' ' * (start - low)}{carets}")


def read(source: str) -> list[Statement]:
    """Split a text into its equations and parse each.

    Equations are separated by ``;`` or a line break; inside brackets, after an operator and before one a line
    break only continues the line. ``#`` starts a comment.
    """
    if len(source) > MAX_LENGTH:
        raise EquationError(
            f"The equation text has {len(source)} characters; at most {MAX_LENGTH} are read. Name long "
            "coefficients as known fields instead."
        )
    tokens = _tokenise(source)
    statements = [_Parser(source, group).statement() for group in _groups(tokens)]
    if not statements:
        raise EquationError("The equation text is empty; write for example 'u_t = k*lap(u)'.")
    return statements


def _tokenise(source: str) -> list[Token]:
    tokens: list[Token] = []
    i = 0
    while i < len(source):
        c = source[i]
        number = _NUMBER.match(source, i)
        if c in "\n;":
            token = Token("break", c, i, i + 1)
        elif c.isspace():
            i += 1
            continue
        elif c == "#":
            while i < len(source) and source[i] != "\n":
                i += 1
            continue
        elif number:
            token = Token("number", number.group(), i, number.end())
        elif c.isidentifier():
            j = i + 1
            while j < len(source) and ("a" + source[j]).isidentifier():
                j += 1
            if j - i > MAX_NAME:
                raise error_at(source, i, j, f"A name may have at most {MAX_NAME} characters.")
            token = Token("name", source[i:j], i, j)
        elif source.startswith("**", i):
            token = Token("operator", "^", i, i + 2)
        elif source.startswith("==", i):
            raise error_at(source, i, i + 2, "An equation is written with one '='.")
        elif _ALIASES.get(c, c) in _OPERATORS:
            token = Token("operator", _ALIASES.get(c, c), i, i + 1)
        else:
            hint = " Powers are written u^2." if c.isdigit() else foreign(c, ("x",), "")
            shown = repr(c) if c.isprintable() else f"U+{ord(c):04X}"
            raise error_at(
                source, i, i + 1, f"The character {shown} is not part of the equation language.{hint}"
            )
        tokens.append(token)
        i = token.end
    return tokens


def _groups(tokens: Sequence[Token]) -> list[list[Token]]:
    """Tokens of each equation, empty equations left out."""
    lines: list[list[Token]] = [[]]
    depth = 0
    for token in tokens:
        if token.kind != "break":
            depth += (token.text in ("(", "[")) - (token.text in (")", "]"))
            lines[-1].append(token)
        elif token.text == ";":
            depth = 0
            lines += [[token], []]  # a lone break token forbids joining across ';'
        elif depth <= 0:
            lines.append([])
    groups: list[list[Token]] = []
    fresh = True
    for line in lines:
        if not line:
            continue
        if line[0].kind == "break":
            fresh = True
            continue
        if groups and not fresh and _continues(groups[-1], line):
            groups[-1] += line
        else:
            groups.append(line)
        fresh = False
    return groups


def _continues(before: Sequence[Token], line: Sequence[Token]) -> bool:
    """Whether a line belongs to the equation before it."""
    if before[-1].kind == "operator" and before[-1].text in _INFIX:
        return True
    if line[0].kind != "operator" or line[0].text not in _INFIX:
        return False
    if line[0].text in ("+", "-"):
        return any(t.text == "=" for t in before) and not any(t.text == "=" for t in line)
    return True


class _Parser:
    """Precedence climbing over the tokens of one equation."""

    def __init__(self, source: str, tokens: list[Token]) -> None:
        self.source = source
        self.tokens = tokens
        self.stop = Token("end", "", tokens[-1].end, tokens[-1].end + 1)
        self.at = 0
        self.depth = 0

    def statement(self) -> Statement:
        left = self.sum()
        right = None
        if self.peek.text == "=":
            self.advance()
            right = self.sum()
        if self.peek.kind != "end":
            if self.peek.text == "=":
                raise self.error(
                    "This is the second '=' of one equation; separate equations by ';' or a new line."
                )
            raise self.error(self.unexpected())
        text = self.source[self.tokens[0].start : self.tokens[-1].end]
        return Statement(text, left, right)

    @property
    def peek(self) -> Token:
        return self.tokens[self.at] if self.at < len(self.tokens) else self.stop

    def advance(self) -> Token:
        token = self.peek
        self.at += 1
        return token

    def error(self, message: str) -> EquationError:
        return error_at(self.source, self.peek.start, self.peek.end, message)

    def unexpected(self) -> str:
        token = self.peek
        if token.text in ("<", ">"):
            return f"An inequality belongs into {WHERE}, as in {WHERE}(x < a, k1, k2)."
        if token.kind == "end":
            return "The equation ends too early; a number, a name or a bracket was expected here."
        if token.kind in ("name", "number") or token.text in ("(", "["):
            return f"An operator is missing before '{token.text}'; products are written with *."
        if token.text in (")", "]"):
            return f"This '{token.text}' closes a bracket that was not opened."
        return f"'{token.text}' is not expected here."

    def sum(self) -> Node:
        return self.chain("sum", ("+", "-"), self.product)

    def product(self) -> Node:
        return self.chain("product", ("*", "/"), self.unary)

    def chain(self, kind: str, operators: tuple[str, str], operand) -> Node:
        children, signs = [operand()], operators[0]
        while self.peek.kind == "operator" and self.peek.text in operators:
            signs += self.advance().text
            children.append(operand())
        if len(children) == 1:
            return children[0]
        return Node(kind, signs, tuple(children), children[0].start, children[-1].end)

    def unary(self) -> Node:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self.error(f"The equation is nested more than {MAX_DEPTH} deep; split it up.")
        token = self.peek
        if token.kind == "operator" and token.text in ("+", "-"):
            self.advance()
            operand = self.unary()
            node = operand
            if token.text == "-":
                node = Node("negative", "-", (operand,), token.start, operand.end)
        else:
            node = self.power()
        self.depth -= 1
        return node

    def power(self) -> Node:
        base = self.atom()
        if self.peek.kind == "operator" and self.peek.text == "^":
            self.advance()
            exponent = self.unary()
            return Node("power", "^", (base, exponent), base.start, exponent.end)
        return base

    def atom(self) -> Node:
        token = self.peek
        if token.kind == "number":
            self.advance()
            return Node("number", token.text, (), token.start, token.end)
        if token.kind == "name":
            self.advance()
            if self.peek.text == "(":
                children, end = self.bracket(")", token.text == WHERE)
                return Node("call", token.text, children, token.start, end)
            return Node("name", token.text, (), token.start, token.end)
        if token.text == "(":
            children, end = self.bracket(")")
            if len(children) != 1:
                message = "A bracket holds one expression; vectors are written [a, b]."
                raise error_at(self.source, token.start, end, message)
            inner = children[0]
            return Node(inner.kind, inner.value, inner.children, token.start, end)
        if token.text == "[":
            children, end = self.bracket("]")
            return Node("vector", "", children, token.start, end)
        if token.text in (")", "]", "=") and self.at > 0:
            raise self.error(f"Something is missing before '{token.text}'.")
        raise self.error(self.unexpected())

    def positive(self) -> Node:
        """What is positive where an inequality holds."""
        left = self.sum()
        if self.peek.text not in ("<", ">"):
            raise self.error(f"{WHERE} takes an inequality first, as in {WHERE}(x < a, k1, k2).")
        sides = [left, self.sum()] if self.advance().text == ">" else [self.sum(), left]
        return Node("sum", "+-", tuple(sides), left.start, max(s.end for s in sides))

    def bracket(self, closing: str, where: bool = False) -> tuple[tuple[Node, ...], int]:
        """The comma-separated expressions of a bracket, an inequality first or not, and where it ends."""
        opening = self.advance()
        children: list[Node] = []
        if self.peek.text != closing:
            children.append(self.positive() if where else self.sum())
            while self.peek.text == ",":
                self.advance()
                children.append(self.sum())
        if self.peek.text == closing:
            return tuple(children), self.advance().end
        if self.peek.kind == "end" or self.peek.text == "=":
            raise error_at(self.source, opening.start, opening.end, "This bracket is not closed.")
        raise self.error(self.unexpected())
