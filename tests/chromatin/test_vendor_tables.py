"""Localisation tables as vendors' programs write them: read right, or refused with the flag to set.

Headers follow ChriSTORM, Locan and pyMINFLUX, which read such files.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from scipy.io import savemat

from mollifier.chromatin.localizations import Localizations, read_localizations
from mollifier.chromatin.resolution import merge_repeats
from mollifier.errors import DataError

N = 300
RNG = np.random.default_rng(0)
X, Y = RNG.uniform(1e3, 9e3, N).round(2), RNG.uniform(2e3, 12e3, N).round(2)
FRAME = np.sort(RNG.integers(1, 5000, N))
Z = RNG.normal(0, 100, N).round(2)
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
DECODE_PX = (
    '# DECODE EmitterSet\n# {"version": "0.10"}\n# {"xy_unit": "px", "px_size": [100.0, 100.0]}\n'
    "x,y,z,phot,frame_ix,x_sig,y_sig"
)
VUTARA = "image-ID,frame,probe,photon-count,x,y,z,precision"
RAPIDSTORM = "# <localizations>" + "".join(
    f'<field identifier="{name}" syntax="." semantic="." unit="{unit}" />'
    for name, unit in {
        "Position-0-0": "nanometer",
        "Position-1-0": "nanometer",
        "ImageNumber-0-0": "frame",
        "Amplitude-0-0": "A/D count",
    }.items()
)
FOOTER = "\n\nVoxelSizeX : 0.1\nVoxelSizeY : 0.1\nSizeX : 256\nROI List : \n"


def table(header: str, *cells: object, separator: str = ",", end: str = "") -> str:
    """A row for each localisation: columns, or one value for all."""
    columns = [c if isinstance(c, np.ndarray) else [c] * N for c in cells]
    rows = (separator.join(map(str, row)) for row in zip(*columns, strict=True))
    return "\n".join([header, *rows]) + "\n" + end


def nikon(channel: object) -> str:
    far = (X + 50, Y + 50)
    cells = (channel, X, Y, *far, *[1] * 7, FRAME, 1, -1, 1, Z, Z, PHOTONS, PRECISION, X, Y, X, Y, Z, Z)
    return table(NIKON, *cells, separator="\t")


def elyra(end: str = "") -> str:
    cells = (np.arange(N), FRAME, 1, 0, X, Y, PRECISION, PHOTONS, 12.3, 1.0, 150.2, 1, 1)
    return table(ELYRA, *cells, separator="\t", end=end)


FILES = {
    "nikon.txt": nikon("647"),
    "elyra.txt": elyra(),
    "elyra_footer.txt": elyra(FOOTER),
    "elyra_nul.txt": elyra("\0" + FOOTER),
    "oni.csv": table(ONI, 0, FRAME, X, Y, 0, PRECISION, PRECISION, X / 117, Y / 117, PHOTONS, 12),
    "abbelight.csv": table(ABBELIGHT, np.arange(N), FRAME, X, Y, Z, PHOTONS, PRECISION),
    "smap.csv": table(SMAP, FRAME, X, Y, Z, PRECISION, PHOTONS, 12, 0),
    "decode_px.csv": table(DECODE_PX, X / 100, Y / 100, Z, PHOTONS, FRAME, PRECISION / 100, PRECISION / 100),
    "vutara.csv": table(VUTARA, 0, FRAME, 0, PHOTONS, X, Y, Z, PRECISION),
    "decode.csv": table(DECODE, X, Y, Z, FRAME, PHOTONS, PRECISION, PRECISION),
}


@pytest.mark.parametrize("name", FILES)
def test_vendor_table(tmp_path: Path, name: str):
    path = tmp_path / name
    path.write_text(FILES[name])
    locs = read_localizations(path)
    for found, exact in ((locs.x, X), (locs.y, Y), (locs.frame, FRAME), (locs.photons, PHOTONS)):
        np.testing.assert_allclose(np.asarray(found), exact, rtol=1e-12)
    np.testing.assert_allclose(np.asarray(locs.precision), PRECISION, rtol=1e-12)
    if name.startswith(("elyra", "oni")):
        assert locs.z is None
    else:
        np.testing.assert_allclose(np.asarray(locs.z), Z, rtol=1e-12)
        assert f"z {Z.min():,.0f} to {Z.max():,.0f} nm" in repr(locs)


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


def test_vendor_table_z_is_kept(tmp_path: Path):
    """In selections and files; a molecule without it is not refused."""
    locs = Localizations(X, Y, FRAME, z=np.where(np.arange(N) == 3, np.nan, Z))
    again = read_localizations(locs.select(np.arange(N) < 200).save(tmp_path / "cell.csv"))
    np.testing.assert_allclose(np.asarray(again.z), np.asarray(locs.z)[:200])
    np.testing.assert_allclose(merge_repeats(locs, precision=5.0).x, X)


def test_vendor_table_rapidstorm_names_columns_in_xml(tmp_path: Path):
    path = tmp_path / "rapidstorm.txt"
    path.write_text(table(RAPIDSTORM, X, Y, FRAME, PHOTONS, separator=" "))
    locs = read_localizations(path)
    np.testing.assert_array_equal(locs.x, X)
    np.testing.assert_array_equal(np.asarray(locs.frame), FRAME)
    path.write_text(table("# a comment", X, Y, FRAME, PHOTONS, separator=" "))
    with pytest.raises(DataError, match=r"4 columns without names.* --columns frame,x,y"):
        read_localizations(path)


@pytest.mark.parametrize("unit", ["µm", "μm", "Âµm"])
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "utf-16"])
def test_vendor_table_in_micrometres(tmp_path: Path, unit: str, encoding: str):
    if encoding == "latin-1" and unit == "μm":
        pytest.skip("Latin-1 has no Greek mu")
    path = tmp_path / "a.csv"
    path.write_bytes(table(f"x [{unit}],y [{unit}]", X / 1e3, Y / 1e3).encode(encoding))
    np.testing.assert_allclose(read_localizations(path).x, X)


@pytest.mark.parametrize("header", ["x [Å],y [Å]", "x,y\nÅ,Å"])
def test_vendor_table_with_an_unknown_unit_names_the_flag(tmp_path: Path, header: str):
    """Ten times too large a field of view is still plausible."""
    path = tmp_path / "a.csv"
    path.write_text(table(header, X, Y))
    with pytest.raises(DataError, match=r"says 'Å' in its header.*as --unit nm"):
        read_localizations(path)
    np.testing.assert_array_equal(read_localizations(path, unit="nm").x, X)


def test_vendor_table_with_a_column_twice_is_refused(tmp_path: Path):
    path = tmp_path / "a.csv"
    path.write_text(table("x [nm],x [nm],y [nm]", X, Y, Y))
    with pytest.raises(DataError, match=r"names the column 'x \[nm\]' twice"):
        read_localizations(path)


def test_vendor_table_in_pixels_without_a_unit_names_the_flag(tmp_path: Path):
    path = tmp_path / "osnap.csv"
    path.write_text(table("x,y", X / 117, Y / 117))
    with pytest.raises(DataError, match="--unit nm, um or px, with --pixel-size"):
        read_localizations(path)
    np.testing.assert_allclose(read_localizations(path, unit="px", pixel_size=117).x, X)


TRACE = np.arange(N) // 3 + 7


def minflux() -> np.ndarray:
    """As Imspector writes it: five iterations, metres."""
    kind = np.dtype([("loc", "<f8", (3,)), ("cfr", "<f8")])
    a = np.zeros(N + 1, [("itr", kind, (5,)), ("tid", "<i4"), ("vld", "?")])
    a["itr"]["loc"][:N, 4] = np.stack([X, Y, 0 * X], 1) * 1e-9
    a["vld"][:N], a["tid"][:N] = True, TRACE
    return a


def write_arrays(path: Path, kind: str) -> None:
    nested = {"itr": {"loc": minflux()["itr"]["loc"]}, "vld": minflux()["vld"], "tid": minflux()["tid"]}
    places = zip(minflux()["itr"]["loc"][:, 4], minflux()["tid"].tolist(), strict=True)
    rows = [{"vld": k < N, "itr": 4, "tid": t, "loc": list(p)} for k, (p, t) in enumerate(places)]
    rows += [row | {"itr": 3, "loc": [0.0, 0.0, 0.0]} for row in rows]
    position = np.stack([X, Y, 0 * X], 1)
    if kind == "minflux npy":
        with path.open("wb") as stream:
            np.save(stream, minflux())
    elif kind == "minflux mat":
        savemat(path, nested, appendmat=False)
    elif kind == "minflux json":
        path.write_text(json.dumps(rows))
    elif kind == "minflux json of iterations":
        every = zip(minflux()["itr"]["loc"].tolist(), minflux()["tid"].tolist(), strict=True)
        rows = [{"vld": k < N, "tid": t, "itr": [{"loc": p} for p in ps]} for k, (ps, t) in enumerate(every)]
        path.write_text(json.dumps(rows))
    elif kind == "bare npy":
        with path.open("wb") as stream:
            np.save(stream, position[:, :2])
    elif kind == "npz":
        with path.open("wb") as stream:
            np.savez(stream, x=X, y=Y[:, None])
    elif kind == "smap mat":
        with h5py.File(path, "w", userblock_size=512) as file:
            file["saveloc/loc/xnm"], file["saveloc/loc/ynm"] = X[None], Y[None]
        with path.open("r+b") as stream:
            stream.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")
    else:
        scale = 100.0 if kind == "decode px" else 1.0
        with h5py.File(path, "w") as file:
            file["data/xyz"], file["data/frame_ix"] = position / scale, FRAME
            file["data/xyz_cr"] = np.ones_like(position)  # variances
            meta = file.create_group("meta").attrs
            meta["xy_unit"], meta["px_size"] = kind.split()[1], [100.0, 100.0]


@pytest.mark.parametrize(
    "kind",
    [
        *("minflux npy", "minflux mat", "minflux json", "bare npy", "npz", "smap mat"),
        *("decode nm", "decode px", "minflux json of iterations"),
    ],
)
def test_vendor_file_of_arrays(tmp_path: Path, kind: str):
    """Known by content; of MINFLUX the valid localisations of the last iteration."""
    path = tmp_path / "file"
    write_arrays(path, kind)
    locs = read_localizations(path)
    np.testing.assert_allclose(locs.x, X)
    np.testing.assert_allclose(locs.y, Y)
    assert locs.precision is None
    if kind.startswith("minflux"):
        np.testing.assert_array_equal(np.asarray(locs.trace), TRACE)
        merged = merge_repeats(locs)
        np.testing.assert_allclose(merged.x, X.reshape(-1, 3).mean(1))
        apart = np.concatenate([X.reshape(-1, 3), Y.reshape(-1, 3)]).std(1, ddof=1)
        np.testing.assert_allclose(np.asarray(merged.precision), np.sqrt(np.mean(apart**2) / 3))


def test_arrays_with_channels_named_by_text(tmp_path: Path):
    """Two channels are refused without a choice, and text as a position."""
    path, names = tmp_path / "a.npz", np.repeat(["488", "647 nm"], [50, N - 50])
    np.savez(path, x=X, y=Y, channel=names)
    with pytest.raises(DataError, match=r"holds 2 channels \(488, 647 nm\)"):
        read_localizations(path)
    np.testing.assert_allclose(read_localizations(path, channel="647 nm").x, X[50:])
    np.savez(path, x=X.astype(str), y=Y)
    with pytest.raises(DataError, match="holds text as x"):
        read_localizations(path)


def test_decode_pixels_that_are_not_square(tmp_path: Path):
    path = tmp_path / "file"
    write_arrays(path, "decode px")
    with h5py.File(path, "r+") as file:
        file["meta"].attrs["px_size"] = [100.0, 120.0]
    with pytest.raises(DataError, match="square ones were expected"):
        read_localizations(path)


def test_picasso_metadata_of_a_smaller_camera(tmp_path: Path):
    """Where the stated field holds too few localisations, none is cut off by it."""
    path = picasso(tmp_path / "a.hdf5", "Width: 20\nHeight: 20\nPixelsize: 100\n")
    locs = read_localizations(path)
    assert locs.bounds == (locs.x.min(), locs.x.max(), locs.y.min(), locs.y.max())


@pytest.mark.parametrize("kind", ["npy", "smlm", "json", "mat"])
def test_vendor_file_that_holds_no_columns(tmp_path: Path, kind: str):
    path = tmp_path / f"a.{kind}"
    if kind == "npy":
        np.save(path, np.zeros((3, 4)))
    elif kind == "smlm":
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("manifest.json", "{}")
    else:
        path.write_bytes(b'[{"loc": 1}, {}]' if kind == "json" else b"MATLAB 5.0 MAT-file cut")
    with pytest.raises(DataError, match=r"export it as CSV|Export it as CSV"):
        read_localizations(path)


def picasso(path: Path, yaml: str, link: str = "") -> Path:
    with h5py.File(path, "w") as file:
        if link:
            file["locs"] = h5py.ExternalLink(link, "/locs")
        else:
            file["locs"] = pd.DataFrame({"x": X / 130, "y": Y / 130, "frame": FRAME}).to_records(index=False)
    path.with_suffix(".yaml").write_text(yaml)
    return path


def test_picasso_metadata_with_objects_of_other_programs(tmp_path: Path):
    yaml = (
        "Width: 256\nHeight: 256\nPixelsize: 130\nArea: !!python/object/apply:numpy.core.multiarray.scalar\n"
        "- !!python/object/apply:numpy.dtype\n  args: [f8, 0, 1]\nShape: !!python/tuple [1, 2]\n"
    )
    np.testing.assert_allclose(read_localizations(picasso(tmp_path / "a.hdf5", yaml)).x, X)


@pytest.mark.parametrize(
    ("yaml", "said"),
    [
        ("Generated by: Picasso Average\nPixelsize: 130\n", "holds averaged molecules"),
        ("a: " + "[" * 1200 + "]" * 1200, "'a.yaml' is no YAML|a.yaml' is no YAML"),
        ("a: \x07", "a.yaml' is no YAML"),
    ],
)
def test_picasso_metadata_refused(tmp_path: Path, yaml: str, said: str):
    with pytest.raises(DataError, match=said):
        read_localizations(picasso(tmp_path / "a.hdf5", yaml))


def test_picasso_metadata_within_the_file(tmp_path: Path):
    """The pixel size without a YAML file beside; averages are refused there too."""
    path = picasso(tmp_path / "a.hdf5", "Pixelsize: 130\n")
    path.with_suffix(".yaml").unlink()
    for said in ("Picasso Localize", "Picasso Average"):
        with h5py.File(path, "a") as file:
            file.pop("metadata", None)
            file["metadata"] = json.dumps([{"Generated by": said, "Pixelsize": 130}])
        if said == "Picasso Localize":
            np.testing.assert_allclose(read_localizations(path).x, X)
    with pytest.raises(DataError, match="averaged molecules"):
        read_localizations(path)


def test_picasso_file_that_leads_out_of_it(tmp_path: Path):
    with pytest.raises(DataError, match="nothing outside the file is opened"):
        read_localizations(picasso(tmp_path / "a.hdf5", "Pixelsize: 130\n", "other.hdf5"))
