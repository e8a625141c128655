"""Studies of what the program finds hard, each a `Case` or several, for ``python -m benchmarks coverage``.

A study is one entry of `STUDIES`: a name and a function without arguments that makes its case, in a module
beside this one. The truth comes from another scheme than the engines', and `store.simulated` keeps it; it is
not judged where it is NaN. What should differ from seed to seed beyond the noise is drawn from the seed, as
places are (`Case.points`); another medium is another case, as ``darcy-0`` and ``darcy-1``. One line repeats
the figures, for example::

    python -m benchmarks coverage ring l-shape l-corner --first 30 --seeds 6
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from benchmarks.cases import darcy, shapes
from benchmarks.cases.base import Case
from benchmarks.cases.registry import case

_MEDIA = (0, 1, 2, 3, 10, 11, 12, 20, 21, 22, 23, 24)

STUDIES: dict[str, Callable[[], Case]] = {
    # Small grids: at a viscosity of 0.01/pi the front would be narrower than a cell.
    "burgers-small": partial(case, "burgers", nodes=64, frames=33, nu=0.03 / np.pi),
    "kdv-small": partial(case, "kdv", nodes=64, frames=41),
    # Media drawn with several seeds.
    **{f"darcy-{i}": partial(darcy.build, i) for i in _MEDIA},
    **{f"darcy-two-{i}": partial(darcy.build, i, two_valued=True) for i in _MEDIA},
    **{f"darcy-two-tv-{i}": partial(darcy.build, i, two_valued=True, prior="tv") for i in _MEDIA},
    **{f"wells-60-{i}": partial(darcy.build, i, wells=60) for i in (*range(10, 16), *range(40, 50))},
    **{f"wells-200-{i}": partial(darcy.build, i, wells=200) for i in range(10, 16)},
    # Domains; the last is judged within 0.3 of the corner that points inwards.
    "ring": partial(shapes.build, "ring"),
    "l-shape": shapes.build,
    "l-corner": partial(shapes.build, near=0.3),
}
