"""The power of waves in lines of data, without that of the noise."""

import numpy as np
import pytest

from mollifier.mollify.bandwidth import signal_spectrum


@pytest.mark.parametrize("periodic", [True, False])
def test_signal_spectrum_leaves_out_noise(periodic):
    """A wave of amplitude 1 has the power n/4 at its number, n the nodes of its period; noise has none."""
    n = 128
    turns = 2 * np.arange(n) / n if periodic else np.linspace(0, 1, n)
    noise = 0.3 * np.random.default_rng(0).standard_normal((60, n))
    signal = signal_spectrum(np.sin(5 * np.pi * turns) + noise, periodic, 0.09)
    assert signal[5] == pytest.approx((n if periodic else 2 * n - 2) / 4, rel=0.05)
    assert np.argmax(signal) == 5
    assert not signal[20:].any()
