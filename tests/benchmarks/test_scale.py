"""The cost against size: the data are a solution, and the powers are those of the table."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks import scale
from benchmarks.pages import save_benchmark, scale_figure
from benchmarks.scale import Row
from benchmarks.table import Table
from mollifier.diagnostics.compare.children import Outcome
from mollifier.errors import ConfigurationError


def test_the_data_solve_the_equation():
    u = scale.build(401).clean["u"]
    x, t = u["x"].values, u["t"].values
    u_t, u_x = np.gradient(u.values, t, axis=1), np.gradient(u.values, x, axis=0)
    u_xx = np.gradient(u_x, x, axis=0)
    inside = (slice(5, -5), slice(5, -5))
    residual = (u_t + u_x - 0.05 * u_xx + 0.3 * u.values)[inside]
    assert np.abs(residual).max() < 5e-3 * np.abs(u_t).max()


@pytest.mark.slow
def test_each_size_in_a_process_of_its_own():
    told = []
    table = scale.run([96, 48, 96], repeats=1, progress=lambda *step: told.append(step))
    assert told == [(0, 2, "48 x 48 nodes"), (1, 2, "96 x 96 nodes")]
    assert [r.points for r in table.rows] == [2304, 9216]
    for r in table.rows:
        assert r.repeats == 1
        assert 0 < r.seconds < 60
        assert r.error < 0.2
        assert not r.message
    assert math.isnan(table.rows[0].power)
    first, second = table.rows
    assert second.power == pytest.approx(math.log(second.seconds / first.seconds) / math.log(4))


def faked(monkeypatch: pytest.MonkeyPatch, *outcomes: Outcome | BaseException) -> None:
    given = list(outcomes)

    def run_apart(payload, task):
        assert task.engine == "weak"
        outcome = given.pop(0)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    monkeypatch.setattr(scale.children, "run_apart", run_apart)


def test_a_size_that_fails_stops_no_other(monkeypatch):
    killed = Outcome(None, "failed", "its process was killed")
    faked(monkeypatch, killed, killed)
    table = scale.run([16, 32], repeats=1)
    assert [(r.size, r.repeats, r.error) for r in table.rows] == [(16, 0, math.inf), (32, 0, math.inf)]
    assert table.notes() == ["16^2: its process was killed", "32^2: its process was killed"]
    assert table.summary == ""
    assert "| 16^2 | 256 | 0.00195 | - | - |" in table.to_markdown()


def test_ctrl_c_keeps_what_is_done(monkeypatch):
    answer = Outcome(None, "failed", "no answer", 2.0)
    faked(monkeypatch, answer, answer, answer, KeyboardInterrupt())
    table = scale.run([16, 32, 64], repeats=2)
    assert table.interrupted
    assert [r.size for r in table.rows] == [16, 32]


@pytest.mark.parametrize(
    ("sizes", "repeats", "message"),
    [([8, 32], 1, "size 8 was given"), ([], 1, "no sizes were given"), ([32], 0, "0 repeats")],
)
def test_what_is_refused_at_once(sizes, repeats, message):
    with pytest.raises(ConfigurationError, match=message):
        scale.run(sizes, repeats)


def rows(memory: float = 1.0) -> list[Row]:
    """Seconds as the points to the power 1/2, memory as the points."""
    return [Row(n, n * n, n * n / 2**17, 3, n / 100, memory * n * n, 1.0, 0.01) for n in (64, 128, 256)]


def test_powers():
    assert scale.slopes(rows()) == pytest.approx({"seconds": 0.5, "memory": 1.0})
    assert scale.summary(rows()).startswith("Seconds grow as points^0.50 and memory as points^1.00")
    assert scale.summary(rows(math.nan)).startswith("Seconds grow as points^0.50 (")
    assert scale.summary(rows()[:1]) == ""


def test_the_figure(tmp_path):
    table = Table("scale", tuple(rows()), scale.COLUMNS)
    left, right = scale_figure(table).axes
    assert left.lines[0].get_ydata().tolist() == [0.64, 1.28, 2.56]
    assert "points^0.50" in [t.get_text() for t in left.get_legend().get_texts()]
    assert [t.get_text() for t in left.get_xticklabels()] == ["64²", "128²", "256²"]
    assert {t.get_text() for t in right.get_legend().get_texts()} == {"points^1.00", "the data"}
    assert len(save_benchmark(table, tmp_path)) == 2
    unmeasured = Table("scale", tuple(rows(math.nan)[:1]), scale.COLUMNS)
    assert len(save_benchmark(unmeasured, tmp_path)) == 2
