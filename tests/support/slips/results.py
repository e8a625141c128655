"""Slips in saved answers: damage, other folders, other problems, and a part of what is said of each."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import xarray as xr

from engine_problems import heat
from mollifier.engines.solve import solve

PROBLEM = "equation: {}\ndata: {{file: u.csv}}\nunknowns: {{{}: scalar}}\n"


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 255
    file.write_bytes(bytes(content))


def foreign(file: Path) -> None:
    file.unlink()
    xr.Dataset({"u": ("x", [1.0, 2.0])}).to_netcdf(file, engine="h5netcdf")


def unchecked(change: Callable[[Path], object]) -> Callable[[Path], object]:
    """A change after which no checksum says that there was one."""

    def changed(file: Path) -> None:
        file.with_suffix(".sha256").unlink()
        change(file)

    return changed


def inside(change: Callable[[Any], object]) -> Callable[[Path], object]:
    """A change within the file, which HDF5 has no complaint about."""

    def changed(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            change(file)

    return unchecked(changed)


def estimate(**entries: object) -> Callable[[Path], object]:
    def change(file: Any) -> None:
        kept = json.loads(file.attrs["estimates"])
        file.attrs["estimates"] = json.dumps([kept[0] | entries])

    return inside(change)


def replaced(file: Any, **options: Any) -> None:
    """The field in place of which there is an array of other storage."""
    del file["fields"]["u"]
    file["fields"].create_dataset("u", **options)


def linked(file: Any) -> None:
    del file["fields"]["u"]
    file["fields"]["u"] = h5py.ExternalLink("x.h5", "/u")


# What becomes of solution.nc, and what both commands say of it.
DAMAGE = {
    "cut": (cut, "solution.nc' cannot be read: its content differs from the checksum in 'solution.sha256'"),
    "a bit flipped": (flip, "its content differs from the checksum"),
    "a wrong checksum": (lambda f: f.with_suffix(".sha256").write_text("none"), "you may delete"),
    "cut, no checksum": (unchecked(cut), "cannot be read as HDF5 (Unable to"),
    "empty": (unchecked(lambda f: f.write_bytes(b"")), "restore it from a copy or run it again"),
    "text": (unchecked(lambda f: f.write_text("u")), "cannot be read as HDF5 (Unable to"),
    "of another program": (unchecked(foreign), "is no solution this version reads: its format is None"),
    "estimate as text": (estimate(value="high"), "Input should be a valid number"),
    "standard error as text": (estimate(sd="0.1"), "Input should be a valid number"),
    "provenance a list": (inside(lambda f: f.attrs.update(provenance="[1]")), "Input should be an object"),
    "field missing": (inside(lambda f: f["fields"].pop("u")), "it has lost ['u'] of its fields"),
    "fit in part": (inside(lambda f: f["fit"].pop("u_fitted")), "it has lost ['u_fitted'] of its fit"),
    "field stored elsewhere": (
        inside(lambda f: replaced(f, shape=(4,), dtype="u1", external=[("/etc/passwd", 0, 4)])),
        "'fields/u' is stored in another file, and nothing outside the file is opened",
    ),
    "field linked": (
        inside(linked),
        "'fields/u' is a link to 'x.h5', and nothing outside the file is opened",
    ),
    "gigantic field": (
        inside(lambda f: replaced(f, shape=(10**6, 10**6), dtype="f8", chunks=(100, 100))),
        "more than half of this machine's memory",
    ),
    "gone": (lambda f: f.unlink(), "There is no saved solution at"),
}
# Words after the command, and what both say.
FOLDERS = [
    ("nowhere", "There is no saved solution at 'nowhere/solution.nc'. Give the folder that"),
    ("blank", "There is no saved solution at 'blank/solution.nc'."),
    ("u.csv", "'u.csv' is a file, no solution. Give the folder that solution.save(folder) wrote"),
    ("picture.png", "'picture.png' is a file, no solution."),
    ("run --problem no.yaml", "no.yaml: the problem file is missing."),
    ("run --problem u.csv", "u.csv: a mapping with equation, data and unknowns was expected"),
    ("run --problem picture.png", "picture.png: the problem file is not UTF-8 text. Is it data?"),
    ("run --problem blank", "blank: the problem file is a folder."),
    ("run --problem broken.yaml", "broken.yaml: line 1, column 12: expected the node content"),
    ("run --problem key.yaml", "key.yaml: Unknown key 'unknown'. Did you mean 'unknowns'?"),
    ("run --problem other.yaml", "other.yaml asks for k, and the run found D: it is another problem."),
    ("spoilt", "spoilt/problem.yaml: line 1, column 12: expected the node content"),
    ("", "Missing argument"),
    ("run run", "unexpected extra argument"),
    ("run --nonsense", "--nonsense"),
]
OWN = [
    ("validate run --radii", "validate needs the problem: give --problem PROBLEM.yaml"),
    ("validate run --engines weak", "validate needs the problem: give --problem PROBLEM.yaml"),
    ("validate run --engines ,", "--engines , was given; comma-separated names were expected."),
    ("validate run --problem same.yaml --engines weka", "There is no engine 'weka' to compare. Did you mean"),
    ("validate run --problem wave.yaml", "The problem has the equation"),
    ("validate run --problem lost.yaml --radii", "There is no file 'w.csv'."),
    ("report run --out blank", "Cannot write 'blank': Is a directory."),
    ("report run --out u.csv/page.html", "Cannot write 'u.csv': "),
    ("export run", "Missing option '--to'."),
    ("export run --to a.xyz", "'a.xyz' has the suffix '.xyz'; .nc or .pvd was expected."),
    ("export run --to u.csv/a.nc", "Cannot write 'u.csv/a.nc': "),
    ("export u.csv --to a.nc", "'u.csv' is a file, no solution."),
    ("report kept", "kept/problem.json: what the run kept of its problem is no JSON"),
]


def results(folder: Path) -> None:
    """A solved problem, and what may be mistaken for one."""
    problem = heat(60)
    solve(problem, "joint").save(folder / "run")
    problem.data.dataset[["u"]].to_dataframe()[["x", "t", "u"]].to_csv(folder / "u.csv", index=False)
    (folder / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (folder / "blank").mkdir()
    for name, text in {
        "broken": "equation: [",
        "key": "unknown: 3\n" + PROBLEM.format("u_t = D*u_xx", "D"),
        "same": PROBLEM.format("u_t = D*u_xx", "D"),
        "wave": PROBLEM.format("u_tt = D*u_xx", "D"),
        "other": PROBLEM.format("u_t = k*u_xx", "k"),
        "lost": PROBLEM.format("u_t = D*u_xx", "D").replace("u.csv", "w.csv"),
    }.items():
        (folder / f"{name}.yaml").write_text(text)
    for name, file, text in (("spoilt", "problem.yaml", "equation: ["), ("kept", "problem.json", "{")):
        shutil.copytree(folder / "run", folder / name)
        (folder / name / file).write_text(text)
