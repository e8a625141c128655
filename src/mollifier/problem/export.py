"""Files of a solution for other programs: netCDF after the CF conventions, and VTK files for ParaView."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from mollifier.equations.names import TIME_NAMES, time_coordinate
from mollifier.errors import ConfigurationError, check_known
from mollifier.io.files import require_package, write_atomically

_AXES = {
    **dict.fromkeys(("x", "lon", "longitude"), "X"),
    **dict.fromkeys(("y", "lat", "latitude"), "Y"),
    "z": "Z",
    **dict.fromkeys(TIME_NAMES, "T"),
}


def described(dataset: xr.Dataset, measured: xr.Dataset) -> xr.Dataset:
    """A solution's fields with attributes of the CF conventions, in part from the data.

    Coordinates have their ``axis`` where their name is one of an axis, and with states the names of the
    data; a field with standard errors names them in ``ancillary_variables``.

    >>> found = described(xr.Dataset({"k": ("x", [1.0]), "k_sd": ("x", [0.1])}, {"x": [0.0]}), xr.Dataset())
    >>> found.x.attrs, found.k.attrs
    ({'axis': 'X'}, {'ancillary_variables': 'k_sd'})
    """
    for name, array in dataset.variables.items():
        own = {"axis": _AXES[str(name)]} if str(name) in _AXES and name in dataset.coords else {}
        own |= {"ancillary_variables": f"{name}_sd"} if f"{name}_sd" in dataset else {}
        kept = measured[name].attrs if name in measured.variables else {}
        array.attrs |= own | {k: kept[k] for k in ("standard_name", "long_name", "origin") if k in kept}
    return dataset


def export(solution: Any, path: str | os.PathLike[str]) -> Path:
    """Write a `mollifier.Solution`; see its method `export`."""
    target = Path(path)
    text = f"'{target}' has the suffix '{target.suffix}'; {' or '.join(_WRITERS)} was expected."
    check_known(target.suffix, _WRITERS, ConfigurationError, text)
    _WRITERS[target.suffix](solution, target)
    return target


def _netcdf(solution: Any, path: Path) -> None:
    """All fields and numbers in one group; a time that was measured in dates counts from the first."""
    dataset = solution.to_dataset().drop_encoding()
    for name in dataset.coords:
        if origin := dataset[name].attrs.get("origin"):
            dataset[name].attrs |= {"units": f"seconds since {str(origin)[:19]}", "standard_name": "time"}
    write_atomically(path, lambda p: dataset.to_netcdf(p, engine="h5netcdf"))


def _paraview(solution: Any, path: Path) -> None:
    """A rectilinear grid for each time, in a folder of the file's name, and the file, which lists them."""
    require_package(path, "pyevtk", "paraview")
    from pyevtk.hl import gridToVTK
    from pyevtk.vtk import VtkGroup

    def rectilinear(axes: Sequence[Any], points: Mapping[str, Any], path: Path) -> None:
        gridToVTK(str(path.with_suffix("")), *axes, pointData=points)

    dataset = solution.dataset
    time = time_coordinate(map(str, dataset.dims))
    apart = {d for d in dataset.dims if "experiments" in dataset[d].attrs or str(d).endswith("_value")}
    space = sorted({*map(str, dataset.dims)} - {time} - apart, key=lambda d: (_AXES.get(d, "Z"), d))
    if not 0 < len(space) <= 3:
        raise ConfigurationError(
            f"The fields are over {space}; one to three coordinates in space were expected for ParaView."
        )
    fields = {str(n): v for n, v in dataset.data_vars.items() if {*v.dims} <= {*space, time}}
    axes = [dataset[d].values.astype(float) for d in space] + [np.zeros(1)] * (3 - len(space))
    shape = [a.size for a in axes]
    whole = xr.DataArray(np.zeros([dataset.sizes[d] for d in space]), dims=space)
    times = dataset[time].values if time else np.zeros(1)
    files = [path.with_suffix("") / f"{i:04d}.vtr" for i in range(len(times))]
    for i, file in enumerate(files):
        frame = {n: v.isel({time: i}) if time in v.dims else v for n, v in fields.items()}
        points = {
            n: np.asfortranarray((v + whole).transpose(*space).values.reshape(shape), dtype=float)
            for n, v in frame.items()
        }
        write_atomically(file, partial(rectilinear, axes, points))

    def listed(p: Path) -> None:
        group = VtkGroup(str(p.absolute().with_suffix("")))
        for at, file in zip(times, files, strict=True):
            group.addFile(str(file.absolute()), float(at))
        group.save()

    write_atomically(path, listed)


_WRITERS = {".nc": _netcdf, ".pvd": _paraview}
