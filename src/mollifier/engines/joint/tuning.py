"""Numbers that steer the joint engine."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mollifier.engines.collocated.tuning import CollocatedTuning


@dataclass(frozen=True)
class JointTuning(CollocatedTuning):
    """Numbers that steer the joint engine; the defaults suit most problems.

    Strengths are weights of smoothness priors; those of the states are chosen by the marginal likelihood. A
    loss is in units of minus twice the log-likelihood, in which moving every unknown by a tenth of a
    standard error costs about 0.01.

    >>> JointTuning(full_weight=30.0).full_weight
    30.0
    """

    # -- run and size
    most_steps: int = 100  #: Most steps where ``training.steps`` is not given.
    #: Upper limit on automatically chosen nodes with three coordinates or more, where the cost of a
    #: factorisation grows with their power 7/3.
    nodes_in_space: int = 2_500
    #: Upper limit on the number of automatically chosen nodes where `check` examines conditions.
    nodes_in_check: int = 1_100
    nodes_per_step: float = 3.0  #: Nodes over the length in which a state at its steepest crosses its range.
    #: Factor by which nodes fall short of that number before the problem is solved again with more.
    coarse_factor: float = 1.25
    #: Most entries of the banded factor, and of the block that couples states and unknowns (memory).
    most_numbers: int = 80_000_000
    #: Cells along each axis of an unknown field's spline, by its number of axes: one, two, three, more.
    field_cells: tuple[int, ...] = (128, 16, 8, 5)
    #: The same for the linear spline of a field with the prior ``tv``.
    edge_cells: tuple[int, ...] = (128, 32, 8, 5)

    # -- continuation and damping
    first_weight: float = 0.1  #: Continuation: upper limit of the equation's first weight.
    #: Continuation: weight of the equation from which on its multipliers are updated.
    full_weight: float = 100.0
    weight_factor: float = 10.0  #: Continuation: factor by which the weight is raised.
    first_damping: float = 1e-6  #: Levenberg-Marquardt: damping of the first step.
    #: Factors by which the first guess of an unknown is changed where the problem has conditions.
    level_factors: tuple[float, ...] = (10.0, 2.0, 1.2)
    level_steps: int = 2  #: Steps of the states at each level.
    #: Decrease of minus twice the log-likelihood from which a level is better than another.
    level_gain: float = 1.0
    level_weight: float = 1.0  #: Weight of the equation at the search.
    #: Damping up to which only the unknowns are damped, so that one factor serves all tries of a step.
    light_damping: float = 1e-5
    #: Share of the predicted decrease from which on a step's damping falls to that of the first step.
    good_decrease: float = 0.5
    #: Ridge of the states' factor, over the mean information of the data on a value at a node, from which the
    #: elimination of the states is refined: unknowns would otherwise seem better known by about this share.
    ridge_limit: float = 1e-3

    # -- convergence
    #: Predicted decrease of minus twice the log-likelihood below which a step is small.
    small_step: float = 1e-2
    steady: float = 0.1  #: Change of an unknown field's log-strength below which it has converged.
    #: Change of the unknown fields' log-strengths below which the shapes of their priors are chosen too.
    steady_for_shapes: float = 1.0
    #: Predicted decrease for each parameter of the unknowns, plus one, below which the weight is raised.
    gain_per_unknown: float = 0.1
    #: Distance of a number from a bound, as a share of the step that leads across it, at which it is held.
    at_bound: float = 1e-3
    trend_steps: int = 15  #: Steps over which the decrease of a misfit that noise does not explain is taken.
    #: Steps at that rate after which the misfit has to be one that noise explains; else the run ends.
    steps_ahead: int = 50
    #: Standard deviations of chi-square by which the data's misfit may exceed its attainable value.
    excess_sds: float = 4.0
    #: Samples for each degree of freedom of a noise that was estimated from them: its own error counts.
    values_per_degree: float = 3.0

    # -- smoothing splines of the data
    #: Natural logarithms of the least and greatest strength; the greatest leaves a quadratic.
    smoothing_strengths: tuple[float, float] = (math.log(1e-9), math.log(1e3))
    #: Evenly spaced log-strengths at which the marginal likelihood is evaluated first.
    smoothing_evaluations: int = 7
    #: Tolerance of the best log-strength; 0.5 changes the width of the smoothing by a quarter at most.
    smoothing_tolerance: float = 0.5

    #: Standard errors beyond which a residual is an outlier, left out of the size of the noise.
    outlier_sds: float = 5.0

    # -- hidden states
    #: Factor of the equation's full weight in standard errors and tests of a missing term: what the full
    #: weight leaves open, hidden states sum up.
    hidden_weight: float = 100.0
    #: Levels from which a hidden state is sought, in sizes of the measured states; both signs are tried.
    trial_levels: tuple[float, ...] = (1.0, 0.1, 10.0)
    most_trials: int = 12  #: Most starts that are tried.
    #: Steps of a trial; it ends sooner where the equation's weight reaches that of the data.
    trial_steps: int = 10
    #: Relative difference of all numbers up to which the two best trials have found the same.
    trials_agree: float = 0.1
    #: Share of an equation's terms that a trial may leave; with more the equation does not hold in it.
    trial_holds: float = 0.5
    trial_weight: float = 0.1  #: Weight of the equation where trials are compared.

    # -- strengths of the states' smoothness priors
    #: Strengths at first where states are hidden, as a share of the smoothing splines'.
    hidden_strength: float = 1e-3
    most_updates: int = 40  #: Updates after which strengths are kept.
    #: Change of a log-strength, in its standard errors, below which a strength is kept: it would raise the
    #: log-evidence by 0.03.
    steady_strength: float = 0.25
    steady_slope: float = 0.05  #: Slope of the log-evidence along a log-strength below which it is kept.
    longest_update: float = 3.0  #: Most change of a log-strength in one update.
    #: Share of its upper bound in the curvature of the log-evidence by which updates are found.
    bound_share: float = 0.2
    least_modes: float = 1e-2  #: Lower limit of the number of modes of a state that the data determine.
    #: A prior that constrains fewer modes than this fades out: it would only bias the unknowns.
    few_modes: float = 0.5
    fading_factor: float = 1e4  #: Factor by which the strength of such a prior is divided.
    #: Such a prior fades out only if its strength is less than this factor below the best one.
    fading_distance: float = 3.0
    #: Change of a number by a prior, in its standard errors, above which the prior is weakened.
    most_pull: float = 0.3
    loosening: float = 10.0  #: Factor by which its strength is then divided.
    most_loosened: int = 2  #: Most times that is done.
    #: Step of a number, in its standard errors, between which the volume of unknown fields is compared.
    volume_step: float = 0.2
    trace_probes: int = 24  #: Random probes of a trace.
    exact_trace_rows: int = 150  #: Rows of a prior up to which traces are exact instead.

    # -- profiles of a number
    #: Steps in which all other parameters are refitted to a number that is held fixed.
    profile_steps: int = 2

    # -- a number beside unknown fields whose standard error is large
    #: Standard error of a number, as a share of it, from which its posterior replaces a normal one; infinite:
    #: never. A posterior takes about eight more solves.
    wide: float = 0.2
    #: Standard errors to the first value on each side; every further step is twice the one before.
    wide_step: float = 2.0
    wide_steps: int = 5  #: Most such steps on each side.
    wide_room: float = 0.9  #: Most share of the distance to a bound in a step.
    #: Rise of minus twice the log-evidence at which a side ends, as at 2.8 standard deviations of a normal
    #: distribution.
    wide_depth: float = 8.0
    #: Share of the posterior between neighbouring values above which they may not be far apart.
    wide_share: float = 0.05
    #: Distance of neighbouring values, in standard deviations of the posterior, that is too far.
    wide_width: float = 1.25
    wide_most: int = 16  #: Most values that are tried.

    # -- fields with bounds
    #: Ratio of a mean slope of a bijection to its slope above which the curvature is averaged.
    bound_changed: float = 1.2
    bound_priors: int = 12  #: Priors of a mixture that the posterior is averaged over.
    bound_rounds: int = 30  #: Most rounds in which slopes and standard errors come to agree.
    bound_agrees: float = 0.1  #: Difference of a slope's logarithm (rms) at which they do.
    bound_step: float = 0.3  #: Share of that difference in a round: steps of all of it would overshoot.

    # -- the posterior along the least certain direction of a field
    #: Standard error (rms) of a field, as a share of it, from which it is found; infinite: never.
    far: float = 0.1
    far_step: float = 1.5  #: Distance of its places, in standard errors.
    far_steps: int = 4  #: Most places on each side.
    far_tries: int = 5  #: Most steps in which all else follows.
    #: Predicted decrease of minus twice the log-density from which on all else has followed.
    far_settled: float = 0.3
    far_depth: float = 6.0  #: Rise of minus twice the log-density at which a side ends.
    far_barrier: float = 0.5  #: Rise from which on a side ends where the density rises again.
    #: Rise of minus twice the log-likelihood to either end below which the field is undetermined.
    far_open: float = 4.0
    far_fine: int = 61  #: Places at which unknowns are averaged.

    # -- an edge of unknown place
    edge_places: int = 9  #: Evenly spaced places at which the edge is taken to be first.
    #: Share of the posterior between neighbouring places above which one between them is tried.
    edge_share: float = 0.25
    edge_most: int = 30  #: Most places that are tried.
    edge_fine: int = 4001  #: Places at which the posterior is evaluated between those that were solved.
    #: Minus twice a log-likelihood ratio beyond which a place has no share of the posterior.
    edge_farthest: float = 1e3
    edge_settled: float = 0.5  #: Least share of the posterior in solves that settled.
    #: Rise of minus twice the log-likelihood to either end of the range below which the data show no edge:
    #: the supremum over an edge where there is none exceeds it in about 1 % of cases for one number that
    #: jumps (Andrews, Econometrica 61:821, 1993, Table I).
    edge_rise: float = 12.0

    def settled(self, unknowns: int) -> float:
        """Predicted decrease of minus twice the log-likelihood below which a fit has settled at a weight."""
        return self.gain_per_unknown * unknowns + 1
