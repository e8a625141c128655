"""A catalogue of bad input over all commands: each with what is said of it, and where."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from command_line import call

HEAD = 'equation: "u_t = D*u_xx"\ndata: {file: u.csv}\nunknowns: {D: {lower: 0}}\n'
TABLE = b"x,t,u\n" + b"".join(
    b"%r,%r,%r\n" % (i % 9 / 8, i // 9 / 7, (1 + i % 9) * 0.5 ** (i // 9)) for i in range(72)
)
COMMANDS = (
    ["check", "p.yaml"],
    ["solve", "p.yaml", "--no-figures", "--out", "o"],
    ["compare", "p.yaml", "--engines", "joint", "--out", "o"],
)

# Each case: what is given, and a part of what is said.
# A line a case reads best.
# ruff: noqa: E501
# fmt: off
EQUATIONS = [
    ("u_t = ", "The equation ends too early; a number, a name or a bracket was expected here."),
    ("u_t == D*u_xx", "An equation is written with one '='."),
    ("u_t = D*u_xx = 0", "This is the second '=' of one equation; separate equations by ';' or a new line."),
    ("u_t = D u_xx", "An operator is missing before 'u_xx'; products are written with *."),
    ("u_t = D*u_xx)", "This ')' closes a bracket that was not opened."),
    ("u_t = (D*u_xx", "This bracket is not closed."),
    ("u_t = D*w_xx", "'w_xx' is not a name of this problem. Did you mean 'u_xx'?"),
    ("u_t = D*u_yy", "'u_yy': 'yy' is not a run of the coordinates x, t of 'u'."),
    ("u_t = D*u_xz", "'u_xz': 'xz' is not a run of the coordinates x, t of 'u'."),
    ("u_t = D*u_xxxxxxxxxxxxx", "'u_xxxxxxxxxxxxx' is of order 13; at most 12 is supported."),
    ("u_t = D*lap(u, u)", "lap takes 1 argument; 2 given."),
    ("u_t = D*laplace(u)", "'laplace' is not a function or operator of the equation language. Write lap(u)."),
    ("u_t = D*lap", "'lap' needs its argument in brackets, as in lap(u)."),
    ("u_t = D*div(u)", "div takes a vector, from grad(...) or written [a, b]; for one axis use dx(...)."),
    ("u_t = D*grad(u)", "An equation is between scalars; write one for each component."),
    ("u_t = div(D*[u_x, u_x])", "div takes a vector of 1 components, along x; this one has 2."),
    ("u_t = D*u_xx + 1e999", "This number is too large, or not a number."),
    ("u_t = D*u_xx + 10^10^10", "The exponent 1e+10 is too large; at most 100 in size is supported."),
    ("u_t = u^101*D", "The exponent 101 is too large; at most 100 in size is supported."),
    ("u_t = D*u_xx/0", "This divides by zero."),
    ("u_t = D*log(-1)", "This is not a finite real number (log is defined for x > 0)."),
    ("u_t = D*sqrt(-2)*u", "This is not a finite real number (sqrt is defined for x >= 0)."),
    ("u_t = D*(-1)^u", "The base of a variable power must be positive; it is -1."),
    ("0 = 0", "Both sides are the same, so the equation says 0 = 0:"),
    ("u = u", "Both sides are the same, so the equation says 0 = 0:"),
    ("x = t", "The equation holds neither a field nor an unknown:"),
    ("u_t = D*D_x", "'D_x': 'D' is one number and has no derivatives."),
    ("u_t = D*dx(sign(u))", "The derivative of a jump, sign(u), is not a function."),
    ("u_t = D*u_xx + é£", "The character '£' is not part of the equation language."),
    ("u_t = D*u²", "The character '²' is not part of the equation language. Powers are written u^2."),
    ("u_t = exec(u)", "'exec' is not a function or operator of the equation language."),
    ("u_t = __import__('os')", 'The character "\'" is not part of the equation language.'),
    ("u_t = D*u[0]", "An operator is missing before '['; products are written with *."),
    ("u_t = D*[u, u]", "An equation is between scalars; write one for each component."),
    ("u_t = D*(u, u)", "A bracket holds one expression; vectors are written [a, b]."),
    ("u_t = D*u_xx;; = 1", "'=' is not expected here."),
    ("u_t = u(x)*D", "Values at other places or times, as u(t - 1), are outside of the language."),
    ("u_t = D*max(u)", "max takes 2 to 8 arguments; 1 given."),
    ("u_t = D*dot(u, u)", "dot takes two vectors, from grad(...) or written [a, b]."),
    ("u_t = D*u_xx,", "',' is not expected here."),
    ("u_t = D*.", "The character '.' is not part of the equation language."),
    ("u_t = D @ u", "The character '@' is not part of the equation language."),
    ("u_t = lambda: 0", "The character ':' is not part of the equation language."),
    ("", "The equation text is empty; write for example 'u_t = k*lap(u)'."),
    ("   # only a comment", "The equation text is empty; write for example 'u_t = k*lap(u)'."),
    ("u_t = " + 60 * "(" + "u" + 60 * ")" + "*D", "The equation is nested more than 40 deep; split it up."),
    ("u_t = D*" + "+".join(["u"] * 6000), "The equation text has 12007 characters; at most 10000 are read. Name long coefficients a"),
    (150 * "n" + " = D*u", "A name may have at most 100 characters."),
    ("u_t = D*" + 400 * "9", "This number is too large, or not a number."),
]

ENTRIES = [
    ("data:", "dta:", "p.yaml: Unknown key 'dta'. Did you mean 'data'?"),
    ("unknowns:", "unknown:", "p.yaml: Unknown key 'unknown'. Did you mean 'unknowns'?"),
    ("unknowns: {D: {lower: 0}}", "", "p.yaml: The key 'unknowns' was expected and not given."),
    ("data: {file: u.csv}", "data: u.csv", "p.yaml: 'data' was given as 'u.csv'; a mapping was expected, as data: {file: u.csv}."),
    ("data: {file: u.csv}", "data: {}", "p.yaml: The key 'data.file' was expected and not given."),
    ("data: {file: u.csv}", "data: {file: 3}", "p.yaml: 'data.file' was given as 3"),
    ("{file: u.csv}", "{file: v.csv}", "There is no file 'v.csv'. Did you mean 'u.csv'?"),
    ("{file: u.csv}", "{file: .}", "'.' is a folder; one file was expected (a folder can only be .zarr)."),
    ("{file: u.csv}", "{file: u.pkl}", "'u.pkl' is a pickle, which can run code when loaded and is never read; save arrays with"),
    ("{file: u.csv}", "{file: u.xyz}", "'u.xyz' has the suffix '.xyz'; one of .nc, .nc4, .cdf, .netcdf, .h5, .hdf5, .hdf, .zarr,"),
    ("{file: u.csv}", "{file: u.csv, format: exel}", "format='exel' is not known."),
    ("{file: u.csv}", "{file: u.csv, values: w}", "The table has no column 'w'."),
    ("{file: u.csv}", "{file: u.csv, coordinates: [x, y]}", "The table has no column 'y'."),
    ("{file: u.csv}", "{file: u.csv, noise: -1}", "Noise of 'u' was given as -1.0; a fraction of rms of 0 or more was expected, such as 0.02."),
    ("{file: u.csv}", "{file: u.csv, noise: {w: 0.1}}", "noise names 'w', which is not a variable."),
    ("{file: u.csv}", "{file: u.csv, noise: .nan}", "Noise of 'u' was given as nan; a fraction of rms of 0 or more was expected, such as 0.02."),
    ("{file: u.csv}", "{file: u.csv, select: {dose: 1}}", "There is no column 'dose' to select by."),
    ("{file: u.csv}", "{file: u.csv, select: {x: 77}}", "'x' is nowhere 77. There are: 0.0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0."),
    ("{file: u.csv}", "{file: u.csv, sample: 1}", "p.yaml: 'data.sample' was given as 1"),
    ("{file: u.csv}", "{file: u.csv, gridded: false, sample: 1000000}", "sample=1000000 was given; a number from 2 to 72, the number of points, was expected."),
    ("{file: u.csv}", "{file: u.csv, window: {y: [0, 1]}}", "There is no coordinate 'y' to cut."),
    ("{file: u.csv}", "{file: u.csv, window: {x: [0.7, 0.2]}}", "No data lie in x = 0.7 to 0.2; they run from 0 to 1."),
    ("{file: u.csv}", "{file: u.csv, window: {x: [5, 6]}}", "No data lie in x = 5.0 to 6.0; they run from 0 to 1."),
    ("{file: u.csv}", "{file: u.csv, mask: m}", "The table has no column 'm'."),
    ("{file: u.csv}", "{file: u.csv, rename: {v: w}}", "There is no 'v' to rename."),
    ("{file: u.csv}", "{file: u.csv, periodic: {y: true}}", "periodic names 'y'."),
    ("{file: u.csv}", "{file: u.csv, periodic: {x: -1}}", "periodic was given -1.0; True, False or a positive period was expected."),
    ("{file: u.csv}", "{file: u.csv, replicates: r}", "The table has no column 'r'."),
    ("{file: u.csv}", "{file: u.csv, units: {y: m}}", "units names 'y'."),
    ("{file: u.csv}", "{file: u.csv, trusted: {y: 0}}", "There is no coordinate 'y' to trust."),
    ("{file: u.csv}", "{file: u.csv, seed: -1}", "p.yaml: 'data.seed' was given as -1"),
    ("{file: u.csv}", "{file: u.csv, gridded: maybe}", "p.yaml: 'data.gridded' was given as 'maybe'"),
    ("{D: {lower: 0}}", "{D: {lower: 1, upper: 0}}", "p.yaml: 'unknowns.D': Bounds 1.0 and 0.0 were given for an unknown; lower must be below"),
    ("{D: {lower: 0}}", "{D: {lower: .nan}}", "p.yaml: 'unknowns.D': lower=nan was given for an unknown; a finite number below 1e60 was expected."),
    ("{D: {lower: 0}}", "{D: {lower: 1e999}}", "p.yaml: 'unknowns.D': lower=inf was given for an unknown; a finite number below 1e60 was expected."),
    ("{D: {lower: 0}}", "{D: {initial: -1, lower: 0}}", "p.yaml: 'unknowns.D': initial=-1.0 was given for an unknown with bounds (0.0, None); it"),
    ("{D: {lower: 0}}", "{D: {lowr: 0}}", "p.yaml: Unknown key 'unknowns.D.lowr'. Did you mean 'lower'?"),
    ("{D: {lower: 0}}", "{D: {over: z}}", "The unknown 'D' varies over 'z', not a coordinate."),
    ("{D: {lower: 0}}", "{D: {over: []}}", "p.yaml: 'unknowns.D': FieldUnknown(over=()) varies over nothing; use ScalarUnknown."),
    ("{D: {lower: 0}}", "{D: {over: x, smoothness: -1}}", "p.yaml: 'unknowns.D': smoothness=-1.0 was given; a number of 0 or more was expected."),
    ("{D: {lower: 0}}", "{D: {over: x, prior: h9}}", "p.yaml: 'unknowns.D': prior='h9' was given; one of auto, h1, h2, tv was expected."),
    ("{D: {lower: 0}}", "{D: 3}", "p.yaml: 'unknowns.D' was given as 3; scalar, field or a mapping was expected. A number tha"),
    ("{D: {lower: 0}}", "{D: felid}", "p.yaml: 'unknowns.D' was given as 'felid'; scalar, field or a mapping was expected. Did yo"),
    ("{D: {lower: 0}}", "{}", "No unknowns were given; name at least one, as in unknowns={'D': ScalarUnknown(), 'k': FieldUnknown(over="),
    ("{D: {lower: 0}}", "[D]", "p.yaml: 'unknowns' was given as ['D']"),
    ("{D: {lower: 0}}", "{u: scalar}", "The unknown 'u' is also a variable of the data; rename one of them."),
    ("{D: {lower: 0}}", "{x: scalar}", "The unknown 'x' is also a coordinate; rename one of them."),
    ("{D: {lower: 0}}", "{D: {unit: 3}}", "p.yaml: 'unknowns.D.unit' was given as 3"),
    ("{D: {lower: 0}}", "{'1D': scalar, D: scalar}", "The unknowns ['1D'] are in no equation. Did you mean 'D'? Remove them or correct the name"),
    ("equation:", "constants: {D: 1}\nequation:", "The unknown 'D' is also a constant; rename one of them."),
    ("equation:", "constants: {c: text}\nequation:", "p.yaml: 'constants.c' was given as 'text'"),
    ("equation:", "constants: {c: .inf}\nequation:", "The constant 'c' was given as inf; a finite real number below 1e60 was expected."),
    ("equation:", "fields: [w]\nequation:", "Field 'w' is not in the data."),
    ("equation:", "fields: []\nequation:", "'u' is known data, and known fields are not differentiated; make 'u' a field of the prob"),
    ("equation:", "engine: magic\nequation:", "There is no engine 'magic'."),
    ("equation:", "engine: 3\nequation:", "p.yaml: 'engine' was given as 3"),
    ("equation:", "seed: -1\nequation:", "p.yaml: 'seed' was given as -1"),
    ("equation:", "seed: 1.5\nequation:", "p.yaml: 'seed' was given as 1.5"),
    ("equation:", "held_out: 1\nequation:", "p.yaml: 'held_out' was given as 1"),
    ("equation:", "held_out: -0.1\nequation:", "p.yaml: 'held_out' was given as -0.1"),
    ("equation:", "derivatives: magic\nequation:", "p.yaml: 'derivatives' was given as 'magic'"),
    ("equation:", "training: {step: 3}\nequation:", "p.yaml: Unknown key 'training.step'. Did you mean 'steps'?"),
    ("equation:", "training: {steps: -3}\nequation:", "p.yaml: 'training.steps' was given as -3"),
    ("equation:", "training: {steps: many}\nequation:", "p.yaml: 'training.steps' was given as 'many'"),
    ("equation:", "training: {tolerance: 0}\nequation:", "p.yaml: 'training.tolerance' was given as 0"),
    ("equation:", "training: {optimiser: sgd}\nequation:", "p.yaml: 'training.optimiser' was given as 'sgd'"),
    ("equation:", "training: {checkpoint_steps: 0}\nequation:", "p.yaml: 'training.checkpoint_steps' was given as 0"),
    ("equation:", "training: {time_limit: -1}\nequation:", "p.yaml: 'training.time_limit' was given as -1"),
    ("equation:", "training: 3\nequation:", "p.yaml: 'training' was given as 3"),
    ("equation:", "collocation: {nodes: {x: 2}}\nequation:", "p.yaml: 'collocation.nodes.x' was given as 2"),
    ("equation:", "collocation: {nodes: 33}\nequation:", "p.yaml: 'collocation.nodes' was given as 33"),
    ("equation:", "collocation: {radius: 0}\nequation:", "p.yaml: 'collocation.radius' was given as 0"),
    ("equation:", "collocation: {kernel: box}\nequation:", "p.yaml: 'collocation.kernel' was given as 'box'"),
    ("equation:", "network: {width: 0}\nequation:", "p.yaml: 'network.width' was given as 0"),
    ("equation:", "network: {depth: deep}\nequation:", "p.yaml: 'network.depth' was given as 'deep'"),
    ("equation:", "equation: a\nequation:", "p.yaml: line 2, column 1: the key 'equation' is given twice."),
    ("equation:", "? [a]\n: b\nequation:", "p.yaml: line 1, column 3: the key a list or mapping is no name; quote it if it is one."),
    ("equation:", "3: x\nequation:", "p.yaml: line 1, column 1: the key '3' is no name; quote it if it is one."),
    ("unknowns:", "unknowns: &a {D: *a}\nx:", "p.yaml: line 3, column 18: aliases (*name) are not read; write the value out."),
    ("unknowns:", "unknowns: !!python/object/apply:os.system [ls]\nx:", "p.yaml: line 3, column 11: could not determine a constructor for the tag 'tag:yaml.org,2"),
    ("unknowns:", "\tunknowns:", "p.yaml: line 3, column 1: found character '\\t' that cannot start any token."),
    ("unknowns:", "x: " + 30 * "[" + 30 * "]" + "\nunknowns:", "p.yaml: line 3, column 23: more than 20 levels of nesting."),
    ("unknowns:", "x: !!timestamp noon\nunknowns:", "p.yaml: line 3, column 4: could not determine a constructor for the tag 'tag:yaml.org,20"),
    ("unknowns:", "x: !!binary aGk=\nunknowns:", "p.yaml: line 3, column 4: could not determine a constructor for the tag 'tag:yaml.org,20"),
    ("unknowns:", "x: 'open\nunknowns:", "p.yaml: line 5, column 1: found unexpected end of stream."),
    ("unknowns:", "x: \x07\nunknowns:", "p.yaml: line 3, column 4: the character U+0007 is not allowed in YAML; is this a text fi"),
    ("unknowns:", "x: " + 5000 * "9" + "\nunknowns:", "p.yaml: this is no YAML that can be read"),
]

FILES = [
    (b'', "p.yaml: a mapping with equation, data and unknowns was expected; see docs/reference/problem-files.md"),
    (b'- a\n- b\n', "p.yaml: a mapping with equation, data and unknowns was expected; see docs/reference/problem-files.md"),
    (b'\xff\xfe\x00', "p.yaml: the problem file is not UTF-8 text. Is it data?"),
    (b'text', "p.yaml: a mapping with equation, data and unknowns was expected; see docs/reference/problem-files.md"),
    (b'a: {b', "p.yaml: line 1, column 6: expected ',' or '}', but got '<stream end>'."),
    (b"# " + 1_100_000 * b"x", "p.yaml: the problem file has 1,100,002 bytes; 1,000,000 at most are read. Is it data?"),
]

TABLES = [
    (b'', "'u.csv' is empty; a header and one row a sample were expected."),
    (b'x,t,u\n', "'u.csv' has a header but no rows; one row a sample was expected."),
    (b'0,0,1\n0,1,1\n', "'u.csv' begins with numbers [0, 0, 1]; a first line with the column names was expected"),
    (b'\x89HDF\r\n\x1a\n\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00', "'u.csv' is no text; a CSV or another text table was expected"),
    (b'PK\x03\x04broken', "'u.csv' has a header but no rows; one row a sample was expected."),
    (b'x~t~u\n0~0~1\n1~1~2\n', "No column of ['x~t~u'] is named like a coordinate; name them, as coordinates=['x~t~u']."),
    (b'x,t,u\n0,0,1\n', "Coordinate 'x' has one point only (0); at least two were expected: select it away with sel"),
    (b'x,t,u\n0,0,1\n0,0,1\n0,0,1\n0,0,1\n0,0,1\n0,0,1\n0,0,1\n0,0,1\n0,0,1\n', "Coordinate 'x' has one point only (0); at least two were expected: leave it out of the coo"),
    (b'x,x,u\n0,0,1\n1,1,2\n2,1,1\n', "'u.csv' names the column 'x' twice; rename or remove one of them."),
    (b'x,t,u\n"0,0,1\n', "'u.csv' has 1 cells in line 2 and 3 columns"),
    (b'x,t,u\n0,0,1e999\n1,1,2\n0,1,3\n1,0,4\n', "'u' has 1 infinite values; mark what is missing as NaN."),
    (TABLE.replace(b"x,t,u", b"a,b,c"), "No column of ['a', 'b', 'c'] is named like a coordinate"),
    (TABLE + b"one,two,three\n", "Column 'u' holds text, first in line 74: 'three'"),
    (TABLE + b"1,noon,2\n", "Column 't' holds text, first in line 74: 'noon'"),
    (TABLE + b"1,2,3,4,5\n", "'u.csv' has 5 cells in line 74 and 3 columns"),
    (b"\x89HDF\r\n\x1a\n" + 50 * b"\0", "'u.csv' is no text; a CSV or another text table was expected"),
    (bytes(range(256)), "'u.csv' is no text; a CSV or another text table was expected"),
]

WORDS = [
    ("compare p.yaml --engines weka", "There is no engine 'weka' to compare. Did you mean 'weak'?"),
    ("compare p.yaml --engines ,", "No engines were given; name some of weak, joint"),
    ("solve p.yaml --set start=magic", "start was given as 'magic'"),
    ("solve missing.yaml", "missing.yaml: the problem file is missing."),
    ("solve .", ".: the problem file is a folder."),
    ("solve p.yaml --set training.steps", "p.yaml: --set was given 'training.steps'; key=value was expected, as in training.steps=200"),
    ("solve p.yaml --set =3", "p.yaml: --set was given '=3'; key=value was expected, as in training.steps=2000."),
    ("solve p.yaml --set engine.x=3", "p.yaml: 'engine' was given as {'x': 3}"),
    ("solve p.yaml --set training.steps=many", "p.yaml: 'training.steps' was given as 'many'"),
    ("solve p.yaml --set trainin.steps=3", "p.yaml: Unknown key 'trainin'. Did you mean 'training'?"),
    ("solve p.yaml --set data={", "p.yaml: --set data={: line 1, column 2: expected the node content, but found '<stream en"),
    ("solve p.yaml --engine weka", "There is no engine 'weka'. Did you mean 'weak'?"),
    ("solve p.yaml --each dose", "'dose' is neither a column nor a dimension that u.csv can be selected by."),
    ("solve p.yaml --out p.yaml", "Cannot write 'p.yaml': File exists. A file of that name is in the way; name a folder ins"),
    ("solve p.yaml --out p.yaml/x", "Cannot write 'p.yaml/x': Not a directory. A part of the path is a file; name a folder in"),
    ("solve p.yaml --resume --engine joint --out fresh", "There is no checkpoint at fresh/checkpoint.pt; resume takes the folder of an interrupted"),
    ("check missing.yaml", "missing.yaml: the problem file is missing."),
    ("check p.yaml --set a", "p.yaml: --set was given 'a'; key=value was expected, as in training.steps=2000."),
    ("compare missing.yaml", "missing.yaml: the problem file is missing."),
    ("compare p.yaml --out p.yaml", "Cannot write 'p.yaml': File exists. A file of that name is in the way; name a folder ins"),
    ("compare p.yaml --set held_out=2", "p.yaml: 'held_out' was given as 2"),
    ("demo haet", "There is no demo 'haet'. Did you mean 'heat'?"),
    ("demo heat --out p.yaml", "Cannot write 'p.yaml': File exists. A file of that name is in the way; name a folder ins"),
    ("solve", "Missing argument"),
    ("solve p.yaml --set", "requires an argument"),
    ("solve p.yaml --seed -1", "--seed"),
    ("solve p.yaml --seed one", "--seed"),
    ("solve p.yaml --unknown", "--unknown"),
    ("solve p.yaml extra", "extra"),
    ("check p.yaml --out x", "--out"),
    ("compare p.yaml --seed x", "--seed"),
    ("demo heat --seed -1", "--seed"),
    ("sovle p.yaml", "sovle"),
    ("--nonsense", "--nonsense"),
]
# fmt: on


def cases() -> list[Any]:
    """Problem file, table, words, message; the three commands that read a problem file in turn."""
    given: list[tuple[bytes, bytes, list[str] | None, str]] = []
    for text, said in EQUATIONS:
        line = f"equation: {json.dumps(text, ensure_ascii=False)}\n"
        given.append(((line + HEAD.split("\n", 1)[1]).encode(), TABLE, None, said))
    given += [(HEAD.replace(old, new, 1).encode(), TABLE, None, said) for old, new, said in ENTRIES]
    given += [(content, TABLE, None, said) for content, said in FILES]
    given += [(HEAD.encode(), table, None, said) for table, said in TABLES]
    given += [(HEAD.encode(), TABLE, words.split(), said) for words, said in WORDS]
    return [
        pytest.param(problem, table, words or COMMANDS[i % 3], said, id=f"{i}")
        for i, (problem, table, words, said) in enumerate(given)
    ]


def test_there_are_enough_of_them():
    assert len(cases()) >= 120
    assert {p.values[2][0] for p in cases()} >= {"check", "solve", "compare", "demo"}


@pytest.mark.parametrize(("problem", "table", "words", "said"), cases())
def test_bad_input_is_refused_with_its_place(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    problem: bytes,
    table: bytes,
    words: list[str],
    said: str,
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    Path("p.yaml").write_bytes(problem)
    Path("u.csv").write_bytes(table)
    Path("u.pkl").write_bytes(b"")
    Path("u.xyz").write_bytes(b"")
    result = call(*words)
    assert result.exit_code == 2, result.output
    told = re.sub(r"\x1b\[[0-9;]*m", "", result.stderr)
    assert said in told
    assert "Traceback" not in told
    assert not list(tmp_path.rglob("solution.nc"))
