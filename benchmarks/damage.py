"""Random and mutated equations, problem files and data files: what may come in, and what should not."""

from __future__ import annotations

import random
from collections.abc import Sequence

EQUATIONS = (
    "u_t = D*u_xx + r*u*(1 - u/K)",
    "0 = div(k*grad(u)) + s",
    "u_t + u*u_x = r*u_xx",
    "u_t = -bilap(u) - lap(u) - D*u*u_x\nv_t = dxx(v) + exp(-u)",
    "u_t = dot(grad(u), grad(v)) + min(u, v, 1)^2; v_t = sqrt(abs(u)) # a comment",
    "u_tt = D^2*lap(u) - sin(u) + heaviside(x - 0.5)",
)
PROBLEMS = (
    'equation: "u_t = D*u_xx + r*u*(1 - u/K)"\ndata: {file: heat.csv, coordinates: [x, t], values: u}\n'
    "constants: {K: 1.7e-3}\nunknowns:\n  D: {lower: 0, unit: um^2/h}\n  r: {unit: 1/h}\n",
    'equation: "u_t = dx(k*u_x)"\ndata:\n  file: heat.csv\n  noise: {u: 0.02}\n  units: {x: m, t: s}\n'
    "  window: {t: [0.1, 0.9]}\nunknowns:\n  k: {over: [x], lower: 0.0, smoothness: 1e-3}\nengine: "
    "joint\n"
    "collocation:\n  nodes: {x: 33, t: 17}\ntraining: {steps: 300, equation_weight: 10}\nheld_out: "
    "0\nseed: 3\n",
    'equation: ["u_t = D*u_xx"]\ndata: {file: grid.csv, select: {}, sample: 20}\nunknowns: {D: scalar}\n'
    "engine: network\nnetwork: {width: 8, depth: 2}\ntraining:\n  optimiser: lbfgs\n  time_limit: 1.5\n",
)
TABLE = "x,t,u\n" + "".join(f"{i % 6 / 5},{i // 6 / 4},{(i * 37 % 100) / 50 - 1}\n" for i in range(30))

# Words separated by blanks are easier to read than lists of them.
# ruff: noqa: SIM905
_NUMBERS = (
    "0 1 2 -1 0.5 1e-3 1e999 -1e999 1e308 1e-999 10^10^10 9^9^9^9 1e15 3.0000000000000001 00 1.e5 "
    ".5e-3 1_000 "
    "0x10 1e 1e+ .inf nan 99999999999999999999999999999999 1/3 100 101 64 ٣ ½"
).split()
_NAMES = (
    "u v D k r s K x y t u_t u_x u_xx u_xxxx u_xy u_tt v_t k_x s_x u_xxxxxxxxxxxxx u_ u__x _ __class__ "
    "lambda pi e E I oo zoo True None import exec D_u u_D w unknown_name"
).split()
_CALLS = (
    "lap bilap grad div dot dx dxx dxy dt dtt dxxxxxxxxxxxxx exp log sqrt sin tan asin sinh abs "
    "sign heaviside "
    "erf min max eval open getattr __import__ lambda u D f"
).split()
_PIECES = (
    *" \t\n;#=+-*/^()[],.'\"\\{}:&!|<>%@?~`$_0123456789eEuxt",
    "**", "==", "//", ":=", "->", "\0", "\r", "\x1b", "\u200b", "\u202e", "\ufeff", "µ", "²", "−",
    "·", "∂", "𝓊", "\ud7ff",
    "__import__('os').system('true')", "().__class__.__bases__[0]", "lambda: 0", "u_xx", "1e999",
    "10^10^10", "((((",
)  # fmt: skip
_YAML = (
    "!!python/object/apply:os.system [true]", "!!python/name:os.system", "&a [*a]", "*a", "<<: *a",
    "{{}}", "[[[[[[",
    "? x", "- - - -", "|\n  text", ">-\n  text", "2001-01-01", "0o17", "0b1", "0x1F", "1e999",
    "-.inf", ".nan", "~",
    "null", "true", "yes", "'", '"', "\t", "%YAML 9.9", "---", "...", "\x07",
    "12345678901234567890123456789",
    "{a: 1, a: 2}", "{? [a] : b}", "!!binary aGk=", "!!set {a}", "!!timestamp 2001-01-01",
    "[" * 50, "{a: " * 50,
)  # fmt: skip
_VALUES = (
    "0 -1 1 2.5 1e999 -.inf .nan null true '' [] {} [x] [x,y,z,t] {x: 1} {x: -1} {x: [0, 1]} [[[]]] "
    "text u x t all "
    "scalar field auto weak joint network heat.csv grid.csv missing.csv ../x /etc/passwd /dev/zero "
    ". 10000000000 "
    "[1,2,3] {u: u} {u: {u: u}} 1e-300 99999999999999999999"
).split(" ")
_KEYS = (
    "equation data unknowns constants fields engine start seed held_out derivatives file noise "
    "select values "
    "coordinates replicates units periodic rename dims mask window trusted sample gridded format "
    "over lower upper "
    "initial unit smoothness prior steps nodes radius kernel degree max_nodes width depth cells D k "
    "r u x t"
).split()


