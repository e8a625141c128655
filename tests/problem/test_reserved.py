"""Names that a solution needs are refused by the problem, before anything is solved."""

import numpy as np
import pytest
import xarray as xr

import mollifier as mf
from mollifier.errors import ConfigurationError

X, T = np.linspace(0, 1, 11), np.linspace(0, 1, 9)


def problem(field: str, unknown: str, kind) -> mf.InverseProblem:
    data = xr.Dataset({field: (("x", "t"), np.outer(np.sin(X), np.exp(-T)))}, {"x": X, "t": T})
    return mf.InverseProblem(f"{field}_t = {unknown}*{field}_xx", data=data, unknowns={unknown: kind})


@pytest.mark.parametrize(
    ("field", "unknown", "kind"),
    [
        ("u", "residual", mf.ScalarUnknown()),
        ("u", "residual_2", mf.FieldUnknown(over="x")),
        ("residual", "D", mf.ScalarUnknown()),
        ("observation", "D", mf.ScalarUnknown()),
        ("u", "loss", mf.ScalarUnknown()),
        ("u", "u_sd", mf.ScalarUnknown()),
        ("u", "u_visits", mf.ScalarUnknown()),
    ],
)
def test_reserved_name_is_refused(field, unknown, kind):
    with pytest.raises(ConfigurationError, match=r"is reserved for .*; choose another name"):
        problem(field, unknown, kind)


@pytest.mark.parametrize(
    ("field", "unknown"), [("u", "losses"), ("u", "k_eff"), ("residue", "D"), ("loss", "D")]
)
def test_reserved_name_is_not_a_similar_one(field, unknown):
    assert unknown in problem(field, unknown, mf.ScalarUnknown()).unknowns


@pytest.mark.parametrize("unknown", ["u_value", "u_visits"])
def test_reserved_name_beside_a_law_is_refused(unknown):
    """Where a law D(u) is read out: the values of u, and how often u takes them."""
    data = xr.Dataset({"u": (("x", "t"), np.outer(np.sin(X), np.exp(-T)))}, {"x": X, "t": T})
    unknowns = {"D": mf.FieldUnknown(over=("u",)), unknown: mf.ScalarUnknown()}
    with pytest.raises(ConfigurationError, match=f"'{unknown}' is reserved for"):
        mf.InverseProblem(f"u_t = dx(D(u)*u_x) + {unknown}", data=data, unknowns=unknowns)
