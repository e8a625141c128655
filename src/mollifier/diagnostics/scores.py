"""Errors of an estimated field against its true values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr


@dataclass(frozen=True)
class Score:
    """Errors of a field against the truth on the truth's own grid."""

    relative_l2: float  #: ``|estimate - truth| / |truth|`` in the 2-norm.
    #: The same over points at least a tenth of the domain away from its edges, and over the others.
    interior: float
    boundary: float
    largest: float  #: Largest absolute error.
    #: Pearson's; blind to scale, so never quoted alone. NaN where one of the two does not vary.
    correlation: float

    def __str__(self) -> str:
        return (
            f"relative L2 {self.relative_l2:.4f} (interior {self.interior:.4f}), "
            f"largest error {self.largest:.3g}, correlation {self.correlation:.4f}"
        )


def score(fields: xr.Dataset, truth: xr.Dataset) -> dict[str, Score]:
    """Scores of every field that the truth holds, on any grid, interpolated to the truth's."""
    result = {}
    for name in truth.data_vars:
        if name not in fields:
            continue
        exact = truth[name]
        field = fields[name]
        # The data may end just inside the truth by rounding: the field is held constant beyond its ends.
        places = {c: exact[c].clip(field[c].min(), field[c].max()) for c in exact.dims}
        method = "cubic" if bool(field.notnull().all()) else "linear"  # of a domain with a shape
        found = field.interp(places, method=method).assign_coords({c: exact[c] for c in exact.dims})
        result[str(name)] = compare(found.transpose(*exact.dims), exact)
    return result


def compare(found: xr.DataArray, exact: xr.DataArray) -> Score:
    """Score of one field on the grid of the truth, where that is not NaN; both of the same shape.

    Relative errors are NaN where the truth is zero.

    >>> x = np.linspace(0, 1, 11)
    >>> exact = xr.DataArray(1 + x, {"x": x})
    >>> compare(1.1 * exact, exact).relative_l2
    0.1...
    """
    a, b = found.values, exact.values
    known = np.isfinite(b)
    inside = known.copy()
    for d, c in enumerate(exact.dims):
        x = exact[c].values
        margin = 0.1 * (x[-1] - x[0])
        keep = (x >= x[0] + margin) & (x <= x[-1] - margin)
        inside &= keep.reshape([-1 if i == d else 1 for i in range(b.ndim)])

    def relative(here: np.ndarray) -> float:
        size = float(np.linalg.norm(b[here]))
        return float(np.linalg.norm((a - b)[here])) / size if size else float("nan")

    whole = a[known], b[known]
    varied = bool(known.any()) and all(np.ptp(v) > 0 for v in whole)
    return Score(
        relative_l2=relative(known),
        interior=relative(inside),
        boundary=relative(known & ~inside),
        largest=float(np.abs(whole[0] - whole[1]).max(initial=0.0)),
        correlation=float(np.corrcoef(*whole)[0, 1]) if varied else float("nan"),
    )