def equation(draw: random.Random) -> str:
    """An equation: of the grammar, a damaged one, or one built to be too much."""
    kind = draw.random()
    if kind < 0.45:
        return _statement(draw)
    if kind < 0.9:
        return _damaged(draw, draw.choice([*EQUATIONS, _statement(draw)]), _PIECES)
    return _excessive(draw)


def problem_file(draw: random.Random) -> bytes:
    """A problem file with other values, keys or characters, or bytes that are no text."""
    text = draw.choice(PROBLEMS)
    kind = draw.random()
    if kind < 0.3:
        text = _revalued(draw, text)
    elif kind < 0.5:
        text = text.replace(draw.choice(text.split('"')[1:2]) or "u", _quotable(equation(draw)))
    elif kind < 0.9:
        text = _damaged(draw, text, (*_PIECES, *_YAML, *_KEYS))
    elif kind < 0.95:
        text += draw.choice(_KEYS) + ": " + draw.choice(_YAML) * draw.randint(1, 40) + "\n"
    content = text.encode(draw.choice(("utf-8",) * 8 + ("utf-16", "latin-1")), errors="replace")
    return corrupted(draw, content) if draw.random() < 0.1 else content


def corrupted(draw: random.Random, content: bytes) -> bytes:
    """Bytes with some changed, cut out, cut off or said twice."""
    data = bytearray(content)
    for _ in range(draw.randint(1, 8)):
        i = draw.randrange(len(data) + 1)
        kind = draw.randrange(5)
        if kind == 0:
            data[i:i] = draw.randbytes(draw.randint(1, 6))
        elif kind == 1:
            del data[i : i + draw.randint(1, 30)]
        elif kind == 2 and data:
            data[i % len(data)] = draw.randrange(256)
        elif kind == 3:
            data[i:i] = data[i : i + 40]
        elif draw.random() < 0.3:
            del data[i:]
    return bytes(data)


def table(draw: random.Random) -> bytes:
    """A damaged table."""
    if draw.random() < 0.5:
        return corrupted(draw, TABLE.encode())
    cells = [line.split(",") for line in TABLE.strip().split("\n")]
    for _ in range(draw.randint(1, 5)):
        row = draw.choice(cells)
        if row:
            row[draw.randrange(len(row))] = draw.choice(
                [*_NUMBERS, *_PIECES, "NaN", "inf", "2020-01-01", "", "x" * 500]
            )
        if draw.random() < 0.1:
            cells.remove(row)
    return "\n".join(",".join(row) for row in cells).encode()


def _statement(draw: random.Random) -> str:
    sides = [_expression(draw, draw.randint(1, 4)) for _ in range(draw.choice((1, 2, 2, 2, 2)))]
    text = " = ".join(sides)
    return text + draw.choice(("; ", "\n")) + _statement(draw) if draw.random() < 0.1 else text


