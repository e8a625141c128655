"""Shared by the tests of the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from command_line import HEAD, write_table


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a table and a problem file, and no settings of the terminal."""
    monkeypatch.chdir(tmp_path)
    for name in ("MOLLIFIER_DEBUG", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    write_table()
    Path("p.yaml").write_text(HEAD)
    return tmp_path
