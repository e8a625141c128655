"""Time-lapse images of one nucleus made ready: at rest, and without the fading of the dye.

A frame of a moving nucleus is read at places ``X -> sum_k c_k p_k(X)``, with p_k the monomials up to a
degree: first with those of the first degree alone, then with all coefficients, by Gauss-Newton steps on the
squared difference from the frames before (Lucas and Kanade, IJCAI 1981). Low degrees leave domains free to
move.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr
from scipy.ndimage import binary_dilation, center_of_mass, find_objects, gaussian_filter, map_coordinates

from mollifier.chromatin.fractions import Thresholds, background, camera_from_image, mixed
from mollifier.chromatin.nucleus_data import NucleusData
from mollifier.chromatin.rasters import pixel_spacing
from mollifier.chromatin.resolution import FWHM
from mollifier.chromatin.settings import StudySettings
from mollifier.errors import ConfigurationError, DataError
from mollifier.mollify.arrays import Array, Mask

# Numbers that steer the registration; lengths in pixels.

_DEGREE = 2  # Of the monomials.
# Standard deviations of the Gaussians before the frames are compared, one after the other.
_SMOOTHING = (4.0, 1.5)
_MARGIN = 4  # Width of the ring around the nucleus that is compared too.
# Most steps, and the rms movement in pixels that ends them.
_STEPS = 15
_LEAST_MOVE = 0.01
# Strength of the ridge on coefficients above the first degree, relative to the information.
_STIFF = 1e-3
_KEEP = 0.7  # Weight of the frames before in the running mean that a frame is compared with.
# Smallest overlap of a frame's mask with the nucleus at rest, as intersection over union.
_OVERLAP = 0.85


def at_rest(image: xr.DataArray, mask: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """The frames in the coordinates of the first, and the mask of the nucleus in them.

    ``image`` is over x, y (nm, square pixels) and t, ``mask`` the nucleus in every frame, on the same pixels
    or some of them. The image at rest covers a box around the nucleus in the first frame (x, y, t), NaN where
    a frame ends; its values are those at the moved places: a fraction or a concentration, not an amount. Its
    mask (x, y) holds the pixels inside in more than half of the frames.

    Raises `DataError` if the nucleus of a frame does not come to lie on that of the first.
    """
    frames = image.transpose("x", "y", "t")
    none: Any = False
    inside = mask.reindex(x=frames["x"], y=frames["y"], method="nearest", tolerance=1e-3, fill_value=none)
    inside = inside.transpose("x", "y", "t").values.astype(bool)
    pixel_spacing(frames.isel(t=0, drop=True))
    box = _box(inside[..., 0], 2 * _MARGIN)
    place = _Place(box, _DEGREE)
    values = frames.values.astype(np.float64)
    rest = np.empty((*place.shape, values.shape[-1]))
    masks = np.empty(rest.shape, dtype=bool)
    near: Any = binary_dilation(inside[..., 0], iterations=_MARGIN)[box]
    moved, mean = place.identity, None
    for k in range(values.shape[-1]):
        if k:
            moved = moved.copy()
            moved[:, 0] += np.subtract(*(center_of_mass(inside[..., f]) for f in (k, k - 1)))
        level = values[..., k][inside[..., k]].mean()
        seen = values[..., k] / level
        if mean is not None:
            moved = _matched(mean, seen, near, moved, place)
        rest[..., k] = place.read(values[..., k], moved, order=3, outside=np.nan)
        masks[..., k] = place.read(inside[..., k].astype(float), moved, order=1) > 0.5
        shown = place.read(seen, moved, order=1)
        mean = shown if mean is None else _KEEP * mean + (1 - _KEEP) * shown
    found = masks.mean(-1) > 0.5
    shared = [(found & m).sum() / max((found | m).sum(), 1) for m in np.moveaxis(masks, -1, 0)]
    worst = int(np.argmin(shared))
    if shared[worst] < _OVERLAP:
        raise DataError(
            f"The nucleus of frame {worst + 1} covers {shared[worst]:.0%} of that of the others after "
            f"registration; {_OVERLAP:.0%} or more was expected. Is it the same nucleus, and is its "
            "outline right?"
        )
    coords = {c: frames[c][b] for c, b in zip(("x", "y"), box, strict=True)}
    still = xr.DataArray(found, coords, ("x", "y"), "inside")
    return xr.DataArray(rest, {**coords, "t": frames["t"]}, ("x", "y", "t"), attrs=image.attrs), still


def _box(inside: Mask, margin: int) -> tuple[slice, slice]:
    near = find_objects(inside.astype(np.int8))[0]
    ends = zip(near, inside.shape, strict=True)
    rows, columns = (slice(max(s.start - margin, 0), min(s.stop + margin, n)) for s, n in ends)
    return rows, columns


class _Place:
    """The pixels of a box, and the monomials on them, which map them into a frame."""

    def __init__(self, box: tuple[slice, slice], degree: int) -> None:
        self.shape = box[0].stop - box[0].start, box[1].stop - box[1].start
        i, j = np.meshgrid(*(np.arange(b.start, b.stop, dtype=float) for b in box), indexing="ij")
        self.half = max(self.shape) / 2
        middle = [(b.start + b.stop - 1) / 2 for b in box]
        x, y = ((p.ravel() - m) / self.half for p, m in zip((i, j), middle, strict=True))
        powers = [(p, q) for total in range(degree + 1) for p in range(total, -1, -1) for q in (total - p,)]
        self.basis = np.stack([x**p * y**q for p, q in powers], axis=1)
        self.high = np.array([p + q > 1 for p, q in powers])
        # Coefficients of 1, x and y: pixels of the frame.
        self.identity = np.zeros((2, len(powers)))
        self.identity[:, 0] = middle
        self.identity[0, 1] = self.identity[1, 2] = self.half

    def read(self, frame: Array, moved: Array, order: int, outside: float | None = None) -> Array:
        """A frame at the moved pixels, over the box."""
        how: Any = {"mode": "nearest"} if outside is None else {"mode": "constant", "cval": outside}
        return map_coordinates(frame, moved @ self.basis.T, order=order, **how).reshape(self.shape)


def _matched(mean: Array, frame: Array, near: Mask, moved: Array, place: _Place) -> Array:
    """Coefficients that bring a frame onto the mean of those before, first without those of high degree."""
    basis = place.basis[near.ravel()]
    for smoothing in _SMOOTHING:
        target = gaussian_filter(mean, smoothing)[near]
        smooth = gaussian_filter(frame, smoothing)
        slopes = np.gradient(smooth)
        for free in (~place.high, np.ones_like(place.high)):
            for _ in range(_STEPS):
                spots = moved @ basis.T
                seen, gx, gy = (map_coordinates(f, spots, order=1, mode="nearest") for f in (smooth, *slopes))
                jacobian = np.hstack([gx[:, None] * basis[:, free], gy[:, None] * basis[:, free]])
                information = jacobian.T @ jacobian
                stiff = np.where(np.tile(place.high[free], 2), _STIFF, 1e-6 * _STIFF)
                information += np.diag(stiff * np.trace(information) / len(information))
                moved = moved.copy()
                moved[:, free] += np.linalg.solve(information, jacobian.T @ (target - seen)).reshape(2, -1)
                if np.sqrt(np.mean((moved @ basis.T - spots) ** 2)) < _LEAST_MOVE:
                    break
    return moved


_LEAST = 4  # Fewest frames of the fit.


@dataclass(frozen=True)
class Bleaching:
    """An exponential decay of the signal."""

    #: Decay rate and its standard error, 1/s.
    rate: float
    sd: float
    start: float  #: Time of the first frame, s, whose signal is kept.

    def factor(self, times: Array, errors: float = 0.0) -> Array:
        """By which the signal at these times is multiplied, with the rate some standard errors off."""
        return np.exp((self.rate + errors * self.sd) * (times - self.start))


def flicker(level: Array) -> float:
    """Relative standard deviation of a mean signal from frame to frame, from its second differences.

    >>> t, rng = np.arange(2000.0), np.random.default_rng(0)
    >>> round(flicker(np.exp(-t / 500) * (1 + 0.01 * rng.standard_normal(2000))), 3)
    0.01
    """
    second = np.diff(np.log(level), 2)
    return float(np.sqrt(np.mean(second**2) / 6)) if second.size else 0.0


def fitted(signal: xr.DataArray, mask: xr.DataArray, until: float | None = None) -> Bleaching:
    """The decay of the mean signal of a nucleus.

    ``signal`` is above the background, over x, y and t, of a nucleus at rest with a mask over x and y. The
    logarithm of the mean is fitted by a line. Its standard error follows from the scatter about the line, in
    which neighbouring frames count as one where they are alike: what the chromatin itself does to the total
    signal scatters slowly. Only frames up to the time ``until`` of a treatment, s, are fitted, because it
    changes the total signal too; without one the total of the marks is assumed constant.

    Raises `DataError` if there are fewer than four frames, or no signal.
    """
    level = signal.where(mask > 0).mean(("x", "y"))
    times = level["t"].values.astype(float)
    kept = np.ones(len(times), dtype=bool) if until is None else times <= until
    if kept.sum() < _LEAST:
        before = "" if until is None else " before the treatment"
        raise DataError(
            f"There are {kept.sum()} frames{before}; the fading of a dye is fitted to {_LEAST} or more."
        )
    values = level.values[kept]
    if not (values > 0).all():
        raise DataError("The signal of the nucleus is not above the background in every frame.")
    t = times[kept] - times[kept].mean()
    logs = np.log(values)
    slope = float(t @ logs / (t @ t))
    left = logs - logs.mean() - slope * t
    free = max(len(t) - 2, 1)
    # Correlation of neighbours widens the error as that of a first-order autoregression does.
    alike = float(np.clip(left[1:] @ left[:-1] / max(left @ left, 1e-30), 0.0, 0.9))
    sd = float(np.sqrt(left @ left / free / (t @ t) * (1 + alike) / (1 - alike)))
    return Bleaching(-slope, sd, float(times[0]))


@dataclass(frozen=True, eq=False)
class Settled:
    """A nucleus that is ready for its fractions."""

    #: With a mask without time. Its image is a dataset of the signal with its standard error, like a density,
    #: whose attribute ``background`` is the level without a nucleus.
    sample: NucleusData
    bleaching: Bleaching | None = None  #: Of the dye; None if it was not fitted.
    flicker: float = 0.0  #: Relative standard deviation of the brightness from frame to frame.

    def errors(self, phi: xr.Dataset, position: float) -> xr.Dataset:
        """Changes of the fractions ``phi`` by errors that all pixels of a frame have in common.

        ``phi_d_drift`` and ``phi_n_drift`` are those of a fading one standard error faster, and
        ``phi_d_shaken`` and ``phi_n_shaken`` those of a frame that is one standard deviation brighter, or
        moved along x or y by ``position`` pixels.
        """
        if "t" not in phi["signal"].dims:
            return xr.Dataset()
        levels, signal = Thresholds.of(phi), phi["signal"].transpose("x", "y", "t")
        ground, times = float(levels.background or 0.0), signal["t"].values
        light = signal.values - ground
        changes = {"shaken": [self.flicker * light, *(position * g for g in np.gradient(light, axis=(0, 1)))]}
        if self.bleaching is not None:
            faster, fitted_rate = (self.bleaching.factor(times, e) for e in (1.0, 0.0))
            changes["drift"] = [light * (faster / fitted_rate - 1)]
        parts = {}
        for kind, moves in changes.items():
            moved = [mixed(signal.values + np.nan_to_num(m), levels) for m in moves]
            for name in ("phi_d", "phi_n"):
                values = np.stack([m[name] - phi[name].transpose("x", "y", "t").values for m in moved], -1)
                parts[f"{name}_{kind}"] = (("x", "y", "t", kind), values)
        return xr.Dataset(parts, {c: signal[c] for c in ("x", "y", "t")})


def settled(sample: NucleusData, settings: StudySettings) -> Settled:
    """The nucleus at rest (``follow``) and without fading (``bleaching``), as far as the settings say.

    Raises `ConfigurationError` without a time-lapse image, `DataError` if registration or the fit fails.
    """
    if not (settings.follow or settings.bleaching):
        return Settled(sample)
    image: Any = sample.image
    if image is None or "t" not in image.dims:
        kind = "localisations" if image is None else "one image"
        raise ConfigurationError(
            f"A moving nucleus (--follow) or a fading dye (--bleaching) was stated for {kind}; a time-lapse "
            "of images was expected."
        )
    camera, level, mask = camera_from_image(image), background(image, settings.thresholds), sample.mask
    if settings.follow:
        moving = mask if "t" in mask.dims else mask.expand_dims(t=image["t"]).transpose("x", "y", "t")
        image, mask = at_rest(image, moving)
    sd, fading = image.copy(data=camera.sd(image.values)), None
    if settings.bleaching:
        fading = fitted(image - level, mask, settings.treatment)
        # The error is known to no better than the total signal keeps its size without fading.
        change = settings.assume.total * settings.model.acetylation
        fading = replace(fading, sd=math.hypot(fading.sd, change))
        factor = image["t"].copy(data=fading.factor(image["t"].values))
        image, sd = level + (image - level) * factor, sd * factor
    pixel = float(image["x"][1] - image["x"][0])
    attrs = {"resolution": max(2 * pixel, FWHM * (settings.psf_sd or 0.0)), "background": level}
    attrs |= {"camera_gain": camera.gain, "camera_read_noise": camera.read_noise}
    attrs |= {} if fading is None else {"bleaching": fading.rate, "bleaching_sd": fading.sd}
    signal = xr.Dataset({"density": image, "density_sd": sd}, attrs=attrs)
    bright = (image - level).where(mask > 0).mean(("x", "y")).values
    sample = replace(sample, mask=mask, image=signal.transpose("x", "y", "t"))
    return Settled(sample, fading, flicker(bright))
