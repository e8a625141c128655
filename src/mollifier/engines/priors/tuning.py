"""Numbers that steer the choice of priors of unknown fields."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pydantic import ConfigDict


@dataclass(frozen=True)
class PriorTuning:
    """The grid of shapes, how closely the evidence is searched, and what is averaged over.

    Strengths are on a natural logarithmic scale.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    orders: tuple[int, ...] = (1, 2, 3, 4)  #: Orders of the highest derivative of the Matern priors.

    #: Lengths of the Matern priors, in half-lengths of the domain, increasing.
    lengths: tuple[float, ...] = tuple(10.0 ** (i / 4) for i in range(-6, 3))

    #: Places in ``lengths`` of those with which a search without a start begins, at every order.
    first_lengths: tuple[int, ...] = (0, 2, 5)

    #: Strengths with which a search without a start begins, from that at which prior and data balance.
    first_strengths: tuple[float, ...] = tuple(4.6 * i for i in range(-4, 4))

    #: Least and greatest strength, from that at which prior and data balance.
    farthest: tuple[float, float] = (-60.0, 18.0)

    #: Logarithm of the least standard deviation of a field by its prior, in units of the field's size.
    flattest: float = -6.9

    change: float = 6.9  #: Most change of a strength in one search from a start.

    #: Strengths of a shape, evenly spaced, of which those downhill are tried before the best is refined.
    evaluations: int = 5

    near_evaluations: int = 29  #: The same where the best strength is near the present one.

    precise: float = 0.05  #: How near the best strength of the chosen shape is found.

    roughly: float = 0.5  #: The same for a shape that is only tried.

    better: float = 0.05  #: Log-evidence by which a neighbouring shape must exceed the present one.

    rounds: int = 3  #: Rounds over the fields, where several are unknown.

    step: float = 1.0  #: Spacing of the strengths that are averaged over.

    most_steps: int = 20  #: Most such strengths of a shape to each side of the best.

    depth: float = 6.0  #: Log-evidence below the greatest at which a prior no longer counts in the average.

    share: float = 0.995  #: Share of the total weight that the average keeps, heaviest priors first.

    #: Priors for edges: gradient, as a share of its rms, below which a field counts as flat.
    flat: float = 0.1

    #: Steps of expectation and maximisation in which a strength comes to vary over its field.
    adaption_steps: int = 5
    #: Log-evidence for each axis of a field by which a strength that varies must exceed one that does not;
    #: infinite: none varies.
    adapted: float = 4.0
    #: Log-evidence that a strength which varies must gain for `joint` to fit a field again with a prior for
    #: edges. Of other engines' answers see `mollifier.engines.gates.edges`.
    edged: float = 30.0
    #: Steps of expectation and maximisation in which a prior for edges is compared with a smooth one.
    edge_steps: int = 3
    #: Width over which the roughness of a field is averaged, in lengths of its prior.
    local_width: float = 0.3
    local_range: float = 1e4  #: Most factor between local strengths and their geometric mean.
    most_levels: int = 4  #: Most levels of a field with edges that is read as one of few levels.
    #: Mean squared distance, in standard errors, up to which an estimated field is one of few levels.
    level_misfit: float = 1.0
    #: Least distance of such levels, in median standard errors: closer ones are one that varies.
    level_distance: float = 4.0
