"""The registry of slips and attacks: each is refused with its words, none ends in a traceback.

A slip is a line of ``tests/support/slips``: Python calls, problem files, tables, words of the command line,
saved answers, microscope files. `test_slips_are_many` counts them.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from command_line import call
from mollifier.errors import MollifierError
from slips.calls import CALLS
from slips.commands import TABLE, TABLES, WORDS
from slips.place import files, names
from slips.problem_files import ENTRIES, EQUATIONS, FILES, HEAD

microscopy = pytest.importorskip("slips.microscopy", reason="images need tifffile")
results = pytest.importorskip("slips.results")

COMMANDS = (
    ["check", "p.yaml"],
    ["solve", "p.yaml", "--no-figures", "--out", "o"],
    ["compare", "p.yaml", "--engines", "joint", "--out", "o"],
)


def of_commands() -> list[Any]:
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


OF_RESULTS = [*((f"{c} {w}", s) for w, s in results.FOLDERS for c in ("validate", "report")), *results.OWN]
OF_DAMAGE = [(c, name) for c in ("validate", "report") for name in results.DAMAGE]


def test_slips_are_many() -> None:
    """Over everything that a user gives."""
    counts = {
        "Python": len(CALLS),
        "command line": len(of_commands()),
        "saved answers": len(OF_RESULTS) + len(OF_DAMAGE),
        "microscopy": len(microscopy.BAD),
    }
    assert sum(counts.values()) > 950, counts
    assert len({*CALLS}) == len(CALLS)


def of_unix() -> None:
    """Skip where there are no device files."""
    if not Path("/dev/zero").exists():
        pytest.skip("device files are of Unix")


def refused(words: list[str], code: int = 2) -> str:
    """What a command says of bad input, in one line without colours."""
    result = call(*words)
    assert result.exit_code == code, result.output
    said = re.sub(r"\x1b\[[0-9;]*m", "", result.stderr)
    assert "Traceback" not in said
    return " ".join(re.sub("[│\n]", " ", said).split())


@pytest.fixture
def terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, and a wide terminal."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setenv("MOLLIFIER_PLUGINS", "")
    return tmp_path


@pytest.mark.parametrize(("problem", "table", "words", "said"), of_commands())
def test_slip_of_a_command_is_named(
    terminal: Path, problem: bytes, table: bytes, words: list[str], said: str
):
    """Exit code 2, what was wrong, and no answer."""
    if b"/dev/" in problem or "/dev/" in " ".join(words):
        of_unix()
    files(terminal)
    Path("blank").mkdir()
    for name, content in {"p.yaml": problem, "u.csv": table, "u.pkl": b"", "u.xyz": b""}.items():
        Path(name).write_bytes(content)
    assert " ".join(said.split()) in refused(words)
    assert not list(terminal.rglob("solution.nc"))


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A folder with the files that calls name, and their other names."""
    folder = tmp_path_factory.mktemp("calls")
    files(folder)
    return folder, names()


@pytest.mark.parametrize(("source", "said"), CALLS, ids=[c[:50] for c, _ in CALLS])
def test_slip_of_a_call_is_named(
    python: tuple[Path, dict[str, Any]], monkeypatch: Any, source: str, said: str
):
    """An error of this package, with what was given."""
    monkeypatch.chdir(python[0])
    if "/dev/" in source:
        of_unix()
    with pytest.raises(MollifierError) as error:
        eval(source, dict(python[1]))
    assert said in " ".join(str(error.value).split())


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A solved problem, and what may be mistaken for one."""
    folder = tmp_path_factory.mktemp("results")
    results.results(folder)
    return folder


@pytest.mark.parametrize(("command", "name"), OF_DAMAGE)
def test_damaged_answer_is_refused(place: Path, terminal: Path, command: str, name: str):
    """Nothing is written, and nothing outside of the file is read."""
    change, said = results.DAMAGE[name]
    shutil.copytree(place / "run", terminal / "run")
    change(terminal / "run" / "solution.nc")
    assert said in refused([command, str(terminal / "run")])
    assert not [p for p in terminal.rglob("*") if p.suffix == ".html" or p.name == "validation.json"]


@pytest.mark.parametrize(("words", "said"), OF_RESULTS)
def test_slip_beside_an_answer_is_named(place: Path, terminal: Path, monkeypatch: Any, words: str, said: str):
    """Folders, files and words that are not those of an answer."""
    monkeypatch.chdir(place)
    assert said in refused(words.split())


@pytest.fixture(scope="module")
def microscope(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tables, images, masks and groups, most of them spoilt."""
    folder = tmp_path_factory.mktemp("microscopy")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for make in (microscopy.tables, microscopy.images, microscopy.masks_and_groups):
            make()
    return folder


def study(words: str, out: Path) -> list[str]:
    return ["chromatin", *words.split(), *f"{microscopy.SMALL} --quick --workers 1 --out {out}".split()]


@pytest.mark.parametrize(("words", "said"), microscopy.BAD, ids=[w for w, _ in microscopy.BAD])
def test_slip_of_microscopy_is_named(
    microscope: Path, terminal: Path, monkeypatch: Any, words: str, said: str
):
    """What is bad is refused with its place."""
    monkeypatch.chdir(microscope)
    assert said in refused(study(words, terminal / "out"))
    assert not list(terminal.rglob("*.nc"))


def test_names_of_a_home_folder_are_not_listed(terminal: Path) -> None:
    """A missing file lists its neighbours only where they are few."""
    for i in range(20):
        Path(f"private{i}").touch()
    assert "private" not in refused(["init", "zzz.csv"])
    assert os.listdir(terminal)
