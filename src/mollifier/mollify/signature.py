"""What a layer writes into a ``state_dict``, and the comparison with another layer's on loading."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from mollifier.errors import GridError
from mollifier.mollify.grid import Grid
from mollifier.mollify.kernels import Kernel


def signature(
    grid: Grid, kernel: Kernel, radius: Mapping[str, float], boundary: str, accuracy: int | None
) -> Tensor:
    """The bytes of their JSON: a tensor, as every tool that handles a ``state_dict`` expects."""
    axes = [asdict(a) for a in grid]
    entries = {"grid": axes, "kernel": repr(kernel), "radius": dict(radius)}
    text = json.dumps(entries | {"boundary": boundary, "accuracy": accuracy})
    return torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)


def check_signature(found: Tensor, expected: Tensor) -> None:
    """Compare two signatures.

    Raises
    ------
    GridError
        If an entry differs, or the first is no signature.
    """
    given = _entries(found)
    for name, value in _entries(expected).items():
        if given.get(name) != value:
            raise GridError(
                f"This state_dict is of another layer: {name} is {_short(given.get(name))} there and "
                f"{_short(value)} here; make the layer as it was when the state was saved."
            )


def _entries(state: Any) -> dict[str, Any]:
    try:
        return dict(json.loads(bytes(state.tolist())))
    except (AttributeError, TypeError, ValueError):
        raise GridError("The extra state in this state_dict was not written by a mollifier layer.") from None


def _short(value: Any, most: int = 120) -> str:
    text = str(value)
    return text if len(text) <= most else f"{text[:most]}..."
