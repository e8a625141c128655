"""A small problem and settings for the tests of runs."""

from __future__ import annotations

from functools import partial

import mollifier as mf
from engine_problems import heat, small
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.unknowns import FieldUnknown, ScalarUnknown

solve = partial(mf.solve, engine="network")

NEWTON = small(training={"warmup_steps": 30, "steps": 12}, collocation={"max_nodes": 100})


def problem(**unknown):
    """Small, with a field and a number, so that every kind of state is in a checkpoint."""
    data = heat(60).data
    unknowns = {"D": ScalarUnknown(**unknown), "k": FieldUnknown(over=("x",), lower=-1.0)}
    return InverseProblem("u_t = D*u_xx + k*u", data, unknowns)
