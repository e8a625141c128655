"""Slips in microscope files, masks, groups and options, and a part of what is said of each."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tifffile

SMALL = (
    "--set nucleus.pixel=50 --set nucleus.smoothing=50 --set nucleus.closing=100 --set nucleus.min_area=1e5"
)
SIZE = {"resolution": (5e4, 5e4), "resolutionunit": "CENTIMETER", "photometric": "minisblack"}  # 200 nm


def tables() -> None:
    rng = np.random.default_rng(0)
    angle, r = 2 * np.pi * rng.random(5000), 900 * np.sqrt(rng.random(5000))
    table = pd.DataFrame({"x [nm]": r * np.cos(angle), "y [nm]": r * np.sin(angle)})
    x, y = table.columns

    def write(name: str, changed: pd.DataFrame, **options: Any) -> None:
        changed.to_csv(name, index=False, **options)

    def spoilt(value: Any) -> pd.DataFrame:
        changed = table.astype(object)
        changed.loc[7, x] = value
        return changed

    write("cell.csv", table)
    write("other.csv", table)
    for name, value in {"nan": np.nan, "inf": np.inf, "text": "noon"}.items():
        write(f"{name}.csv", spoilt(value))
    write("names.csv", table.set_axis(["a", "b"], axis=1))
    write("units.csv", table.set_axis(["x [nm]", "y [um]"], axis=1))
    write("um.csv", table / 1e3)
    write("blurred.csv", table.assign(**{"uncertainty [nm]": 5000.0}))
    write("frames.csv", table.assign(frame=np.arange(len(table)) % 50))
    write("before.csv", table.assign(frame=-1))
    write("line.csv", table.assign(**{y: 0.5}))
    write("bare.csv", table.assign(more=1.0), header=False)
    write("one.csv", table[[x]])
    write("few.csv", table.iloc[:3])
    Path("head.csv").write_text("x [nm],y [nm]\n")
    Path("empty.csv").write_bytes(b"")
    Path("noise.csv").write_bytes(bytes(range(256)))
    Path("cut.csv.gz").write_bytes(gzip.compress(Path("cell.csv").read_bytes())[:2000])
    Path("cut.hdf5").write_bytes(b"\x89HDF\r\n\x1a\n" + 50 * b"\0")
    Path("folder").mkdir()


def images() -> None:
    rng = np.random.default_rng(0)
    counts = rng.poisson(200, (64, 64)).astype(np.uint16)

    def write(name: str, array: np.ndarray, **options: Any) -> None:
        tifffile.imwrite(name, array, **{**SIZE, **options})

    write("cell.tif", counts)
    Path("cut.tif").write_bytes(Path("cell.tif").read_bytes()[:3000])
    Path("text.tif").write_text("no picture")
    Path("empty.tif").write_bytes(b"")
    write("colour.tif", np.stack([counts.astype(np.uint8)] * 3, -1), photometric="rgb")
    write("gaps.tif", np.where(counts > 230, np.nan, counts).astype(np.float32))
    write("flat.tif", np.full_like(counts, 7))
    write("complex.tif", counts.astype(np.complex64))
    write("stack.tif", np.stack([[counts] * 4] * 3))
    write("channels.tif", np.stack([counts] * 3), metadata={"axes": "CYX"})
    write("halves.tif", (counts / 7).astype(np.float32))
    write("small.tif", np.ones((9, 9), np.uint8))
    write("below.tif", -np.ones((64, 64), np.int16))
    write("whole.tif", np.ones((64, 64), np.uint8))


def masks_and_groups() -> None:
    for name, text in {
        "broken.json": "{",
        "list.json": "[1, 2]",
        "point.geojson": '{"type": "Point", "coordinates": [0, 0]}',
        "two.csv": "x [nm],y [nm]\n0,0\n1,1\n",
        "g_empty.csv": "",
        "g_columns.csv": "name,kind\ncell.csv,a\n",
        "g_hole.csv": "file,group\ncell.csv,\n",
        "g_twice.csv": "file,group\ncell.csv,a\ncell.csv,b\n",
        "g_other.csv": "file,group\nother.csv,a\n",
        "g_right.csv": "file,group\ncell.csv,a\n",
    }.items():
        Path(name).write_text(text)
    Path("g_bytes.csv").write_bytes(b"\xff\xfe\x00\x81")


BAD = [
    ("empty.csv", "'empty.csv' is empty; a header and one row a sample were expected."),
    ("head.csv", "has a header but no rows; one row a sample was expected."),
    ("names.csv", "has no column for x among ['a', 'b']; name it, as --columns x=NAME"),
    ("one.csv", "has no column for y among"),
    ("text.csv", "holds text in column 1 (x), first in line 9: 'noon'; numbers were expected."),
    ("nan.csv", "In 1 of 5,000 rows x is no finite number, first in row 8; drop those rows."),
    ("inf.csv", "In 1 of 5,000 rows x is no finite number, first in row 8; drop those rows."),
    ("units.csv", "has x in nm and y in um; one unit was expected."),
    ("um.csv", "a field of 1 to 1000 um was expected. Give the unit (--unit nm, um or px"),
    ("cell.csv --unit um", "says nm in its header and --unit um was given"),
    ("blurred.csv", "The median precision is 5,000 nm, more than diffraction blurs"),
    ("before.csv", "the frame is no whole number from 0 on, first in row 1; columns may be swapped"),
    ("line.csv", "one of the columns is no position. Name the columns"),
    ("bare.csv", "has 3 columns without names, and x,y was given for them; give the role of each"),
    ("bare.csv --columns x=a,y=b", "has no header in which to look up a, b; list the roles"),
    ("cell.csv --columns w=a", "'w' is no role of a column."),
    ("few.csv", "No nucleus is whole in this field (0 whole nuclei; left out: 1 is small"),
    ("noise.csv", "is no text; a CSV or another text table was expected."),
    ("cut.csv.gz", "cannot be unpacked"),
    ("cut.hdf5", "cannot be read as HDF5"),
    ("folder", "'folder' is a folder; a file was expected. Name its files"),
    ("cell.csv --pixel nan", "pixel=nan was given; a number above 0 was expected."),
    ("cell.csv --width -5", "width=-5.0 was given; a number above 0 was expected."),
    ("cell.csv --psf-sd -3", "psf_sd=-3.0 was given; a number of 0 or more was expected."),
    ("cell.csv --domains maps", "--domains maps was given. Did you mean 'map'?"),
    ("cell.csv --set model=3", "--set model=3 was given; there is no 'model'."),
    ("cell.csv --set domain.least=0", "domain.least=0 was given; a number of 1 or more was expected."),
    ("cell.csv --set levels.floor=-1", "levels.floor=-1.0 was given; a number from 0 to 1 was expected."),
    ("cell.csv --seed -1", "--seed"),
    ("", "Missing argument"),
    ("text.tif", "'text.tif' is no TIFF, or damaged"),
    ("empty.tif", "'empty.tif' is no TIFF, or damaged"),
    ("cut.tif", "is no TIFF, or damaged or cut short"),
    ("colour.tif", "is a colour picture (shape (64, 64, 3)); counts of one channel were expected."),
    ("gaps.tif", "pixels of 'gaps.tif' are no finite numbers; fill or crop them."),
    ("flat.tif", "All pixels of 'flat.tif' hold 7: the image is empty."),
    ("complex.tif", "pixels of complex64; real numbers were expected."),
    ("stack.tif", "does not name its dimensions; name them in order, as --axes zyx"),
    ("channels.tif", "has 3 channels; say which, from 0, as --channel 0."),
    ("channels.tif --channel 9", "--channel 9 was given; 'channels.tif' has 3, counted from 0."),
    ("cell.tif --axes zyx", "2 different letters of t, z, c, y and x, with y and x among them"),
    ("cell.tif --pixel-size 0", "pixel_size=0.0 was given; a number above 0 was expected."),
    ("cell.tif --frame-interval -5", "frame_interval=-5.0 was given; a number above 0 was expected."),
    ("cell.tif --z-step 0", "z_step=0.0 was given; a number above 0 was expected."),
    ("cell.tif --saturated 7", "saturated=7.0 was given; a number above 0, up to 1, was expected."),
    ("cell.tif --labels halves.tif", "labels are whole numbers from 0 on. Is it the image instead?"),
    ("cell.tif --labels below.tif", "labels are whole numbers from 0 on."),
    ("cell.tif --labels small.tif", "Labels of shape (9, 9) were given for an image of shape (64, 64)."),
    ("cell.tif --labels whole.tif", "No nucleus is whole in this field"),
    ("cell.tif --labels cell.csv", "'cell.csv' is no image"),
    ("cell.tif --labels folder", "'folder' is a folder; a file was expected."),
    ("cell.tif --labels gone.tif", "There is no file 'gone.tif'."),
    ("cell.tif --labels whole.tif --mask two.csv", "one of --labels and --mask was expected."),
    ("cell.csv --mask broken.json", "'broken.json' is no GeoJSON"),
    ("cell.csv --mask list.json", "a Polygon, a Feature or a FeatureCollection was expected."),
    ("cell.csv --mask point.geojson", "holds 0 rings of a polygon"),
    ("cell.csv --mask two.csv", "1 of them with fewer than three finite vertices; a closed outline"),
    ("cell.csv --mask gone.csv", "There is no file 'gone.csv'."),
    ("cell.csv --groups g_empty.csv", "'g_empty.csv' is empty"),
    ("cell.csv --groups g_bytes.csv", "'g_bytes.csv' has a header but no rows"),
    ("cell.csv --groups g_columns.csv", "has the columns ['name', 'kind']; 'file' and 'group' were expected"),
    ("cell.csv --groups g_hole.csv", "has rows without a group; one was expected in every row."),
    ("cell.csv --groups g_twice.csv", "names 'cell.csv' twice; one row a file was expected."),
    ("cell.csv --groups g_other.csv", "None of the files is in the group 'a', whose levels"),
    ("cell.csv other.csv --groups g_right.csv --levels own", "The table of groups lacks other.csv; one row"),
    ("cell.csv --groups g_right.csv --control z", "There is no group 'z' (--control)."),
    ("cell.csv --groups gone.csv", "There is no file 'gone.csv'."),
    ("cell.csv --control a", "The control group 'a' was given without groups; a table was expected"),
    ("cell.csv --levels control", "There are no groups to compare; a table was expected"),
    ("cell.csv --levels mine", "--levels mine was given. Known names: control"),
    ("cell.csv --windows 4", "time stamps are missing: frames are not known. Set --columns frame=NAME"),
    ("frames.csv --windows 2", "the time between frames is not given."),
]  # fmt: skip
