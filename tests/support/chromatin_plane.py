"""A plane of localisations and a disc in it."""

from __future__ import annotations

import numpy as np

SIDE = 6_000.0
FIELD = (0.0, SIDE, 0.0, SIDE)
ANGLE = np.linspace(0, 2 * np.pi, 200, endpoint=False)
DISC = np.stack([3_000 + 2_500 * np.cos(ANGLE), 3_000 + 2_500 * np.sin(ANGLE)], axis=1)
