"""Other programs on the benchmark cases: PySINDy's weak form and ODIL, each used as well as we know how.

They are optional (``pip install "mollifier[peers]"``). They get the observations that our engines get, with
the noise they estimate, and nothing of the truth; what a choice made with the truth in sight would have given
is separate, in `Row.oracle`.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from inspect import getdoc

import numpy as np

from benchmarks.cases.base import Case
from benchmarks.peers.base import TERMS, Row
from benchmarks.peers.odil import odil_grid
from benchmarks.peers.sindy import pysindy_weak
from mollifier.data.observations import Observations
from mollifier.errors import ConfigurationError, did_you_mean

INSTALL = 'pip install "mollifier[peers]"'


@dataclass(frozen=True)
class Peer:
    """How a peer is run.

    Attributes
    ----------
    function
        Its docstring says how it was tuned.
    cases
        Names of the cases it is run on.
    needs
        Modules that have to be installed.
    """

    function: Callable[[Case, Observations], Row]
    cases: tuple[str, ...]
    needs: tuple[str, ...]

    @property
    def tuning(self) -> str:
        """How it was used and tuned, on one line."""
        return " ".join((getdoc(self.function) or "").split())


PEERS: dict[str, Peer] = {
    "pysindy": Peer(pysindy_weak, tuple(TERMS), ("pysindy",)),
    "odil": Peer(odil_grid, ("reaction_rate", "inverse_poisson", "burgers", "kdv"), ("odil", "tensorflow")),
}


def run(peer: str, case: Case, observations: Observations) -> Row:
    """One peer on one case; a row with a note where it cannot be used.

    Parameters
    ----------
    peer
        One of `PEERS`.
    case
        The case, for its form and its truth.
    observations
        On a grid.

    Raises
    ------
    ConfigurationError
        If there is no such peer.
    """
    if peer not in PEERS:
        raise ConfigurationError(f"There is no peer '{peer}'.{did_you_mean(peer, PEERS)}")
    used = PEERS[peer]
    note = refusal(peer, case, observations)
    if note:
        return Row(peer, case.name, note=note)
    try:
        with _contained():
            return used.function(case, observations)
    except ImportError as error:
        return Row(peer, case.name, note=f"cannot be imported: {error}")
    # ODIL ends the interpreter where it finds no backend; and no peer's fault may take the others along.
    except (Exception, SystemExit) as error:
        return Row(peer, case.name, note=f"failed: {type(error).__name__}: {error}")


def refusal(peer: str, case: Case, observations: Observations) -> str:
    """Why a peer cannot be run, how to install it included; empty where it can."""
    used = PEERS[peer]
    if case.name not in used.cases:
        return f"is run on {', '.join(used.cases)} only"
    if not observations.gridded:
        return "needs data on a grid"
    absent = [m for m in used.needs if not _is_there(m)]
    return f"not installed ({', '.join(absent)}): {INSTALL}" if absent else ""


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ValueError:  # what sys.modules holds in its place is no module
        return False


@contextmanager
def _contained() -> Iterator[None]:
    """Keep what the peers do to the environment, the warnings and the random state from the rest."""
    environment, state = dict(os.environ), np.random.get_state()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        os.environ.clear()
        os.environ.update(environment)
        np.random.set_state(state)


__all__ = ["INSTALL", "PEERS", "Peer", "Row", "refusal", "run"]
