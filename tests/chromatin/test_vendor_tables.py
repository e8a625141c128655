"""Localisation tables as vendors' programs write them: read right, or refused with the flag to set.

Headers follow ChriSTORM, Locan and pyMINFLUX, which read such files.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mollifier.chromatin.localizations import read_localizations
from mollifier.errors import DataError

N = 300
RNG = np.random.default_rng(0)
X, Y = RNG.uniform(1e3, 9e3, N).round(2), RNG.uniform(2e3, 12e3, N).round(2)
FRAME = np.sort(RNG.integers(1, 5000, N))
PHOTONS, PRECISION = RNG.integers(300, 4000, N), RNG.uniform(5, 25, N).round(2)
NIKON = (
    "Channel Name,X,Y,Xc,Yc,Height,Area,Width,Phi,Ax,BG,I,Frame,Length,Link,Valid,Z,Zc,Photons,"
    "Lateral Localization Accuracy,Xw,Yw,Xwc,Ywc,Zw,Zwc"
).replace(",", "\t")
ELYRA = (
    "Index,First Frame,Number Frames,Frames Missing,Position X [nm],Position Y [nm],Precision [nm],Number "
    "Photons,Background variance,Chi square,PSF half width [nm],Channel,Z Slice"
).replace(",", "\t")
ONI = (
    "Channel,Frame,X (nm),Y (nm),Z (nm),X precision (nm),Y precision (nm),X (pix),Y (pix),Photons,Background"
)
ABBELIGHT = '"id","frame","x [nm]","y [nm]","z [nm]","intensity [photon]","uncertainty_xy [nm]"'
SMAP = "frame,xnm,ynm,znm,locprecnm,phot,bg,channel"
DECODE = '# {"decode":"0.10.0"}\nxnano,ynano,znano,frame_ix,phot,crlb_xnano,crlb_ynano'
FOOTER = "\n\nVoxelSizeX : 0.1\nVoxelSizeY : 0.1\nSizeX : 256\nROI List : \n"


def table(header: str, *cells: object, separator: str = ",", end: str = "") -> str:
    """A row for each localisation: columns, or one value for all."""
    columns = [c if isinstance(c, np.ndarray) else [c] * N for c in cells]
    rows = (separator.join(map(str, row)) for row in zip(*columns, strict=True))
    return "\n".join([header, *rows]) + "\n" + end


def nikon(channel: object) -> str:
    far = (X + 50, Y + 50)
    cells = (channel, X, Y, *far, *[1] * 7, FRAME, 1, -1, 1, 0, 0, PHOTONS, PRECISION, X, Y, X, Y, 0, 0)
    return table(NIKON, *cells, separator="\t")


def elyra(end: str = "") -> str:
    cells = (np.arange(N), FRAME, 1, 0, X, Y, PRECISION, PHOTONS, 12.3, 1.0, 150.2, 1, 1)
    return table(ELYRA, *cells, separator="\t", end=end)


FILES = {
    "nikon.txt": nikon("647"),
    "elyra.txt": elyra(),
    "elyra_footer.txt": elyra(FOOTER),
    "oni.csv": table(ONI, 0, FRAME, X, Y, 0, PRECISION, PRECISION, X / 117, Y / 117, PHOTONS, 12),
    "abbelight.csv": table(ABBELIGHT, np.arange(N), FRAME, X, Y, 0, PHOTONS, PRECISION),
    "smap.csv": table(SMAP, FRAME, X, Y, 0, PRECISION, PHOTONS, 12, 0),
    "decode.csv": table(DECODE, X, Y, 0, FRAME, PHOTONS, PRECISION, PRECISION),
}


@pytest.mark.parametrize("name", FILES)
def test_vendor_table(tmp_path: Path, name: str):
    path = tmp_path / name
    path.write_text(FILES[name])
    locs = read_localizations(path)
    for found, exact in ((locs.x, X), (locs.y, Y), (locs.frame, FRAME), (locs.photons, PHOTONS)):
        np.testing.assert_allclose(np.asarray(found), exact, rtol=1e-12)
    np.testing.assert_allclose(np.asarray(locs.precision), PRECISION, rtol=1e-12)


def test_vendor_table_with_two_channels_needs_a_choice(tmp_path: Path):
    path = tmp_path / "nikon.txt"
    colour = np.where(np.arange(N) % 3 == 0, "488", "647")
    path.write_text(nikon(colour))
    with pytest.raises(DataError, match=r"holds 2 channels \(488, 647\); choose one, as --channel 488"):
        read_localizations(path)
    np.testing.assert_array_equal(read_localizations(path, channel=647).x, X[colour == "647"])
    with pytest.raises(DataError, match="has no channel 561; there are 488, 647"):
        read_localizations(path, channel="561")
    with pytest.raises(DataError, match="has no column 'Color' for channel"):
        read_localizations(path, columns={"channel": "Color"})
    path.write_text(table("x [nm],y [nm]", X, Y))
    with pytest.raises(DataError, match="has no column of channels"):
        read_localizations(path, channel=0)


def test_vendor_table_rapidstorm_needs_roles(tmp_path: Path):
    path = tmp_path / "rapidstorm.txt"
    header = '# <localizations insequence="true"><field identifier="Position-0-0"/></localizations>'
    path.write_text(table(header, X, Y, FRAME, PHOTONS, separator=" "))
    with pytest.raises(DataError, match=r"4 columns without names.* --columns frame,x,y"):
        read_localizations(path)
    locs = read_localizations(path, columns=["x", "y", "frame", "photons"])
    np.testing.assert_array_equal(locs.x, X)


def test_vendor_table_in_pixels_without_a_unit_names_the_flag(tmp_path: Path):
    path = tmp_path / "osnap.csv"
    path.write_text(table("x,y", X / 117, Y / 117))
    with pytest.raises(DataError, match="--unit nm, um or px, with --pixel-size"):
        read_localizations(path)
    np.testing.assert_allclose(read_localizations(path, unit="px", pixel_size=117).x, X)


@pytest.mark.parametrize("kind", ["npy", "npz", "json"])
def test_vendor_file_that_is_no_table(tmp_path: Path, kind: str):
    path = tmp_path / f"minflux.{kind}"
    if kind == "json":
        path.write_text(json.dumps([{"vld": True, "loc": [1e-6 * k, 0, 0]} for k in range(20_000)]))
    elif kind == "npy":
        np.save(path, np.zeros(3))
    else:
        np.savez(path, x=X, y=Y)
    with pytest.raises(DataError, match=r"export it as CSV|Export it as CSV"):
        read_localizations(path)
