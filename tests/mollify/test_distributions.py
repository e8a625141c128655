"""Tails and quantiles beside those of scipy.stats."""

import numpy as np
import pytest
import scipy.stats as st

from mollifier.mollify import distributions as d

P = np.array([1e-9, 1e-4, 0.025, 0.3, 0.9])
X = np.array([0.1, 1.0, 4.0, 30.0])


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (d.normal_upper(P), st.norm.isf(P)),
        (d.normal_tail(X), st.norm.sf(X)),
        (d.chi2_upper(P, 7.5), st.chi2.isf(P, 7.5)),
        (d.chi2_tail(X, 7.5), st.chi2.sf(X, 7.5)),
        (d.student_upper(P, 4.0), st.t.isf(P, 4.0)),
        (d.student_tail(X, 4.0), st.t.sf(X, 4.0)),
        (d.fisher_upper(P, 40, 60), st.f.isf(P, 40, 60)),
        (d.beta_upper(P, 20, 3), st.beta.isf(P, 20, 3)),
    ],
)
def test_distributions_equal_scipy_stats(found, expected):
    """Far tails included."""
    np.testing.assert_allclose(found, expected, rtol=1e-8)


def test_ranks_equal_scipy_stats():
    """Ties share their mean rank."""
    values = np.random.default_rng(0).integers(0, 20, 200)
    np.testing.assert_array_equal(d.ranks(values), st.rankdata(values))
