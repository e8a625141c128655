"""Bad input of the benchmark commands: each with its message."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from command_line import call

# A line a case reads best.
# ruff: noqa: E501
# fmt: off
REFUSED = [
    ("scale --sizes 8,64", "size 8 was given; at least 16 nodes along an axis were expected."),
    ("engines burger", "There is no case 'burger'. Did you mean 'burgers'?"),
    ("engines kdv --engines weka", "There is no engine 'weka'. Did you mean 'weak'?"),
    ("engines kdv --noise x", "--noise 'x' was given; comma-separated numbers were expected."),
    ("engines kdv --noise -1", "noise -1 was given; a number of 0 or more was expected."),
    ("engines kdv --noise nan", "noise nan was given; a number of 0 or more was expected."),
    ("engines kdv --out p.yaml", "Cannot write 'p.yaml': File exists. A file of that name is in the way; name a folder ins"),
    ("peers burger", "There is no case 'burger'. Did you mean 'burgers'?"),
    ("peers --engine pysindy", "There is no engine 'pysindy'."),
    ("scale --sizes 64.5", "--sizes holds 64.5; whole numbers of nodes were expected."),
    ("scale --sizes ,", "--sizes ',' was given; comma-separated numbers were expected."),
    ("kill nothing", "There is no kind 'nothing'."),
    ("fuzz nothing", "There is no kind 'nothing'."),
]
USAGE = [
    ("enginse", "enginse"),
    ("engines kdv --seeds 0", "--seeds"),
    ("scale --repeats 0", "--repeats"),
    ("kill --runs 0", "--runs"),
    ("fuzz --count 0", "--count"),
]
# fmt: on


@pytest.mark.parametrize(("words", "message"), [*REFUSED, *USAGE], ids=lambda v: re.sub(r"\W+", "-", v)[:40])
def test_bad_input_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, message: str):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    Path("p.yaml").write_text("in the way")
    result = call("bench", *words.split())
    assert result.exit_code == 2, result.output
    assert message in re.sub(r"\x1b\[[0-9;]*m", "", result.stderr)
    assert "Traceback" not in result.stderr
