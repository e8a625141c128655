"""A run on disk between two steps: networks, unknowns, scaling, optimiser, random state, configuration, history."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from mollifier.errors import CheckpointError
from mollifier.files import write_atomically

FILE = "checkpoint.pt"
_FORMAT = 1


def save_checkpoint(folder: Path, state: dict[str, Any]) -> None:
    """Write the state atomically: a crash leaves the old file or the new one."""
    write_atomically(folder / FILE, lambda path: torch.save({"format": _FORMAT, **state}, path))


def load_checkpoint(folder: Path, fingerprint: dict[str, Any]) -> dict[str, Any]:
    """Read a state back; only tensors and plain values are read, nothing is executed.

    Parameters
    ----------
    folder
        Where the run was kept.
    fingerprint
        What must be the same: equation, data, unknowns, settings, seed.

    Raises
    ------
    CheckpointError
        If there is none, it cannot be read, or it belongs to another problem.
    """
    path = Path(folder) / FILE
    if not path.exists():
        raise CheckpointError(
            f"There is no checkpoint at {path}; resume takes the folder of an interrupted run. Run without resume first."
        )
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        raise CheckpointError(
            f"The checkpoint {path} cannot be read ({type(error).__name__}): it is damaged or not a checkpoint. "
            "Delete it and run again without resume."
        ) from None
    if not isinstance(state, dict) or state.get("format") != _FORMAT:
        raise CheckpointError(f"The checkpoint {path} is of another version of this program; run without resume.")
    for name, value in fingerprint.items():
        if state["fingerprint"].get(name) != value:
            raise CheckpointError(
                f"The checkpoint {path} belongs to another run: its {name} differs "
                f"({state['fingerprint'].get(name)!r} there, {value!r} here). Resume with the same problem and settings."
            )
    return state
