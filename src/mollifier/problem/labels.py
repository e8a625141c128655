"""Coordinates that only number independent curves, such as subjects, and the samples of each curve."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from mollifier.data.observations import Samples
from mollifier.mollify.arrays import Index
from mollifier.problem.inverse_problem import InverseProblem

# Most curves, and the least samples of one on average, for which each is fitted separately.
_MOST_CURVES, _LEAST_SAMPLES = 1000, 3


def labels(problem: InverseProblem) -> tuple[str, ...]:
    """Coordinates whose values the equations do not relate: neighbours may have nothing in common.

    Those that the problem calls experiments, or else those that show it: nothing is differentiated along
    them, no unknown field varies over them, and every combination of their values has been measured several
    times, so that each has its own curve. Scattered places without repeats are not among them: there the
    fields have to be smooth.

    >>> from mollifier import Observations, ScalarUnknown
    >>> subject, t = np.repeat(np.arange(5.0), 6), np.tile(np.arange(6.0), 5)
    >>> obs = Observations({"u": np.exp(-0.4 * t) * (1 + subject)}, {"id": subject, "t": t}, noise=0.01)
    >>> labels(InverseProblem("u_t = -k*u", obs, {"k": ScalarUnknown()}))
    ('id',)
    """
    if problem.experiments:
        return problem.experiments
    varied = {c for u in problem.unknown_fields.values() for c in u.over or ()} | {*problem.data.periodic}
    found = [c for c in problem.coordinates if c not in varied and not problem.system.order_along(c)]
    if not found or len(found) == len(problem.coordinates):
        return ()
    for f in problem.fields:
        s = problem.data.samples(f)
        if not set(found) <= set(s.coordinates):
            return ()
        place = s.over(found)
        curves = len(np.unique(place, axis=0))
        whole = curves == np.prod([len(np.unique(x)) for x in place.T])
        if not whole or curves > _MOST_CURVES or len(place) < _LEAST_SAMPLES * curves:
            return ()
    return tuple(found)


def curves(samples: Samples, apart: Sequence[str]) -> Iterator[tuple[Index, Samples]]:
    """The samples of each combination of labels: their rows, and themselves without the labels.

    >>> points = np.array([[0.0, 1.0], [0.0, 2.0], [5.0, 1.0]])
    >>> [rows.tolist() for rows, _ in curves(Samples(("id", "t"), points, np.ones(3), np.ones(3)), ["id"])]
    [[0, 1], [2]]
    """
    if not apart:
        yield np.arange(len(samples.values)), samples
        return
    kept = [c for c in samples.coordinates if c not in apart]
    others = samples.over(c for c in samples.coordinates if c in apart)
    which = np.unique(others, axis=0, return_inverse=True)[1].ravel()
    for k in range(int(which.max(initial=-1)) + 1):
        rows = np.flatnonzero(which == k)
        yield rows, samples.part(rows, kept)
