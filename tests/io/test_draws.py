"""Random numbers given as a seed, a generator or None."""

import numpy as np
import pytest

import mollifier as mf
from mollifier.errors import ConfigurationError
from mollifier.io.draws import generator, seed_of


def noisy(rng):
    x = np.linspace(0, 1, 30)
    return mf.Observations({"u": x}, {"x": x}).add_noise(0.1, rng).dataset["u"].values


def test_rng_seeds_and_generators_repeat():
    """A seed and a generator of that seed draw the same; a generator moves on."""
    np.testing.assert_array_equal(noisy(3), noisy(np.random.default_rng(3)))
    np.testing.assert_array_equal(noisy(3), noisy(np.random.PCG64(3)))
    shared = np.random.default_rng(3)
    assert not np.array_equal(noisy(shared), noisy(shared))


def test_rng_none_is_fresh():
    """Without a seed draws differ, and the global state of NumPy is left alone."""
    before = np.random.get_state()[1].copy()
    assert not np.array_equal(noisy(None), noisy(None))
    assert seed_of(None) != seed_of(None)
    np.testing.assert_array_equal(np.random.get_state()[1], before)


@pytest.mark.parametrize("bad", [-1, 1.5, "seed", True])
def test_rng_of_another_kind_is_refused(bad):
    """What default_rng cannot take is our own error."""
    for verb in (generator, seed_of, noisy):
        with pytest.raises(ConfigurationError, match="whole number of 0 or more"):
            verb(bad)


def test_seed_above_63_bits_is_refused():
    """Engines take seeds of 63 bits."""
    with pytest.raises(ConfigurationError, match=r"2\*\*63"):
        seed_of(2**64)
