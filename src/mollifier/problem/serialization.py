"""The files of a solution: written whole or not at all, and read back bit for bit."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from mollifier.errors import CheckpointError
from mollifier.io.files import ensure_folder, read_groups, write_atomically, write_groups, write_json
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
