"""The paper's three problems: networks with the layer beside autodiff, and engines without networks.

The problems are those of Bhartari, Vinayak and Shenoy, arXiv:2505.11682. Every answer is sought in a process
in its own process, networks for at most the same number of seconds.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

from benchmarks.accuracy import check_levels
from benchmarks.journal import Journal
from benchmarks.paper.problems import PROBLEMS, STANDARD, Problem
from benchmarks.paper.tables import DerivativeRow, Row, derivative_table, unknown_table
from benchmarks.paper.trial import BY_NETWORK, ENGINES, METHODS, Plan, Trial, answer
from benchmarks.table import Follow, Table, checked, environment, percent
from mollifier.nn.registry import NETWORKS as KINDS

__all__ = [
    "METHODS",
    "NETWORKS",
    "PROBLEMS",
    "DerivativeRow",
    "Plan",
    "Problem",
    "Row",
    "Trial",
    "answer",
    "planned",
    "run",
]

# The architectures of the paper, and the one that is linear in its weights.
NETWORKS = ("mlp", "piratenet", "pinnsformer", "random-features")
NOISES = (0.0, 0.01, 0.05, 0.1)
# The quick run.
QUICK: dict[str, Any] = {
    "problems": ("langevin", "heat", "chromatin-pair"),
    "networks": ("mlp", "random-features"),
    "noises": (0.05,),
    "seeds": range(1),
    "seconds": 30.0,
}
# A process may take so many times the seconds it is given before it is ended: a step is not broken off.
_PATIENCE, _START = 3.0, 120.0


def planned(
    problems: Sequence[str] = STANDARD,
    networks: Sequence[str] = NETWORKS,
    methods: Sequence[str] = (*BY_NETWORK, *ENGINES),
    noises: Sequence[float] = NOISES,
    seeds: Sequence[int] = range(5),
    seconds: float = 300.0,
    threads: int | None = None,
) -> list[Plan]:
    """All that is to be tried, each network by each way to take derivatives that fits into memory.

    Raises
    ------
    ConfigurationError
        If a problem, network or method is not known, or a noise or the seeds make no sense.

    Examples
    --------
    >>> plans = planned(["langevin"], ["mlp"], ["mollifier", "nested", "weak"], [0.01], range(2))
    >>> [(p.network, p.method) for p in plans if p.seed == 0]
    [('mlp', 'mollifier'), ('mlp', 'nested'), ('', 'weak')]
    """
    checked("problem", problems, PROBLEMS)
    checked("network", networks, KINDS)
    checked("method", methods, METHODS)
    check_levels(noises, seeds)
    by = [m for m in methods if m in BY_NETWORK]
    arms = [(n, m) for n in networks for m in by] + [("", m) for m in methods if m not in by]
    arms_of = {p: [a for a in arms if not _too_large(p, *a)] for p in problems}
    count = threads or int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
    return [
        Plan(problem, noise, seed, method, network, seconds, count)
        for problem in problems
        for noise in noises
        for network, method in arms_of[problem]
        for seed in seeds
    ]


def _too_large(problem: str, network: str, method: str) -> bool:
    """Whether autodiff would take fourth derivatives through thousands of features: 17 GiB for two frames."""
    return network == "random-features" and method in ("nested", "taylor") and problem.startswith("chromatin")


def run(
    plans: Sequence[Plan], journal: Journal | None = None, progress: Follow | None = None
) -> tuple[Table, Table]:
    """Try every plan, and make the table of the unknowns and that of the derivatives.

    A script must put the call under ``if __name__ == "__main__":``. Ctrl-C ends the run and keeps the answers
    that are there.

    Parameters
    ----------
    plans
        Of `planned`.
    journal
        Where each answer is kept as it comes, and looked up before it is sought.
    progress
        Called before every answer.
    """
    journal = Journal() if journal is None else journal
    tried: dict[Plan, Trial] = {}
    stopped = False
    for done, plan in enumerate(plans):
        if progress is not None:
            what = " ".join(filter(None, [plan.network, plan.method]))
            progress(done, len(plans), f"{plan.problem}, {percent(plan.noise)}, {what}, seed {plan.seed}")
        try:
            tried[plan] = journal.once(
                vars(plan), Trial, lambda p=plan: _apart(p), lambda found: found.status != "failed"
            )
        except KeyboardInterrupt:
            stopped = True
            break
    about = environment()
    return unknown_table(tried, about, stopped), derivative_table(tried, about, stopped)


def _apart(plan: Plan, function: Callable[[Plan], Trial] = answer) -> Trial:
    """Try a plan in a freshly spawned process, which ends with this call whatever happens."""
    ours, theirs = get_context("spawn").Pipe(duplex=False)
    process = get_context("spawn").Process(target=_send, args=(theirs, function, plan), daemon=True)
    limit = _PATIENCE * plan.seconds + _START
    try:
        process.start()
        theirs.close()
        if not ours.poll(limit):
            return Trial("failed", f"ended after {limit:g} s, {_PATIENCE:g} times what it was given")
        found: Any = ours.recv()
        return found
    except EOFError:
        process.join()
        return Trial("failed", f"its process ended with exit code {process.exitcode} before it had an answer")
    finally:
        process.kill()
        process.join()
        process.close()
        ours.close()


def _send(pipe: Connection, function: Callable[[Plan], Trial], plan: Plan) -> None:
    """Entry of the process."""
    pipe.send(function(plan))
