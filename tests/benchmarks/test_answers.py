"""Saved answers of the cases, and what is said where a new answer differs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import answers
from command_line import call
from mollifier.errors import ConfigurationError


def test_answers_agree_with_themselves_and_differences_are_named(tmp_path: Path):
    words = ["bench", "answers", "reaction_rate", "--arms", "joint", "--out", str(tmp_path)]
    assert call(*words).exit_code == 0
    saved = tmp_path / "answers.json"
    again = call(*words, "--against", str(saved))
    assert again.exit_code == 0, again.output
    assert "1 of 1 answers agree" in again.output
    content = json.loads(saved.read_text())
    content["rows"][0]["numbers"]["k_mean"] *= 1 + 1e-7
    content["rows"][0]["status"] = "misfit"
    changed = tmp_path / "changed.json"
    changed.write_text(json.dumps(content))
    found = call(*words, "--against", str(changed), "--json")
    assert found.exit_code == 1
    said = json.loads(found.stdout)["rows"][0]["changed"]
    assert said[0] == "reaction_rate, joint: status misfit -> converged"
    assert said[1].startswith("reaction_rate, joint: k_mean ")
    assert len(said) == 2


def test_answers_bad_input(tmp_path: Path):
    with pytest.raises(ConfigurationError, match=r"There is no arm 'weka'. Did you mean 'weak'"):
        answers.run(["kdv"], ["weka"])
    wrong = tmp_path / "wrong.json"
    wrong.write_text("[]")
    with pytest.raises(ConfigurationError, match=r"saved answers '.*wrong.json' cannot be read"):
        answers.run(["kdv"], ["weak"], wrong)
