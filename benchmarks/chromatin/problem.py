"""The problem of a nucleus as the engines of `mollifier.solve` take it."""

from __future__ import annotations

import xarray as xr

from mollifier.chromatin.model import RATE, ChromatinModel
from mollifier.data.observations import Observations
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.unknowns import FieldUnknown


def posed(fields: xr.Dataset, model: ChromatinModel) -> InverseProblem:
    """phi_h in scaled units, from fields as of `mollifier.chromatin.infer.infer_rate` whose phi_n is even.

    The engines impose no flux condition at the edge: pixels outside the nucleus are missing data.
    """
    known = fields["phi_d"].notnull()
    data = fields.where(known.all("t") if "t" in known.dims else known, drop=True)
    level = float(data["phi_n"].mean())
    unit = {"x": model.length, "y": model.length, "t": model.time}
    place = {str(c): data[c].values / unit[str(c)] for c in data["phi_d"].dims}
    content = xr.Dataset({"phi_h": (data["phi_d"] + 1 - level) / 2, "sd": data["phi_d_sd"] / 2})
    observed = Observations.from_dataset(
        content.assign_coords(place).transpose("x", "y", ...).drop_attrs(), noise={"phi_h": "sd"}
    )
    text = model.scaled().equation(still="t" not in known.dims)
    left, right = text.replace("chromatin", f"{1 - level:.12g}").removesuffix(" + source").split(" = ")
    unknown = FieldUnknown(over=("x", "y"), lower=0.0, prior="h2")
    return InverseProblem(f"{left} - ({right}) = 0", observed, {RATE: unknown}, fields=["phi_h"])
