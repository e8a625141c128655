"""Where precision is kept: weights that stay in float64, and sums without TF32, forwards and backwards."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mollifier.errors import GridError


class Weights(nn.Module):
    """Constant arrays as buffers that move between devices and stay float64 whatever the model is cast to."""

    def __init__(self, arrays: Mapping[str, Any]) -> None:
        super().__init__()
        for name, array in arrays.items():
            self.register_buffer(name, torch.as_tensor(np.ascontiguousarray(array)), persistent=False)

    def tensors(self) -> dict[str, Tensor]:
        """The buffers by name."""
        return {name: b for name, b in self._buffers.items() if b is not None}

    def _apply(self, fn: Any, recurse: bool = True) -> Weights:
        kept = self.tensors()
        super()._apply(fn, recurse)
        for name, before in kept.items():
            after = self.tensors()[name]
            if after.dtype != before.dtype:
                self._buffers[name] = before.to(after.device)
        return self


def for_accumulation(weights: Mapping[str, Tensor], g: Tensor, single: bool = False) -> Mapping[str, Tensor]:
    """Weights in the dtype that sums run in: float64, or float32 for values that are not float64.

    The latter on a GPU, or where ``single`` demands it.
    """
    if g.dtype == torch.float64 or (g.device.type == "cpu" and not single):
        return weights
    return {k: v.float() if v.is_floating_point() else v for k, v in weights.items()}


def unrounded(g: Tensor) -> None:
    """Refuse values that autocast has rounded to half precision: no sum restores the digits.

    Raises `GridError` if it has. Half-precision values outside autocast are their owner's choice.
    """
    if torch.is_autocast_enabled(g.device.type) and g.dtype in (torch.float16, torch.bfloat16):
        raise GridError(
            f"Autocast has rounded the values to {str(g.dtype).removeprefix('torch.')}, a relative error of "
            f"{torch.finfo(g.dtype).eps / 2:.1g} that a derivative of order k multiplies by radius**-k. "
            f"Evaluate the whole network with torch.autocast('{g.device.type}', enabled=False)."
        )


@contextmanager
def exact_float32(g: Tensor) -> Iterator[None]:
    """Neither autocast nor, on a GPU, TF32 for what is computed inside; the settings found are put back."""
    if torch.is_autocast_enabled(g.device.type):
        with torch.autocast(g.device.type, enabled=False), exact_float32(g):
            yield
        return
    if not g.is_cuda or torch.compiler.is_compiling():
        yield
        return
    found = _switch_off_tf32()
    try:
        yield
    finally:
        _put_back(found)


def exact_backward(results: Iterable[Tensor], g: Tensor) -> None:
    """No TF32 from ``results`` back to ``g`` either: that pass runs after `exact_float32` has ended."""
    nodes = [r.grad_fn for r in results]
    seen: set[Any] = {g.grad_fn, None}
    while nodes:
        node = nodes.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        nodes += [n for n, _ in node.next_functions]
        if any(kind in node.name() for kind in ("Convolution", "Correlation", "Mm")):
            found: list[Any] = []
            node.register_prehook(lambda grads, found=found: found.append(_switch_off_tf32()))
            node.register_hook(lambda ins, outs, found=found: _put_back(found.pop()))


def _switch_off_tf32() -> list[tuple[Any, str, Any]]:
    """Both switches off; what they were."""
    found = [(place, name, getattr(place, name)) for place, name, _ in _switches()]
    _put_back(_switches())
    return found


def _put_back(found: Iterable[tuple[Any, str, Any]]) -> None:
    for place, name, value in found:
        setattr(place, name, value)


def _switches() -> list[tuple[Any, str, Any]]:
    """Where TF32 is set for matrix products and convolutions, and the value that forbids it."""
    matmul: Any = torch.backends.cuda.matmul
    cudnn: Any = torch.backends.cudnn
    if hasattr(cudnn, "conv"):  # from torch 2.9; the older names then warn or fail
        return [(matmul, "fp32_precision", "ieee"), (cudnn.conv, "fp32_precision", "ieee")]
    return [(matmul, "allow_tf32", False), (cudnn, "allow_tf32", False)]
