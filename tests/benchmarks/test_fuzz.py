"""Random and damaged input: whatever comes in is read or refused with its place."""

# ruff: noqa: PT017 -- a refusal is one of two good ends
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st

from benchmarks import damage
from mollifier.data.read import read
from mollifier.equations.names import Names
from mollifier.equations.system import parse
from mollifier.errors import ConfigurationError, DataError, EquationError, MollifierError
from mollifier.io.plain_yaml import parse_yaml
from mollifier.problem.problem_file import load

fuzz = pytest.importorskip("benchmarks.fuzz", reason="limits on memory are of Unix")

NAMES = Names(
    ("x", "t"),
    fields={"u": ("x", "t")},
    unknowns={"D": (), "k": ("x",)},
    known={"s": ("x",)},
    constants={"K": 2.0},
)
ALPHABET = "uxtDksK_0123456789.e+-*/^()[],=;# \n"


@profile(max_examples=150)
@given(st.one_of(st.text(max_size=60), st.text(ALPHABET, max_size=60)))
def test_any_text_is_an_equation_or_refused(text):
    try:
        system = parse(text, NAMES)
    except EquationError as error:
        assert fuzz.names_a_place(str(error))
    else:
        env = dict.fromkeys(system.symbols, np.ones(2))
        with np.errstate(all="ignore"):
            for equation in system.equations:
                equation.evaluate(env)


@profile(max_examples=150)
@given(st.one_of(st.text(max_size=80), st.text("ab:{}[]-!&*'\"|>? \n#0.", max_size=80)))
def test_any_text_is_plain_yaml_or_refused(text):
    try:
        value = parse_yaml(text)
    except ConfigurationError:
        return
    assert isinstance(value, dict | list | str | int | float | bool | None)


@profile(max_examples=60)
@given(st.one_of(st.binary(max_size=120), st.text("xtu,0123456789.-enai\n\"'", max_size=120).map(str.encode)))
def test_any_bytes_are_a_table_or_refused(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("fuzz") / "u.csv"
    path.write_bytes(content)
    try:
        read(path, coordinates=["x", "t"])
    except DataError as error:
        assert fuzz.names_a_place(str(error))


def test_the_long_run_in_short():
    table = fuzz.run(200, load=lambda path: load(path).problem(), seed=5)
    assert [r.kind for r in table.rows] == list(fuzz.KINDS)
    assert sum(r.inputs for r in table.rows) == 200
    assert all(r.accepted and r.refused for r in table.rows)
    assert not any(r.faults for r in table.rows), table.notes()


@pytest.mark.parametrize(
    ("does", "counted"),
    [
        (lambda: (_ for _ in ()).throw(KeyError("lost")), "crashes"),
        (lambda: bytearray(700 * 2**20), "memory"),
        (lambda: exec("1"), "executed"),
        (lambda: (_ for _ in ()).throw(MollifierError("something is wrong")), "placeless"),
    ],
)
def test_what_none_may_do_is_seen(monkeypatch, does, counted):
    monkeypatch.setitem(fuzz._READERS, "table", lambda draw, place, load: does())
    row = fuzz.run(1, ["table"], load=lambda path: None).rows[0]
    assert getattr(row, counted) == 1
    assert row.faults == 1
    assert counted in row.examples[0]


def test_a_hang_is_ended(monkeypatch):
    def endless(draw, place, load):
        while True:
            pass

    monkeypatch.setattr(fuzz, "SECONDS", 0.05)
    monkeypatch.setitem(fuzz._READERS, "table", endless)
    assert fuzz.run(1, ["table"], load=lambda path: None).rows[0].hangs == 1


def test_inputs_are_known_by_their_number():
    for make in (damage.equation, damage.problem_file, damage.table):
        assert make(random.Random("0/a/7")) == make(random.Random("0/a/7"))
