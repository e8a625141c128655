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
    "footer after NUL": "t,u\n# " + 600 * "-" + "\n" + rows() + "\0\nSizeX : 256\n",
    "text above": "Reader 7, by A\nDate:,31.05.2026\nGain,100\n\nt,u\n"
    + rows()
    + "\nEnd:,31.05.2026 18:00\n",
    "text above, padded": "Reader 7,\nGain,100\nt,u\n" + rows(),
    "text above, tabs": "HOBO logger\nPlot Title: site 3\nt\tu\n" + rows("\t"),
    "text above and units": "Reader 7\nDate:,31.05.2026\n\nt,u\ns,K\n" + rows(),
    "long text above": "".join(f"Line {i}: a, b, c\n" for i in range(60)) + "t,u\n" + rows(),
    "separator stated": "sep=;\nt;u\n" + rows(";"),
    "tab stated": "sep=\t\nt\tu\n" + rows("\t"),
    "separator stated, quoted": '"sep=|"\nt|u\n' + rows("|"),
    "vertical bars": "t|u\n" + rows("|"),
    "old line ends": ("t,u\n" + rows()).replace("\n", "\r"),
    "blank rows of commas": "t,u\n" + rows() + ",\n,\n",
    "numbered rows": ",t,u\n" + "\n".join(f"{k},{r}" for k, r in enumerate(rows().split())),
    "separator in a quoted cell": 't,u,note\n0,1,"a, b"\n' + "\n".join(f"{k},2,c" for k in range(1, 10)),
}


@pytest.mark.filterwarnings("ignore:.*text above the header")
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


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "latin-1", "cp1252"])
def test_text_table_encoding(tmp_path: Path, encoding: str):
    path = tmp_path / "a.txt"
    unit = "€" if encoding == "cp1252" else "µs"
    path.write_bytes((f"t [{unit}]\tu\n" + rows("\t")).encode(encoding))
    assert read(path).units == {"t": unit}


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
def test_text_table_gzipped(tmp_path: Path, name: str):
    path = tmp_path / name
    path.write_bytes(gzip.compress(("t,u\n" + rows()).encode()))
    np.testing.assert_array_equal(read(path).dataset["u"].values, U)


# Writing of the numbers 0.5 to 12000.5, with what is between cells.
NOTATIONS = {
    "commas, quoted": (lambda a: f'"{a:,.1f}"', ","),
    "commas": (lambda a: f"{a:,.1f}", ";"),
    "dots and decimal commas": (lambda a: f"{a:,.1f}".translate({44: ".", 46: ","}), ";"),
    "spaces": (lambda a: f"{a:,.1f}".replace(",", "\u202f"), "\t"),
    "apostrophes": (lambda a: f"{a:,.1f}".replace(",", "'"), ","),
    "decimal commas, three of them": (lambda a: f"{a:.3f}".replace(".", ","), ";"),
    "commas in the last row alone": (lambda a: f"{a:,.1f}" if a > 12000 else f"{a:.1f}", ";"),
    "decimal commas in the last row alone": (
        lambda a: str(a).replace(".", ",") if a > 12000 else f"{a:g}",
        ";",
    ),
}


@pytest.mark.parametrize("name", NOTATIONS)
def test_text_table_notation_of_numbers(tmp_path: Path, name: str):
    """Every cell decides, not the first rows alone."""
    write, separator = NOTATIONS[name]
    values = np.arange(25) * 500 + 0.5
    if "last row" in name and "decimal" in name:
        values[:-1] -= 0.5
    path = tmp_path / "a.csv"
    path.write_text(f"t{separator}u\n" + "\n".join(f"{k}{separator}{write(a)}" for k, a in enumerate(values)))
    np.testing.assert_array_equal(read(path).dataset["u"].values, values)


def test_text_table_notation_that_may_be_either_is_refused(tmp_path: Path):
    path = tmp_path / "a.csv"
    path.write_text("t;u\n" + "\n".join(f"{k};{k + 1},234" for k in range(9)))
    with pytest.raises(DataError, match=r"holds '1,234', which may be 1\.234 or 1234"):
        read(path)


def test_text_table_dates_beside_decimal_commas(tmp_path: Path):
    path = tmp_path / "a.csv"
    path.write_text("t;u;day\n" + "\n".join(f"{k};{k},5;12.05.2020" for k in range(9)))
    np.testing.assert_array_equal(read(path).dataset["u"].values, np.arange(9) + 0.5)


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
        ("t,u,w\n" + "".join(f"{k},{'<0.1' if k % 2 else k},{k}\n" for k in range(20)), "line 3: '<0.1'"),
        ("t,u,w\n" + "".join(f"{k},{'ND' if k % 5 < 2 else k},{k}\n" for k in range(50)), "line 2: 'ND'"),
        ("well,u\nA1,<0.1\nA2,0.5\nA3,0.6\n", "line 2: '<0.1'"),
        ("t,u\n" + "1,2\n" * 3 + "t,u,w\n" + "1,2,3\n" * 9, "has 3 cells in line 5 and 2 columns"),
        ("who,u\n" + "A1,2\n" * 3 + "t,u,w\n" + "1,2,3\n" * 9, "has 3 cells in line 5 and 2 columns"),
        (
            "time,u\n" + "".join(f"2026-05-31 1{k}:00 CEST,{k}\n" for k in range(9)),
            "line 2: '2026-05-31 10:00 CEST'",
        ),
        (
            "well,u\n" + "".join(f"{k}h 0min,{k}\n" for k in range(9)),
            "names of experiments have several rows",
        ),
        ("t,,u\n0,3,1\n1,5,2\n", "no name for column 2"),
        ("t,u\n# " + 600 * "-" + "\n0,1\n\0\0\n2,3\n", "in line 4"),
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
        read(path, values="w" if "'w'" in message else None, coordinates="well" if "well" in text else None)


