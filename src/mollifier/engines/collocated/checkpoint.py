"""The state of a run on disk: parameters, scaling, optimiser, random state, settings, history."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mollifier.errors import CheckpointError
from mollifier.io.files import write_atomically

FILE = "checkpoint.pt"
_FORMAT = 2
_DAMAGE = (
    RuntimeError,
    EOFError,
    OSError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    pickle.UnpicklingError,
    zipfile.BadZipFile,
)


def save_checkpoint(folder: Path, state: dict[str, Any]) -> None:
    """Write the state atomically: a crash or a full disk leaves the old file or the new one.

    Raises `OutputError` if the disk is full or the folder cannot be written to.
    """
    # In memory first: torch does not report a full disk as an OSError.
    buffer = io.BytesIO()
    torch.save(plain({"format": _FORMAT, **state}), buffer)
    write_atomically(folder / FILE, lambda path: path.write_bytes(buffer.getbuffer()))


def plain(value: Any) -> Any:
    """The value with NumPy's numbers and arrays as Python's and torch's, which `load_checkpoint` accepts.

    >>> plain({"allowed": np.bool_(True), "pairs": [(0, np.float64(0.5))], "shifts": np.zeros(2)})
    {'allowed': True, 'pairs': [(0, 0.5)], 'shifts': tensor([0., 0.], dtype=torch.float64)}
    """
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return torch.from_numpy(np.ascontiguousarray(value))
    if isinstance(value, dict):
        return type(value)((plain(k), plain(v)) for k, v in value.items())
    if type(value) in (list, tuple, set):
        return type(value)(map(plain, value))
    return value


def kept(folder: Path) -> bool:
    """Whether a folder contains a checkpoint, readable or not."""
    return (folder / FILE).is_file()


def load_checkpoint(folder: Path, fingerprint: dict[str, Any]) -> dict[str, Any]:
    """Read a state back; only tensors and plain values are read, nothing is executed.

    ``fingerprint`` is what both runs must have in common: equation, data, unknowns, settings, seed. Raises
    `CheckpointError` if there is no checkpoint in the folder, it cannot be read, or it belongs to another
    problem.
    """
    path = Path(folder) / FILE
    if not path.exists():
        raise CheckpointError(
            f"There is no checkpoint at {path}; resume takes the folder of an interrupted run. "
            "Run without resume first."
        )
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
    except _DAMAGE as error:
        raise CheckpointError(
            f"The checkpoint {path} cannot be read ({type(error).__name__}): it is damaged or not a "
            "checkpoint. Delete it and run again without resume."
        ) from None
    if not isinstance(state, dict) or state.get("format") != _FORMAT or "fingerprint" not in state:
        raise CheckpointError(
            f"The checkpoint {path} is of another version of this program, or it is not a checkpoint; "
            "run without resume."
        )
    saved = state["fingerprint"]
    for name, value in fingerprint.items():
        if saved.get(name) != value:
            raise CheckpointError(
                f"The checkpoint {path} belongs to another run: {_difference(name, saved.get(name), value)}. "
                "Resume with the same problem, settings and seed, or run without resume."
            )
    return state


def _difference(name: str, there: Any, here: Any) -> str:
    """The first entry that differs, by its full name.

    >>> _difference("settings", {"training": {"steps": 1}}, {"training": {"steps": 2}})
    'its settings.training.steps is 1, here it is 2'
    """
    while isinstance(there, Mapping) and isinstance(here, Mapping):
        inner = next(n for n in {**there, **here} if there.get(n) != here.get(n))
        name, there, here = f"{name}.{inner}", there.get(inner), here.get(inner)
    return f"its {name} is {there!r:.200}, here it is {here!r:.200}"
