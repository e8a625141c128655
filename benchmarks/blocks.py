"""Data larger than memory: a Zarr movie made on the fly and solved in blocks, and a part of it in memory."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

import mollifier as mf
from benchmarks.table import Follow, Table, environment, number
from mollifier.diagnostics.compare import children

Array = NDArray[np.float64]

TRUTH = {"c": 1.0, "D": 0.05, "r": 0.3}
# Amplitude, wave numbers along x and y, phase.
WAVES = ((1.0, 1, 0, 0.0), (0.6, 2, 1, 1.0), (0.5, 1, 3, 2.0), (0.3, 4, 2, 0.5))
NOISE = 0.05
# Frames in a chunk of the store.
CHUNK = 8
# Share of the movie, from its begin, that is solved in memory too.
PART = 0.125
CAPTION = (
    "u_t + c*u_x = D*lap(u) - r*u, a movie of float64 values with noise of 0.05, seed 0; c, D and r unknown. "
    "Every solve in a freshly spawned process. Seconds: wall clock of the solve. Peak: the highest resident "
    "memory during the solve less that just before it. Standard errors: the largest distance of an estimate "
    "from the truth in its own."
)
COLUMNS: dict[str, Callable[[Row], str]] = {
    "data": lambda r: r.data,
    "frames": lambda r: f"{r.frames:,} of {r.pixels}^2",
    "GB": lambda r: number(r.gigabytes),
    "seconds": lambda r: number(r.seconds),
    "peak, MiB": lambda r: number(r.memory_mib),
    "standard errors": lambda r: number(r.errors, ".2g"),
    "status": lambda r: r.status,
}


@dataclass(frozen=True)
class Row:
    """One solve; NaN where it gave no answer."""

    data: str
    frames: int
    pixels: int
    gigabytes: float
    seconds: float = math.nan
    memory_mib: float = math.nan
    errors: float = math.nan
    status: str = ""


def make(path: Path, frames: int, pixels: int) -> None:
    """Write the movie, a chunk of frames at a time."""
    import zarr

    t = np.linspace(0, 2, frames)
    x = np.linspace(0, 2 * np.pi, pixels, endpoint=False)
    store, rng = zarr.open_group(path, mode="w"), np.random.default_rng(0)
    for name, nodes in (("t", t), ("x", x), ("y", x)):
        array = store.create_array(name, shape=nodes.shape, dtype="f8", dimension_names=[name])
        array[:] = nodes
        array.attrs.update({} if name == "t" else {"periodic": 2 * np.pi})
    shape = (frames, pixels, pixels)
    movie = store.create_array(
        "u",
        shape=shape,
        chunks=(CHUNK, *shape[1:]),
        dtype="f8",
        dimension_names=list("txy"),
        compressors=None,
    )
    movie.attrs["standard_error"] = NOISE
    for begin in range(0, frames, CHUNK):
        here = slice(begin, begin + CHUNK)
        clean = _waves(t[here], x)
        movie[here] = clean + NOISE * rng.standard_normal(clean.shape)


def _waves(t: Array, x: Array) -> Array:
    """The exact solution, shape (times, pixels, pixels)."""
    u = np.zeros((len(t), len(x), len(x)))
    for amplitude, k, m, phase in WAVES:
        decay = amplitude * np.exp(-(TRUTH["D"] * (k * k + m * m) + TRUTH["r"]) * t)
        s = k * (x - TRUTH["c"] * t[:, None]) + phase
        u += (decay[:, None] * np.sin(s))[:, :, None] * np.cos(m * x)
        u += (decay[:, None] * np.cos(s))[:, :, None] * np.sin(m * x)
    return u


def run(
    frames: Sequence[int] = (250, 500, 1000, 2000),
    pixels: int = 512,
    folder: Path | None = None,
    settings: Any = None,
    progress: Follow | None = None,
) -> Table:
    """Make and solve movies of so many frames, and the first eighth of the longest in memory.

    A script must put the call under ``if __name__ == "__main__":``. Ctrl-C ends the run and keeps what is
    done.

    Parameters
    ----------
    folder
        Where the stores are written, and deleted again; that of temporary files by default.
    settings
        As for `mollifier.solve`.
    """
    children.check_start()
    rows, stopped = list[Row](), False
    works = len(frames) + 1
    try:
        for place, (row, observed) in enumerate(_movies(frames, pixels, folder)):
            if progress is not None:
                progress(place, works, f"{row.frames:,} frames, {row.data}")
            rows.append(_solved(row, observed(), settings))
    except KeyboardInterrupt:
        stopped = True
    return Table("blocks", tuple(rows), COLUMNS, CAPTION, environment(), interrupted=stopped)


def _movies(
    frames: Sequence[int], pixels: int, folder: Path | None
) -> Iterator[tuple[Row, Callable[[], mf.Observations]]]:
    """What is solved, each while its store exists."""
    for count in frames:
        with tempfile.TemporaryDirectory(dir=folder) as place:
            path = Path(place) / "movie.zarr"
            make(path, count, pixels)
            size = 8e-9 * count * pixels**2
            yield Row("in blocks", count, pixels, size), lambda path=path: mf.read(path, chunks={})
            if count == max(frames):
                part = max(int(PART * count), 2)
                begin = xr.open_zarr(path, consolidated=False)["t"].values
                window = {"t": (None, float(begin[part - 1]))}
                yield (
                    Row("in memory", part, pixels, size * part / count),
                    lambda path=path, window=window: mf.read(path, window=window, chunks={}).load(),
                )


def _solved(row: Row, observed: mf.Observations, settings: Any) -> Row:
    unknowns = {n: mf.ScalarUnknown() for n in TRUTH}
    payload = children.portable(mf.InverseProblem("u_t + c*u_x = D*lap(u) - r*u", observed, unknowns))
    assert payload is not None
    found = children.run_apart(payload, children.Task("weak", 0, settings, environment()["threads"]))
    solution = found.solution
    if solution is None:
        return Row(row.data, row.frames, row.pixels, row.gigabytes, status=found.message)
    errors = (abs(e.value - TRUTH[n]) / (e.sd or math.nan) for n, e in solution.estimates.items())
    seconds, memory = found.seconds or math.nan, found.memory or math.nan
    measured = seconds, memory, max(errors), solution.status.name
    return Row(row.data, row.frames, row.pixels, row.gigabytes, *measured)