def test_text_table_labels_stay_text(tmp_path: Path):
    """A column that is numbers but for a few cells is damaged; one of names is a label."""
    path = tmp_path / "a.csv"
    path.write_text("t,u,well\n" + "\n".join(f"{k},{k},{'A7B'[k % 3]}" for k in range(9)))
    obs = read(path)
    assert obs.variables == ("u",)
    assert read_layout(path).frame([2], str)[2].unique().tolist() == ["A", "7", "B"]


def test_text_table_repeated_names_are_refused(tmp_path: Path):
    path = tmp_path / "a.csv"
    path.write_text("t,u,u\n" + "\n".join(f"{k},{k},{2 * k}" for k in range(9)))
    with pytest.raises(DataError, match="names the column 'u' twice"):
        read(path)
    path.write_text("t,u [K],u [C]\n" + "\n".join(f"{k},{k},{2 * k}" for k in range(9)))
    assert read(path).units == {"u [K]": "K", "u [C]": "C"}


@pytest.mark.parametrize("word", ["-", "---", "#DIV/0!", "NA", "missing", "."])
def test_text_table_words_for_a_missing_value(tmp_path: Path, word: str):
    path = tmp_path / "a.csv"
    path.write_text("t,u\n" + "\n".join(f"{k},{word if k == 4 else k}" for k in range(9)))
    assert np.flatnonzero(np.isnan(read(path).dataset["u"].values)).tolist() == [4]


def test_text_table_says_which_lines_are_above(tmp_path: Path):
    path = tmp_path / "a.csv"
    path.write_text("Reader 7\n\nGain,100\nt,u\n" + rows())
    with pytest.warns(UserWarning, match="2 lines of text above the header, line 4, are left out"):
        read(path)


def test_text_table_exponents_of_fortran(tmp_path: Path):
    path = tmp_path / "a.txt"
    path.write_text("t u\n" + "\n".join(f"{k} {k}.5D+0{k % 3}" for k in range(9)))
    expected = [(k + 0.5) * 10.0 ** (k % 3) for k in range(9)]
    np.testing.assert_allclose(read(path).dataset["u"].values, expected)


def test_wide_table_of_wells_and_of_positions(tmp_path: Path):
    """Columns become one variable along a coordinate of their headers, with the unit that they share."""
    path = tmp_path / "a.csv"
    path.write_text("time [h],A1 [V],A2 [V],note\n" + "\n".join(f"{k},{k},{2 * k},x" for k in range(9)))
    obs = read(path, wide={"u": "well"}, noise="2 %")
    assert obs.coordinates == ("well", "time")
    assert obs.units == {"time": "h", "u": "V"}
    assert obs.dataset["well"].attrs["experiments"] == "A1, A2"
    np.testing.assert_array_equal(obs.dataset["u"].values, [np.arange(9), 2 * np.arange(9)])
    assert obs.noise_source("u") == "given"
    one = read(path, wide={"u": "well"}, select={"well": "A2"})
    np.testing.assert_array_equal(one.dataset["u"].values, 2 * np.arange(9))
    path.write_text("t,0.5 [m],2 [m]\n" + "\n".join(f"{k},{k},{2 * k}" for k in range(9)))
    obs = read(path, wide={"u": "x"})
    assert obs.coordinates == ("x", "t")
    assert obs.dataset["x"].values.tolist() == [0.5, 2.0]
    assert obs.units == {"x": "m"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"wide": {"A1": "well"}}, "needs new names; the table has a column 'A1'"),
        ({"wide": {"u": "well", "v": "well"}}, "one name was expected"),
        ({"wide": {"u": "well"}, "coordinates": ["well", "t", "A1"]}, "needs two columns of numbers"),
        ({"coordinates": ["well", "t"]}, r"If each column is of one well, say wide=\{'u': 'well'\}"),
    ],
)
def test_wide_table_refused(tmp_path: Path, options: dict, message: str):
    path = tmp_path / "a.csv"
    path.write_text("t,A1,A2\n" + "\n".join(f"{k},{k},{2 * k}" for k in range(9)))
    with pytest.raises(DataError, match=message):
        read(path, **options)
