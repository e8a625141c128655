"""The cost of derivatives: the runner's arithmetic and its honesty about what it leaves out."""

import json
import math

import numpy as np
import pytest
import torch

from benchmarks import derivatives as bench
from benchmarks.collapsed import TaylorOperator
from mollifier.errors import ConfigurationError
from mollifier.mollify.grid import Axis, Grid
from mollifier.nn.differentiation.nested import Nested
from mollifier.nn.mlp import MLP


def test_runner_measures_every_backend_and_prints():
    steps = []
    table = bench.run(
        (2,),
        (16,),
        compiled=False,
        repeats=2,
        width=8,
        depth=1,
        device="cpu",
        progress=lambda *step: steps.append(step),
    )
    assert steps == [(0, 1, "order 2, 16 x 16, eager")]
    assert [r.arm for r in table.rows] == ["data fit", bench.FIT_HALO, *bench.ARMS[1:]]
    for row in table.rows:
        assert row.step_s > 0
        assert row.times_fit > 0
        assert 1 <= row.repeats <= 2
        assert row.peak_bytes >= 4 * 8 * row.points
    assert {r.arm: r.points for r in table.rows}["mollifier"] == 30**2
    text = table.to_markdown()
    assert text.count("\n") == 5 + len(table.rows)
    assert "| 2 | 16^2 | nested | eager |" in text
    json.dumps(table.to_dict())


def test_ctrl_c_keeps_what_was_measured(monkeypatch):
    real, calls = bench._rows, []

    def rows(order, *rest, **options):
        calls.append(order)
        if order == 2:
            raise KeyboardInterrupt
        return real(order, *rest, **options)

    monkeypatch.setattr(bench, "_rows", rows)
    table = bench.run((1, 2, 3), (8,), compiled=False, repeats=1, width=4, depth=1, device="cpu")
    assert calls == [1, 2]
    assert table.interrupted
    assert {r.order for r in table.rows} == {0, 1}


def test_data_fit_is_compared_with_itself():
    table = bench.run(
        (1,), (16,), arms=("mollifier",), compiled=False, repeats=1, width=8, depth=1, device="cpu"
    )
    assert [r.arm for r in table.rows] == ["data fit", bench.FIT_HALO, "mollifier"]
    assert table.rows[0].times_fit == 1.0
    assert table.rows[2].times_mollifier == 1.0


def test_steps_too_large_are_not_tried(monkeypatch):
    monkeypatch.setattr(bench, "_memory", lambda place: 1e3)
    table = bench.run(
        (2,), (65,), arms=("nested",), compiled=False, repeats=1, width=4, depth=1, device="cpu"
    )
    nested = table.rows[-1]
    assert nested.step_s is None
    assert nested.note.startswith("not tried: about 0 GiB")
    assert "not tried" in table.to_markdown()


def test_compiled_rows_say_why_they_are_missing(monkeypatch):
    monkeypatch.setattr(bench, "has_compiler", lambda: False)
    table = bench.run((1,), (8,), compiled=True, repeats=1, width=4, depth=1, device="cpu")
    compiled = [r for r in table.rows if r.mode == "compiled"]
    assert compiled
    assert all(r.note == "not compiled: no C++ compiler found" and r.step_s is None for r in compiled)


def test_peak_counts_what_a_step_holds():
    net = torch.nn.Linear(1, 1)
    x = torch.ones(10_000, 1)
    peak = bench._peak(net, lambda: torch.exp(net(x)).sum(), torch.device("cpu"))
    assert 2 * x.nbytes <= peak <= 4 * x.nbytes


@pytest.mark.parametrize("order", [2, 4, 6])
def test_even_operators_are_powers_of_the_laplacian(order):
    assert sum(bench.operator_terms(order).values()) == 2 ** (order // 2)
    assert len(bench.operator_terms(order)) == order // 2 + 1


def test_unknown_backend_is_refused():
    with pytest.raises(ConfigurationError, match="Did you mean 'taylor'"):
        bench.run(arms=("tailor",))


def test_memory_is_known():
    assert 0 < bench._memory(torch.device("cpu")) <= math.inf


def test_any_network_is_measured():
    table = bench.run((2,), (8,), network="piratenet", compiled=False, repeats=1, width=4, device="cpu")
    assert {r.arm for r in table.rows if r.step_s is not None} == set(bench.ARMS) | {bench.FIT_HALO}
    with pytest.raises(ConfigurationError, match="Did you mean 'piratenet'"):
        bench.run((2,), (8,), network="piratnet", device="cpu")


@pytest.mark.parametrize("directions", [None, np.array([[1, 0], [0.5, 3**0.5 / 2], [-0.5, 3**0.5 / 2]])])
def test_collapsed_operator_is_the_sum_of_its_derivatives(directions):
    grid = Grid(Axis("x", 0.0, 1.0, 6), Axis("y", 0.0, 2.0, 5))
    net = MLP(2, 2, width=8, depth=2).double()
    terms = {"u_xxxx": 1.0, "u_xxyy": 2.0, "u_yyyy": 1.0}
    jet, _ = Nested(grid, list(terms))(net)
    wanted = sum(f * jet[n] for n, f in terms.items())
    torch.testing.assert_close(TaylorOperator(grid, terms, directions)(net), wanted, rtol=1e-8, atol=1e-10)
