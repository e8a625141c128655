"""Text tables: dialects that are read, and rows and files that are refused with their line."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from mollifier.data.read import read
from mollifier.data.text_tables import read_layout
from mollifier.errors import DataError

T = np.arange(10.0)
U = np.round(np.exp(-T / 5), 4)


def rows(separator: str = ",", decimal: str = ".", end: str = "") -> str:
    lines = (f"{a}{separator}{b:.4f}".replace(".", decimal) + end for a, b in zip(T, U, strict=True))
    return "\n".join(lines) + "\n"


DIALECTS = {
    "commas": "t,u\n" + rows(),
    "semicolons": "t;u\n" + rows(";"),
    "semicolons, decimal commas": "t;u\n" + rows(";", ","),
    "tabs, decimal commas": "t\tu\n" + rows("\t", ","),
    "spaces": "t  u\n" + rows("   "),
    "spaces, decimal commas": "t u\n" + rows(" ", ","),
    "byte order mark": "\ufefft,u\n" + rows(),
    "Windows line ends": ("t,u\n" + rows()).replace("\n", "\r\n"),
    "comments and blank lines": "# instrument 7\n% run 3\n\nt,u\n" + rows() + "\n# end\n",
    "header in the last comment": "# run 3\n# t,u\n" + rows(),
    "empty last column": "t,u,\n" + rows(end=","),
    "empty last cells": "t,u\n" + rows(end=","),
    "row of units": "t,u\ns,K\n" + rows(),
    "units in the header": "t [s],u (K)\n" + rows(),
    "quoted header": '"t","u"\n' + rows(),
    "footer": "t,u\n" + rows() + "\n\nSizeX : 256\nOperator : A, B, C\n",
    "separator in a quoted cell": 't,u,note\n0,1,"a, b"\n' + "\n".join(f"{k},2,c" for k in range(1, 10)),
}


@pytest.mark.parametrize("name", DIALECTS)
def test_text_table_dialect(tmp_path: Path, name: str):
    path = tmp_path / "a.csv"
    path.write_text(DIALECTS[name], encoding="utf-8", newline="")
    obs = read(path)
    assert obs.coordinates == ("t",)
    np.testing.assert_array_equal(obs.grid()["t"].points, T)
    if "quoted cell" not in name:
        np.testing.assert_array_equal(obs.dataset["u"].values, U)
    if "units" in name:
        assert obs.units == {"t": "s", "u": "K"}


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_text_table_encoding(tmp_path: Path, encoding: str):
    path = tmp_path / "a.txt"
    path.write_bytes(("t [µs]\tu\n" + rows("\t")).encode(encoding))
    assert read(path).units == {"t": "µs"}


def test_text_table_gzipped(tmp_path: Path):
    path = tmp_path / "a.csv"
    path.write_bytes(gzip.compress(("t,u\n" + rows()).encode()))
    np.testing.assert_array_equal(read(path).dataset["u"].values, U)


@pytest.mark.parametrize("changed", ["0.0,5.0,5.0,9", "0.0,5.0"])
@pytest.mark.parametrize("line", [2, 4])
def test_text_table_uneven_row_is_refused_with_its_line(tmp_path: Path, changed: str, line: int):
    """A row with one cell too many would move every name one column on."""
    lines = ["x,t,u", *(f"{a},{b},{10 * a + b}" for a in (0.0, 1.0) for b in (5.0, 6.0))]
    lines[line - 1] = changed
    path = tmp_path / "a.csv"
    path.write_text("\n".join(lines))
    with pytest.raises(DataError, match=f"has {changed.count(',') + 1} cells in line {line} and 3 columns"):
        read(path)


def test_text_table_all_rows_longer_than_the_header(tmp_path: Path):
    path = tmp_path / "a.csv"
    path.write_text("x,t,u\n" + "\n".join(f"{a},{b},{a * b},9" for a in range(3) for b in range(3)))
    with pytest.raises(DataError, match="has 4 cells in line 2 and 3 columns"):
        read(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("t,u\n" + rows() + "11,<0.1\n", r"Column 'u' holds text, first in line 12: '<0\.1'; numbers"),
        ("# by A\nt,u\n\n0,1\n1,1.234,5\n", "has 3 cells in line 5 and 2 columns"),
        ("t,u\n" + rows(), "no column 'w'"),
        ("t,u\n", "no rows"),
        ("# only\n", "no rows"),
        ("t,u\n0,1\n\nend\n1,2\n", "has 1 cells in line 4"),
        ("t,u\n0,1\n1,\0\n", "is no text"),
        ("[" + "1, " * 400_000, "line of 1,000,000 characters"),
        (",".join(f"c{k}" for k in range(20_000)) + "\n" + "1," * 19_999 + "1\n", "20,000 columns; at most"),
    ],
)
def test_text_table_refused(tmp_path: Path, text: str, message: str):
    path = tmp_path / "a.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        read(path, values="w" if "'w'" in message else None)


def test_text_table_labels_stay_text(tmp_path: Path):
    """A column that is numbers but for a few cells is damaged; one of names is a label."""
    path = tmp_path / "a.csv"
    path.write_text("t,u,well\n" + "\n".join(f"{k},{k},{'A7B'[k % 3]}" for k in range(9)))
    obs = read(path)
    assert obs.variables == ("u",)
    assert read_layout(path).frame([2], str)[2].unique().tolist() == ["A", "7", "B"]


def test_text_table_repeated_names_are_numbered(tmp_path: Path):
    path = tmp_path / "a.csv"
    path.write_text("t,u,u\n" + "\n".join(f"{k},{k},{2 * k}" for k in range(9)))
    assert read(path).variables == ("u", "u.1")
