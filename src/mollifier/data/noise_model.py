"""The noise as a user declares it: independent standard errors, and random effects that values share.

An effect is a product over the axes: the same for all nodes of an axis, different for each, a line, or an
exponentially correlated curve. Its size is a standard deviation; that of a gain is relative to the value.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
import xarray as xr

from mollifier.data.values import is_number
from mollifier.equations.names import time_coordinate
from mollifier.errors import DataError, check_known
from mollifier.mollify.arrays import Array

EFFECTS = ("sensor_gain", "sensor_offset", "frame_gain", "frame_offset", "offset", "drift")
DISTRIBUTIONS = ("normal", "student", "log-normal")
_WORDS = ("fraction", "sd", "relative", *EFFECTS, "correlated", "distribution")

_NUGGET = 0.1  # Share of correlated noise that is independent, so that no covariance is singular.
_NEGLIGIBLE = 1e-3  # Share of the largest eigenvalue of a correlation below which it is left out.
_LEAST = 0.05  # Relative errors are those of at least this share of the rms: values near zero are not exact.


@dataclass(frozen=True)
class NoiseEffect:
    """One random effect: its kind, one of `EFFECTS` or "correlated", and its standard deviation.

    That is in the unit of the field; of a gain, relative to the value. "correlated" is so along an axis, over
    a length.
    """

    kind: str
    sd: float
    along: str = ""
    length: float = 0.0

    @property
    def gain(self) -> bool:
        """Whether it multiplies the value."""
        return self.kind.endswith("gain")

    def factors(self, nodes: Mapping[str, Array]) -> list[Array]:
        """For each axis the shapes of the effect along it, (nodes, shapes)."""
        apart, time = self._apart(list(nodes)), time_coordinate(nodes)
        return [np.eye(x.size) if n in apart else self._curve(n, x, time) for n, x in nodes.items()]

    def at(self, places: Mapping[str, Array]) -> sp.csr_array:
        """The shapes of the effect at places, (n,) along each coordinate: (n, shapes), times its deviation.

        >>> x, t = np.array([0.0, 0.0, 1.0]), np.array([0.0, 1.0, 0.0])
        >>> NoiseEffect("sensor_offset", 0.1).at({"x": x, "t": t}).toarray().tolist()
        [[0.1, 0.0], [0.1, 0.0], [0.0, 0.1]]
        """
        apart, time = self._apart(list(places)), time_coordinate(places)
        count = next(iter(places.values())).size
        labels = np.stack([np.zeros(count), *(places[n] for n in apart)])
        group = np.unique(labels, axis=1, return_inverse=True)[1].reshape(-1, 1)
        curve = np.full((count, 1), self.sd)
        for n, x in places.items():
            if n not in apart:
                nodes, node = np.unique(x, return_inverse=True)
                curve = curve * self._curve(n, nodes, time)[node]
        k = curve.shape[1]
        column = group * k + np.arange(k)
        starts, shape = np.arange(0, column.size + 1, k), (count, int(column.max()) + 1)
        return sp.csr_array((curve.ravel(), column.ravel(), starts), shape=shape)

    def _apart(self, names: Sequence[str]) -> list[str]:
        """Coordinates along each value of which there are other coefficients."""
        time = time_coordinate(names)
        named = self.along if self.kind == "correlated" else "" if self.kind == "offset" else None
        if not (time if named is None else not named or named in names):
            raise DataError(
                f"noise declares '{self.kind}'{f' along {named}' if named else ''}; the field varies over "
                f"{', '.join(names)}: an axis of time, or the name of one of these, was expected."
            )
        if self.kind == "correlated":
            return [n for n in names if n != self.along]
        each = {"sensor": False, "frame": True}.get(self.kind.split("_")[0])
        return [n for n in names if (n == time) == each]

    def _curve(self, name: str, x: Array, time: str) -> Array:
        """Shapes along an axis on which values share coefficients, (nodes, shapes)."""
        if name == self.along:
            return _correlated(x, self.length)
        if self.kind == "drift" and name == time:
            return ((x - x.mean()) / (x.std() or 1.0))[:, None]
        return np.ones((x.size, 1))


def _correlated(x: Array, length: float) -> Array:
    """Square root (nodes, k) of an exponential correlation, without its smallest eigenvalues."""
    values, vectors = np.linalg.eigh(np.exp(-np.abs(x[:, None] - x) / length))
    kept = values > _NEGLIGIBLE * values[-1]
    return vectors[:, kept] * np.sqrt(values[kept])


@dataclass(frozen=True)
class NoiseModel:
    """The noise of one variable as declared, sizes as fractions of its rms but for ``sd``.

    >>> NoiseModel.of("u", {"fraction": 0.01, "sensor_gain": 0.02}).effects
    (('sensor_gain', 0.02),)
    >>> NoiseModel.of("u", {"sensor_gian": 0.02})
    Traceback (most recent call last):
    mollifier.errors.DataError: Noise of 'u' declares 'sensor_gian', ... Did you mean 'sensor_gain'?
    """

    fraction: float | None = None
    sd: float | None = None
    relative: float = 0.0
    effects: tuple[tuple[str, float], ...] = ()
    correlated: tuple[tuple[str, float], ...] = ()
    distribution: str = "normal"

    @classmethod
    def of(cls, variable: str, given: Mapping[str, Any]) -> NoiseModel:
        """Read a mapping."""
        what = f"Noise of '{variable}'"
        check_known(
            given, _WORDS, DataError, f"{what} declares '{{}}', which is none of {', '.join(_WORDS)}."
        )
        distribution = given.get("distribution", "normal")
        check_known(
            [distribution], DISTRIBUTIONS, DataError, f"{what}: there is no distribution {distribution!r}."
        )
        correlated = given.get("correlated", {})
        if not isinstance(correlated, Mapping) or len(correlated) > 1:
            raise DataError(
                f"{what}: correlated was given as {correlated!r}; one axis and a length were expected, as "
                "correlated: {t: 0.1}."
            )
        fraction, sd, relative = (_size(what, w, given[w]) if w in given else None for w in _WORDS[:3])
        if distribution == "log-normal" and relative is None:
            fraction, relative = None, fraction
        return cls(
            fraction,
            sd,
            relative or 0.0,
            tuple((w, _size(what, w, given[w])) for w in EFFECTS if w in given),
            tuple((str(c), _size(what, "correlated", v)) for c, v in correlated.items()),
            distribution,
        )

    def settle(
        self, array: xr.DataArray, rms: float, level: Array, estimated: float | None
    ) -> float | Array | None:
        """Write the effects into the array's attributes, and give its independent standard errors.

        These are None where they are to be estimated. ``level`` is the field without most of its noise, in
        the shape of the array, whose rms is ``rms``; ``estimated`` the noise of the whole, where correlated
        noise needs a size and none was given.
        """
        sd = self.sd if self.sd is not None else None if self.fraction is None else self.fraction * rms
        effects = [NoiseEffect(k, s * (1.0 if k.endswith("gain") else rms)) for k, s in self.effects]
        for along, length in self.correlated:
            whole = sd if sd is not None else estimated or 0.0
            effects.append(NoiseEffect("correlated", whole * np.sqrt(1 - _NUGGET), along, length))
            sd = whole * np.sqrt(_NUGGET)
        declared = [*(e.kind for e in effects), *(["relative"] if self.relative else [])]
        declared += ["tails"] if self.distribution == "student" else []
        array.attrs["noise_model"] = json.dumps({"effects": [vars(e) for e in effects], "declared": declared})
        if not self.relative:
            return sd
        return np.hypot(sd or 0.0, self.relative * np.maximum(np.abs(level), _LEAST * rms))


def effects_of(array: xr.DataArray) -> tuple[NoiseEffect, ...]:
    """The random effects that were declared for a variable."""
    text = array.attrs.get("noise_model")
    return tuple(NoiseEffect(**e) for e in json.loads(text)["effects"]) if isinstance(text, str) else ()


def declared_in(array: xr.DataArray) -> tuple[str, ...]:
    """The kinds of structure that were declared for a variable."""
    text = array.attrs.get("noise_model")
    return tuple(json.loads(text)["declared"]) if isinstance(text, str) else ()


def smoothed(values: Array, points: Sequence[Array] | None = None) -> Array:
    """Local parabolas along each axis, or means over the nine nearest samples where points (n,) are given.

    Parabolas are no less in size than their own error. A missing value counts as the mean of its neighbours,
    and stays missing where none is known.
    """
    from scipy.ndimage import uniform_filter
    from scipy.signal import savgol_filter
    from scipy.spatial import KDTree

    there = np.isfinite(values)
    filled = np.where(there, values, 0.0)
    if points is not None:
        x = np.stack(points, axis=-1)
        x = (x - x.min(0)) / np.maximum(np.ptp(x, axis=0), 1e-300)
        near = KDTree(x).query(x, k=min(9, len(x)))[1].reshape(len(x), -1)
        total, count = filled[near].sum(1), there[near].sum(1)
    else:
        total, count = (uniform_filter(v, 5, mode="nearest") for v in (filled, there.astype(float)))
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(count > 1e-9, total / count, np.nan)
    if points is not None:
        return mean
    found = np.nan_to_num(np.where(there, values, mean))
    for axis, size in enumerate(values.shape):
        width = min(max(2 * (size // 12) + 3, 5), 9)  # a mean would lose waves of a few nodes
        if size >= width:
            found = savgol_filter(found, width, 2, axis=axis)
    error = uniform_filter(np.where(there, values - found, 0.0) ** 2, 5, mode="nearest")
    return np.where(np.isfinite(mean), np.copysign(np.sqrt(found**2 + error), found), np.nan)


def _size(what: str, word: str, value: Any) -> float:
    if not (is_number(value) and value >= 0):
        raise DataError(f"{what}: {word} was given as {value!r}; a number of 0 or more was expected.")
    return float(value)
