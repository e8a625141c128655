"""Ensembles: networks trained from several seeds; their mean, with their spread in the standard errors.

B. Lakshminarayanan, A. Pritzel and C. Blundell, Advances in Neural Information Processing Systems 30, 2017.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path

import numpy as np
import xarray as xr

from mollifier.diagnostics.intervals.repeats import (
    Follow,
    Repeats,
    at_places,
    gathered,
    on_grid_of,
    with_spread,
)
from mollifier.engines.registry import ENGINES
from mollifier.engines.settings import Given, settings_for
from mollifier.io.arguments import typed
from mollifier.io.draws import Rng, seed_of
from mollifier.mollify.arrays import Array
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.solution import Solution

# A member whose loss ended above so many times the least is stuck in a worse minimum, and left out.
_STUCK = 2.0


@typed("rng", "members", "processes", "executor", "settings")
def ensemble(
    problem: InverseProblem,
    members: int = 8,
    *,
    rng: Rng = 0,
    settings: Given = None,
    folder: Path | str | None = None,
    resume: bool = False,
    processes: int = 1,
    executor: Executor | None = None,
    progress: Follow | None = None,
) -> Solution:
    """Solve by the network engine from several seeds, and average.

    Members differ in the networks' starting weights and in the samples held out. The variance of an estimate
    is that between the members (from the optimiser) plus the mean of the members' variances (from the noise).
    Members without standard errors (L-BFGS, autodiff) give the first alone; `bootstrap` covers the noise. The
    other engines are deterministic, so that all their members would be the same.

    Parameters
    ----------
    problem
        The question.
    members
        How many.
    rng
        Of the first, as for `mollifier.solve`; each has the next seed.
    settings
        As for `mollifier.solve`.
    folder, resume, processes, executor
        As for `mollifier.diagnostics.intervals.repeats.Repeats`.
    progress
        Called before every member.

    Returns
    -------
    Solution
        Numbers, fields, derivatives, residuals and fitted values are the members' means; status and history
        are those of the member whose loss is least. Members whose loss is over twice that are left out;
        ``provenance["intervals"]`` says how many.

    Raises
    ------
    ConfigurationError
        If a count makes no sense, or as `mollifier.solve`.
    MollifierError
        If fewer than three members give an answer.

    Examples
    --------
    >>> import mollifier as mf
    >>> x, t = np.random.default_rng(0).random((2, 100))
    >>> u = np.exp(-0.5 * t) * np.sin(3 * x)
    >>> obs = mf.Observations(values={"u": u}, points={"x": x, "t": t}, noise={"u": 0.01})
    >>> problem = mf.InverseProblem("u_t = D*u_xx", data=obs, unknowns={"D": mf.ScalarUnknown(lower=0.0)})
    >>> small = {"network": {"width": 6, "depth": 2}, "training": {"tolerance": 0.1, "warmup_steps": 100}}
    >>> found = ensemble(problem, 3, settings={**small, "collocation": {"max_nodes": 100}})
    >>> abs(found.estimates["D"].value - 0.5 / 9) < 4 * found.estimates["D"].sd
    True
    """
    chosen, seed = settings_for(ENGINES["network"], settings), seed_of(rng)
    place = (folder, resume, processes, executor)
    plan = Repeats("ensemble", lambda _: problem, members, "network", chosen, seed, *place)
    answers = plan.run(progress)
    losses = np.array([float(a.history["loss"].values[-1]) for a in answers])
    kept = [a for a, loss in zip(answers, losses, strict=True) if loss <= _STUCK * losses.min()]
    best = answers[int(np.argmin(losses))]
    counts = {"members": members, "answers": len(answers), "averaged": len(kept)}
    notes = {"by": plan.what, **counts, "seed": seed}
    return with_spread(_mean(best, kept), spread(best, kept), plan.label(kept), notes)


def spread(best: Solution, members: Sequence[Solution]) -> dict[str, Array]:
    """Unknown -> standard error of a mixture of the members: their own variances, and that between them.

    Own ones that are missing, as of L-BFGS or of runs cut short, leave that between them; NaN for one member.
    """
    own, values = gathered(best, members, "_sd"), gathered(best, members)
    within = {n: np.mean(v**2, axis=0) for n, v in own.items()}
    if len(members) < 2:
        return {n: np.sqrt(v) for n, v in within.items()}
    return {n: np.sqrt(v.var(axis=0, ddof=1) + np.nan_to_num(within[n])) for n, v in values.items()}


def _mean(best: Solution, members: Sequence[Solution]) -> Solution:
    """The best member, with every number, field and fitted value the mean of the members'."""
    numbers = {n: np.mean([m.estimates[n].value for m in members]) for n in best.estimates}
    estimates = {n: replace(e, value=float(numbers[n])) for n, e in best.estimates.items()}

    def averaged(name: str, field: xr.DataArray) -> xr.DataArray:
        return field.copy(data=np.mean([on_grid_of(field, m.dataset, name) for m in members], axis=0))

    dataset = best.dataset.assign({str(n): averaged(str(n), v) for n, v in best.dataset.data_vars.items()})
    return replace(
        best, estimates=estimates, dataset=dataset, fit=_mean_fit(best.fit, [m.fit for m in members])
    )


def _mean_fit(fit: xr.Dataset, fits: Sequence[xr.Dataset]) -> xr.Dataset:
    """Fitted values averaged place by place: members hold out different samples, in different rows."""

    def places(f: xr.Dataset) -> Array:
        return np.stack([f[c].values for c in fit.coords], -1)

    everywhere = np.concatenate([places(f) for f in fits])
    for name in (str(n) for n in fit.data_vars if str(n).endswith("_fitted")):
        values = np.concatenate([f[name].values for f in fits])
        known, own = np.isfinite(values), np.isfinite(fit[name].values)
        mean = fit[name].values.copy()
        mean[own] = at_places(places(fit)[own], everywhere[known], values[known])
        fit = fit.assign({name: fit[name].copy(data=mean)})
    return fit
