"""The files of a solution: written whole or not at all, and read back bit for bit.

For other programs: netCDF after the CF conventions, and VTK files for ParaView.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from pydantic import BaseModel, ConfigDict, ValidationError

from mollifier.equations.names import TIME_NAMES, time_coordinate
from mollifier.errors import CheckpointError, ConfigurationError, check_known
from mollifier.io.files import (
    ensure_folder,
    read_groups,
    require_package,
    write_atomically,
    write_groups,
    write_json,
)
from mollifier.problem.estimate import Estimate
from mollifier.problem.status import Status

_FILE = "solution.nc"
_FORMAT = 1
_GROUPS = {"dataset": "fields", "fit": "fit", "history": "history"}


class _Provenance(BaseModel):
    """Entries of a provenance whose type matters; all others are free."""

    unknowns: dict[str, Any] | list[str] = []
    engine: str | None = None
    seconds: float | None = None


class _Root(BaseModel):
    """Attributes of the file whose type matters, each JSON."""

    model_config = ConfigDict(strict=True, defer_build=True)

    status: Status
    estimates: list[Estimate]
    provenance: _Provenance


def write(solution: Any, folder: str | os.PathLike[str]) -> Path:
    """All of a `mollifier.Solution`, and what people read of it; see its method `save`."""
    target = ensure_folder(folder)
    root: dict[str, Any] = {
        "format": _FORMAT,
        "Conventions": "CF-1.11",
        "status": json.dumps(asdict(solution.status), ensure_ascii=False),
        "estimates": json.dumps([asdict(e) for e in solution.estimates.values()], ensure_ascii=False),
        "provenance": json.dumps(solution.provenance, ensure_ascii=False),
    }
    groups = {group: getattr(solution, attribute) for attribute, group in _GROUPS.items()}
    root["contents"] = {group: sorted(map(str, part.variables)) for group, part in groups.items()}
    write_groups(target / _FILE, root, groups)
    write_json(target / "estimates.json", numbers(solution))
    table = solution.history.to_dataframe()
    write_atomically(target / "history.csv", lambda p: table.to_csv(p, lineterminator="\n"))
    return target


def numbers(solution: Any) -> dict[str, Any]:
    """Status, estimates and misfit of a `mollifier.Solution`."""
    estimates = {name: e.to_dict() for name, e in solution.estimates.items()}
    return {"status": asdict(solution.status), "estimates": estimates, "misfit": solution.misfit}


def read(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """The attributes of a solution by name; see `mollifier.load_solution`."""
    path = Path(folder)
    path = path if path.suffix == ".nc" else path / _FILE
    if not path.is_file():
        there = Path(folder).is_file()
        what = f"'{folder}' is a file, no solution" if there else f"There is no saved solution at '{path}'"
        raise CheckpointError(
            f"{what}. Give the folder that solution.save(folder) wrote, or the solution.nc in it."
        )
    try:
        root, groups = read_groups(path)
        if root.get("format") != _FORMAT:
            raise CheckpointError(
                f"'{path}' is no solution this version reads: its format is {root.get('format')}, {_FORMAT} "
                "was expected. Read it with the version that wrote it, or run it again."
            )
        parts = ", ".join(f'"{n}": {root[n]}' for n in _Root.model_fields)
        checked = _Root.model_validate_json(f"{{{parts}}}")
        held = {attribute: groups[group] for attribute, group in _GROUPS.items()}
        for attribute, group in _GROUPS.items():
            lost = set(root.get("contents", {}).get(group, ())) - set(held[attribute].variables)
            if lost:
                raise LookupError(f"it has lost {sorted(lost)} of its {group}")
    except CheckpointError:
        raise
    except Exception as error:  # the readers below raise OSError, RuntimeError, KeyError, ... on damage
        said: Any = error
        if isinstance(error, ValidationError):
            said = "{loc}: {msg}".format_map(error.errors()[0])
        raise CheckpointError(
            f"The saved solution '{path}' cannot be read: {str(said).rstrip('.')}. If it is truncated or "
            "corrupt, restore it from a copy or run it again."
        ) from error
    return {
        "status": checked.status,
        "estimates": {e.name: e for e in checked.estimates},
        "provenance": json.loads(root["provenance"]),
        **held,
    }


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