def _expression(draw: random.Random, depth: int) -> str:
    if depth == 0:
        return draw.choice(_NUMBERS) if draw.random() < 0.25 else draw.choice(_NAMES[: draw.choice((18, 99))])
    a = _expression(draw, depth - 1)
    kind = draw.randrange(10)
    if kind < 5:
        return f"{a}{draw.choice('+-**/^')}{_expression(draw, depth - 1)}"
    if kind < 6:
        return f"({a})"
    if kind < 7:
        return f"-{a}"
    if kind < 8:
        return f"div({_expression(draw, depth - 1)}*grad({a}))"
    inner = ", ".join([a, *(_expression(draw, depth - 1) for _ in range(draw.choice((0, 0, 0, 1, 2))))])
    return f"{draw.choice(_CALLS[: draw.choice((20, 99))])}({inner})"


def _damaged(draw: random.Random, text: str, pieces: Sequence[str]) -> str:
    for _ in range(draw.choice((1, 1, 1, 2, 3, 5, 10))):
        i, j = draw.randrange(len(text) + 1), draw.randint(0, 6)
        kind = draw.randrange(4)
        if kind == 0:
            text = text[:i] + draw.choice(pieces) + text[i:]
        elif kind == 1:
            text = text[:i] + text[i + j :]
        elif kind == 2:
            text = text[:i] + draw.choice(pieces) + text[i + j :]
        else:
            text = text[:i] + text[i : i + 3 * j] * draw.randint(2, 4) + text[i + 3 * j :]
    return text


def _excessive(draw: random.Random) -> str:
    """Deep, long, of high order, or of as many terms as there is room for."""
    n = draw.choice((5, 11, 30, 41, 100, 1000, 4000))
    inner = _expression(draw, 1)
    return draw.choice(
        (
            "u_t = " + "(" * n + inner + ")" * n,
            "u_t = " + "-" * n + "u",
            "u_t = " + "+".join([inner] * n),
            "u_t = " + "*".join([f"(u + {inner})"] * min(n, 40)),
            "u_t = " + "^".join(["2"] * n),
            "u_t = " + "^".join(["u"] * min(n, 60)),
            "u_" + "x" * n + " = u",
            "u_t = " + "div(grad(" * min(n, 20) + "u" + "))" * min(n, 20),
            f"u_t = dxxxxxx((u + v + k + {inner})^{draw.choice((3, 10, 50, 99))})",
            f"u_t = lap(exp(sin(u*v*k)*{inner})^7)",
            f"u_t = bilap((u + v)^5*{inner})",
            "u_t = " + "exp(" * min(n, 45) + "u" + ")" * min(n, 45),
            "u_t = " + "dx(u*" * min(n, 30) + "u" + ")" * min(n, 30),
            "; ".join([f"u_t = {inner}"] * min(n, 200)),
            "u" * n + " = 1",
            f"u_t = max({', '.join(['u', inner] * min(n, 60))})",
            "u_t = [" + ", ".join(["u"] * n) + "]",
            "u_t = " + "1" * n + "*u",
            "u_t = " + "/".join(["u"] * n),
        )
    )


def _quotable(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _revalued(draw: random.Random, text: str) -> str:
    """A line with another key or value, or one more."""
    lines = text.split("\n")
    for _ in range(draw.randint(1, 3)):
        i = draw.randrange(len(lines))
        key, colon, value = lines[i].partition(":")
        kind = draw.randrange(4)
        if kind == 0 and colon:
            lines[i] = f"{key}: {draw.choice(_VALUES)}"
        elif kind == 1 and colon:
            indent = key[: len(key) - len(key.lstrip())]
            lines[i] = f"{indent}{draw.choice(_KEYS)}:{value}"
        elif kind == 2:
            lines.insert(i, f"{draw.choice(('', '  '))}{draw.choice(_KEYS)}: {draw.choice(_VALUES)}")
        else:
            lines.insert(i, f"data: {{file: heat.csv, {draw.choice(_KEYS)}: {draw.choice(_VALUES)}}}")
    return "\n".join(lines)
