"""The benchmark of a device, on the processor."""

import pytest
import torch

from benchmarks import gpu
from mollifier.errors import ConfigurationError


@pytest.mark.slow
def test_gpu_benchmark_on_the_processor():
    """Every work has a row: the layer, Adam, L-BFGS, Gauss-Newton and the marked tests."""
    table = gpu.run("cpu", quick=True)
    named = [row.work for row in table.rows if row.seconds > 0]
    for work in ("layer, 64 x 64, float32", "lbfgs: adam", "lbfgs: lbfgs", "gauss-newton: gauss-newton"):
        assert any(n.endswith(work) for n in named), work
    assert table.rows[0].error < 1e-5
    assert table.rows[-1].work == "tests marked gpu"
    assert table.rows[-1].outcome


def test_gpu_benchmark_without_a_device(monkeypatch):
    """Without CUDA the refusal names the other device."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigurationError, match="--device cpu"):
        gpu.run("cuda")


def test_gpu_benchmark_keeps_failures(monkeypatch):
    """A work that fails is a row that says how, and the next runs."""
    works = [("one", lambda: [][1]), ("two", lambda: [gpu.Row("two", 1, 1.0)])]
    monkeypatch.setattr(gpu, "_works", lambda device, quick: iter(works))
    assert [row.outcome.split(":")[0] for row in gpu.run("cpu").rows] == ["IndexError", ""]
