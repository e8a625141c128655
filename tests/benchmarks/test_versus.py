"""Ours beside other programs: the same data, the ratios, and peers that are not there."""

from __future__ import annotations

import sys

import pytest

from benchmarks import versus
from benchmarks.accuracy import Trial
from benchmarks.cases.registry import case
from benchmarks.peers import registry as peers
from benchmarks.peers.registry import Peer
from mollifier.errors import ConfigurationError


class Others:
    """Two peers: one that answers, one whose module is missing."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen: list[float] = []
        self.stop_at = 99

        def quick(made, observations):
            """A guess. It is not tuned."""
            if len(self.seen) == self.stop_at:
                raise KeyboardInterrupt
            self.seen.append(float(observations.dataset["u"].sum()))
            return peers.Row("quick", made.name, {"k": 0.3}, 2.0, "none", {"k": 0.1})

        def faulty(made, observations):
            """A fault."""
            raise ZeroDivisionError("oops")

        these = {
            "quick": Peer(quick, ("reaction_rate",), ()),
            "gone": Peer(quick, ("reaction_rate",), ("a_module_that_is_not_there",)),
            "faulty": Peer(faulty, ("langevin",), ()),
        }
        for module in (peers, versus):
            monkeypatch.setattr(module, "PEERS", these)


@pytest.fixture
def others(monkeypatch: pytest.MonkeyPatch) -> Others:
    def trial(made, noise, engine, seed, settings):
        return Trial("converged", errors={"k": 0.1}, seconds=0.5)

    monkeypatch.setattr(versus.accuracy, "trial", trial)
    return Others(monkeypatch)


def test_a_row_for_each_case_noise_and_peer(others):
    told = []
    table = versus.run(
        ["reaction_rate", "langevin"], [0.01, 0.1], seeds=range(2), progress=lambda *step: told.append(step)
    )
    keys = [(r.case, r.noise, r.peer) for r in table.rows]
    assert keys == [
        (c, n, p) for c in ("reaction_rate", "langevin") for n in (0.01, 0.1) for p in versus.PEERS
    ]
    first = table.rows[0]
    assert (first.error, first.own_error, first.seeds, first.best_error) == (0.3, 0.1, 2, 0.1)
    assert (first.error_ratio, first.seconds_ratio) == (pytest.approx(3.0), 4.0)
    assert first.engine == "joint"  # what "auto" takes on a hundred nodes
    assert told[0] == (0, 8, "reaction_rate, noise 1 %, joint")
    assert (1, 8, "reaction_rate, noise 1 %, quick") in told
    assert not any("gone" in what for _, _, what in told)


def test_the_peer_gets_the_data_of_the_seed(others):
    versus.run(["reaction_rate"], [0.1], seeds=range(2))
    made = case("reaction_rate")
    assert others.seen == [float(made.observations(0.1, s).dataset["u"].sum()) for s in (0, 1)]


def test_peers_without_a_result_say_why_and_stop_no_other(others):
    table = versus.run(["reaction_rate", "langevin"], [0.01], seeds=range(1))
    notes = {(r.case, r.peer): r.note for r in table.rows}
    assert notes["reaction_rate", "quick"] == ""
    assert 'pip install "mollifier[peers]"' in notes["reaction_rate", "gone"]
    assert "a_module_that_is_not_there" in notes["reaction_rate", "gone"]
    assert notes["langevin", "quick"] == "is run on reaction_rate only"
    assert notes["langevin", "faulty"] == "failed: ZeroDivisionError: oops"
    assert sum("pip install" in n for n in table.notes()) == 1
    assert "| reaction_rate | 1 % | gone | - |" in table.to_markdown()


def test_without_a_case_only_what_peers_are_run_on(others):
    table = versus.run(noises=[0.01], seeds=range(1))
    assert {(r.case, r.peer) for r in table.rows} == {
        ("langevin", "faulty"),
        ("reaction_rate", "quick"),
        ("reaction_rate", "gone"),
    }


def test_the_caption_says_how_peers_were_tuned(others):
    assert "quick: A guess. It is not tuned." in versus.run(["langevin"], seeds=range(1)).caption


def test_every_peer_says_how_it_was_tuned():
    for peer in peers.PEERS.values():
        assert "searched" in peer.tuning or "scalings" in peer.tuning
        assert set(peer.cases) <= set(versus.CASES)


def test_ctrl_c_keeps_the_seeds_that_are_done(others):
    others.stop_at = 1
    table = versus.run(["reaction_rate"], [0.01, 0.1], seeds=range(3))
    assert table.interrupted
    assert [(r.noise, r.peer, r.seeds) for r in table.rows] == [
        (0.01, "quick", 1),
        (0.01, "gone", 1),
        (0.01, "faulty", 1),
    ]


def test_ours_without_an_answer_is_told(others, monkeypatch):
    monkeypatch.setattr(versus.accuracy, "trial", lambda *_: Trial("refused", "not on this grid"))
    table = versus.run(["reaction_rate"], [0.01], "weak", seeds=range(1))
    assert "reaction_rate, weak: not on this grid" in table.notes()
    assert table.to_dict()["rows"][0]["error_ratio"] is None


def test_what_is_refused_at_once():
    with pytest.raises(ConfigurationError, match="Did you mean 'kdv'"):
        versus.run(["kdw"])
    with pytest.raises(ConfigurationError, match="Did you mean 'joint'"):
        versus.run(["kdv"], engine="jont")


def test_a_peer_that_cannot_be_imported(monkeypatch):
    monkeypatch.setitem(sys.modules, "pysindy", None)
    monkeypatch.setattr(peers, "_is_there", lambda module: True)
    made = case("burgers", nodes=33, frames=9)
    assert peers.run("pysindy", made, made.observations()).note.startswith("cannot be imported")
