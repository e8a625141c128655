"""Held-out samples and their misfit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mollifier.data.observations import Observations
from mollifier.engines.collocated.linearise import Linearisation
from mollifier.engines.collocated.objective import Objective, Target
from mollifier.mollify.arrays import Array, Index


@dataclass(frozen=True)
class HeldOut:
    """Samples that are not fitted."""

    #: Of a field, and its samples' places among the block's, values and standard errors.
    targets: Sequence[tuple[Target, Index, Array, Array]]

    @classmethod
    def of(cls, objective: Objective, held: Observations | None, fewest: int) -> HeldOut | None:
        """Those of all fields that are fitted; None where there are fewer than ``fewest``."""
        if held is None:
            return None
        targets = []
        for t in objective.targets:
            s = held.samples(t.name).floored(t.floor)
            place = objective.model.places[t.block].index(s.points)
            targets.append((t, place, s.values, s.sd))
        return cls(targets) if sum(len(t[2]) for t in targets) >= fewest else None

    def misfits(self, linearisation: Linearisation, nodes: list[Array]) -> Array:
        """Squared misfits in standard errors, shape (samples,)."""
        return np.concatenate(
            [
                np.square((linearisation.measured(t, nodes)[place] - values) / sd)
                for t, place, values, sd in self.targets
            ]
        )
