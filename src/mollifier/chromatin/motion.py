"""Nuclei that move: followed from frame to frame by the overlap of their labels, and brought to rest.

A frame is read at places ``X -> sum_k c_k p_k(X)``, with p_k the monomials up to a degree: first with
translations and rotations alone, then with all coefficients, by Gauss-Newton steps on the squared difference
from the frames before (Lucas and Kanade, IJCAI 1981). Low degrees leave domains free to move.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, center_of_mass, find_objects, gaussian_filter, map_coordinates
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array

from mollifier.chromatin.rasters import pixel_spacing
from mollifier.errors import DataError

Array = NDArray[np.float64]

# Smallest overlap of two labels of one nucleus, as intersection over union.
_LEAST = 0.1


def tracked(labels: xr.DataArray) -> xr.DataArray:
    """Labels of one number for each nucleus, from labels that were numbered frame by frame.

    A label continues the nucleus of the frame before that it overlaps, so that the sum of all intersections
    over unions is largest (linear assignment). Others begin a new nucleus; a nucleus that is missing in a
    frame ends. Nuclei must move by less than their width between frames. Labels are integers over x, y and t;
    0 is outside.
    """
    picked = labels.transpose("x", "y", "t")
    array = picked.values.astype(np.int64)
    found = np.zeros_like(array)
    found[..., 0], count = array[..., 0], int(array[..., 0].max(initial=0))
    for k in range(1, array.shape[-1]):
        now = array[..., k]
        table = np.zeros(int(now.max(initial=0)) + 1, dtype=np.int64)
        for old, new in _pairs(found[..., k - 1], now):
            table[new] = old
        for new in np.unique(now[now > 0]):
            if not table[new]:
                table[new] = count = count + 1
        found[..., k] = table[now]
    return picked.copy(data=found)


def _pairs(before: NDArray[np.int64], now: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Labels of two frames that belong together."""
    both = (before > 0) & (now > 0)
    size = int(before.max(initial=0)) + 1, int(now.max(initial=0)) + 1
    shared = coo_array((np.ones(int(both.sum())), (before[both], now[both])), shape=size).toarray()
    areas = [np.bincount(a.ravel(), minlength=n) for a, n in zip((before, now), size, strict=True)]
    union = areas[0][:, None] + areas[1] - shared
    share = shared / np.maximum(union, 1)
    rows, columns = linear_sum_assignment(share, maximize=True)
    return [(int(i), int(j)) for i, j in zip(rows, columns, strict=True) if share[i, j] > _LEAST]


@dataclass(frozen=True)
class RegistrationTuning:
    """Numbers that steer the registration; lengths in pixels."""

    degree: int = 2  #: Of the monomials.
    #: Standard deviations of the Gaussians before the frames are compared, one after the other.
    smoothing: tuple[float, ...] = (4.0, 1.5)
    margin: int = 4  #: Width of the ring around the nucleus that is compared too.
    #: Most steps, and the rms movement in pixels that ends them.
    steps: int = 15
    least: float = 0.01
    #: Strength of the ridge on coefficients above the first degree, relative to the information.
    stiff: float = 1e-3
    keep: float = 0.7  #: Weight of the frames before in the running mean that a frame is compared with.
    #: Smallest overlap of a frame's mask with the nucleus at rest, as intersection over union.
    overlap: float = 0.85


DEFAULT = RegistrationTuning()


def at_rest(
    image: xr.DataArray, mask: xr.DataArray, tuning: RegistrationTuning = DEFAULT
) -> tuple[xr.DataArray, xr.DataArray]:
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
    box = _box(inside[..., 0], 2 * tuning.margin)
    place = _Place(box, tuning.degree)
    values = frames.values.astype(np.float64)
    rest = np.empty((*place.shape, values.shape[-1]))
    masks = np.empty(rest.shape, dtype=bool)
    near: Any = binary_dilation(inside[..., 0], iterations=tuning.margin)[box]
    moved, mean = place.identity, None
    for k in range(values.shape[-1]):
        if k:
            moved = moved.copy()
            moved[:, 0] += np.subtract(*(center_of_mass(inside[..., f]) for f in (k, k - 1)))
        level = values[..., k][inside[..., k]].mean()
        seen = values[..., k] / level
        if mean is not None:
            moved = _matched(mean, seen, near, moved, place, tuning)
        rest[..., k] = place.read(values[..., k], moved, order=3, outside=np.nan)
        masks[..., k] = place.read(inside[..., k].astype(float), moved, order=1) > 0.5
        shown = place.read(seen, moved, order=1)
        mean = shown if mean is None else tuning.keep * mean + (1 - tuning.keep) * shown
    found = masks.mean(-1) > 0.5
    shared = [(found & m).sum() / max((found | m).sum(), 1) for m in np.moveaxis(masks, -1, 0)]
    worst = int(np.argmin(shared))
    if shared[worst] < tuning.overlap:
        raise DataError(
            f"The nucleus of frame {worst + 1} covers {shared[worst]:.0%} of that of the others after "
            f"registration; {tuning.overlap:.0%} or more was expected. Is it the same nucleus, and is its "
            "outline right?"
        )
    coords = {c: frames[c][b] for c, b in zip(("x", "y"), box, strict=True)}
    still = xr.DataArray(found, coords, ("x", "y"), "inside")
    return xr.DataArray(rest, {**coords, "t": frames["t"]}, ("x", "y", "t"), attrs=image.attrs), still


def _box(inside: NDArray[np.bool_], margin: int) -> tuple[slice, slice]:
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


def _matched(
    mean: Array, frame: Array, near: NDArray[np.bool_], moved: Array, place: _Place, t: RegistrationTuning
) -> Array:
    """Coefficients that bring a frame onto the mean of those before."""
    for smoothing in t.smoothing:
        target = gaussian_filter(mean, smoothing)[near]
        smooth = gaussian_filter(frame, smoothing)
        slopes = np.gradient(smooth)
        basis = place.basis[near.ravel()]
        for rigid in (True, False):
            for _ in range(t.steps):
                spots = moved @ basis.T
                seen, gx, gy = (map_coordinates(f, spots, order=1, mode="nearest") for f in (smooth, *slopes))
                if rigid:
                    moved = _turned(moved, spots, target - seen, gx, gy)
                else:
                    moved = moved + _bent(basis, target - seen, gx, gy, place.high, t.stiff)
                if np.sqrt(np.mean((moved @ basis.T - spots) ** 2)) < t.least:
                    break
    return moved


def _turned(moved: Array, spots: Array, left: Array, gx: Array, gy: Array) -> Array:
    """A step of translation and rotation about the centre."""
    centre = spots.mean(1)
    x, y = spots - centre[:, None]
    jacobian = np.stack([gx, gy, gy * x - gx * y], axis=1)
    *shift, angle = np.linalg.lstsq(jacobian, left, rcond=None)[0]
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    new = moved.copy()
    new[:, 0] -= centre
    new = turn @ new
    new[:, 0] += centre + shift
    return new


def _bent(basis: Array, left: Array, gx: Array, gy: Array, high: NDArray[np.bool_], stiff: float) -> Array:
    """A step of all coefficients."""
    jacobian = np.hstack([gx[:, None] * basis, gy[:, None] * basis])
    information = jacobian.T @ jacobian
    ridge = stiff * np.trace(information) / len(information) * np.where(np.tile(high, 2), 1.0, 1e-6)
    step: Any = np.linalg.solve(information + np.diag(ridge), jacobian.T @ left)
    return step.reshape(2, -1)
