"""Numbers that steer the engines on a collocation grid."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from pydantic import ConfigDict

from mollifier.engines.priors.tuning import PriorTuning


@dataclass(frozen=True)
class CollocatedTuning:
    """Numbers that steer what the joint and the network engine share; the defaults suit most problems."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    first_weight: float = 1e-2  #: Continuation: share of the equation's weight in the first steps.
    weight_factor: float = 3.0  #: Continuation: factor by which the weight is raised.
    #: Continuation: relative decrease of the loss per step below which the weight is raised.
    slow_decrease: float = 0.05
    first_damping: float = 1e-3  #: Levenberg-Marquardt: damping of the first step.
    least_damping: float = 1e-12  #: Levenberg-Marquardt: lower limit of the damping.
    most_damping: float = 1e8  #: Levenberg-Marquardt: damping beyond which a step that fails ends the run.
    #: Robust likelihoods, gains in the noise: most updates of the data's rows in a stage.
    reweighings: int = 30
    #: Mean relative change of a weight, and of the field that gains multiply, below which they are steady.
    reweighed: float = 0.01
    #: Robust likelihoods: least scale of the noise, in stated standard errors; one without the equation.
    least_scale: float = 0.5
    damping_tries: int = 12  #: Levenberg-Marquardt: most values of the damping in one step.
    steps_without_gain: int = 3  #: Steps in a row below the tolerance after which a run has converged.
    state_difference: int = 3  #: Order of the derivatives in the smoothness prior of the states.
    #: Weight of that prior's squares where the boundary determines the state, over that of the others.
    interior_weight: float = 1e-9
    #: Weight of an unknown field's mean squared curvature until evidence or the user sets it.
    curvature_weight: float = 1e-3
    #: Number of fitted values up to which that weight holds; with more it falls in proportion.
    curvature_values: int = 1000
    #: Least distance of a first guess from a bound, in the size at which its term balances the others.
    bound_gap: float = 0.03
    #: Decades by which the best first guess of an unknown that the equations are not linear in is moved.
    start_steps: tuple[float, ...] = (0.5, 0.25, 0.12)
    start_moves: int = 20  #: Most such moves one way.
    #: Decrease of the logarithm of the equations' residual from which such guesses are taken.
    start_gain: float = 0.05
    #: First guess of unknowns: windows along a coordinate over which the equations are averaged, tried beside
    #: values at nodes.
    start_averages: tuple[int, ...] = (3, 7, 15, 31)
    #: Choice of the priors of unknown fields by the evidence.
    priors: PriorTuning = field(default_factory=PriorTuning)
    #: Cells along each axis of a law of the state, by its number of axes: one, more.
    law_cells: tuple[int, ...] = (24, 12)
    #: Gauss-Hermite points by which a bijection is averaged over a standard error.
    quadrature_points: int = 11
    #: Ratio picture: masked where an unknown field's factor is below this share of its rms.
    least_factor: float = 0.1
    most_effects: int = 3_000  #: Declared noise: most coefficients of the random effects of a field.
    #: Samples of a field up to which standard errors carry a correlation that residuals may hide.
    most_correlated: int = 400
    #: Steps between copies of the parameters, which a run returns to where the loss is not finite.
    copy_steps: int = 25
    source_degree: int = 3  #: Total degree of the polynomial source by which a missing term is found.
    #: With unknown fields: share of the variance of a source that must be left when these follow it. Of the
    #: rest the score shows what their priors cost.
    source_left: float = 0.5
    #: Probability, in all tests of a solve together, that a missing term is found where there is none.
    source_chance: float = 1e-3
    #: Error of an unknown by the spacing of the nodes, in its other standard errors, that is reported.
    coarse: float = 3.0
    coarse_share: float = 0.1  #: Such an error, in the unknown's size, that is a misfit.
