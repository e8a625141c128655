"""Numbers that steer the weak engine: `WeakTuning`, the key ``tuning`` of its settings."""

from __future__ import annotations

from dataclasses import dataclass, field

from pydantic import ConfigDict

from mollifier.engines.priors.tuning import PriorTuning


@dataclass(frozen=True)
class WeakTuning:
    """All of them, with the defaults that were validated on the benchmark cases.

    Lengths are in cells (node spacings of an axis), radii in units of another radius, errors in standard
    errors, and everything else is a count or a ratio without a unit.

    >>> WeakTuning(density=2.5).density
    2.5
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    # -- expectations under noise
    #: Highest power of the noise variance in expectations of polynomials, whose series ends.
    polynomial_powers: int = 8
    other_powers: int = 2  #: The same for all other functions, whose series is cut off there.

    # -- test functions
    #: Cells in a radius from which on the trapezoidal rule integrates a polynomial kernel to about 1e-8.
    trapezoid_cells: float = 20.0
    #: Degrees of the interpolating spline that is integrated instead, the first that is stable.
    quadrature_degrees: tuple[int, ...] = (5, 3, 1)
    #: Largest Lebesgue function of a stable interpolating spline; even nodes give 5 at most.
    largest_gain: float = 10.0
    gauss_points: int = 8  #: Gauss points between neighbouring nodes and knots.
    #: Weights below this ratio to the largest are set to zero: those of a spline never end.
    negligible_weight: float = 1e-11
    #: Correlation of two test functions, by their weights' absolute values, below which it counts as zero.
    negligible_overlap: float = 1e-7
    weight_in_gaps: float = 1e-4  #: Largest share of a test function's weights that may lie in wide gaps.
    extra_degree: int = 3  #: Degree of B-spline test functions above the order of the highest derivative.
    density: float = 3.0  #: Centres of polynomial test functions in one radius.

    # -- gaps, smoothing, sums
    #: Radius, in cells, of the mollifier that fills gaps and differentiates known data.
    gap_cells: float = 4.0
    smoothed_nodes: int = 9  #: Nodes of the shortest axis that is smoothed along.
    #: A gap is wide where less than this share of the nodes within ``gap_cells`` is measured. A little more
    #: than half, since edges have steps.
    measured_share: float = 0.6
    #: Most rounds of filling, and the change, in standard deviations of the field, that ends them.
    gap_rounds: int = 60
    gap_change: float = 1e-6
    gap_steps: int = 1000  #: Most steps of the least-squares solver that bridges gaps first.
    #: Radii, in cells, among which the smoother of a field is chosen.
    smoothing_cells: tuple[float, ...] = (2.5, 4.0, 6.0, 10.0, 16.0, 25.0, 40.0)
    interpolated_nodes: int = 13  #: Nodes of the shortest axis whose interpolation error is estimated.
    slab_values: int = 2**19  #: Values of one integrand that are held in memory at a time.
    #: Values of one field in a block of data that are read in blocks; never less than a chunk of the file.
    block_values: int = 2**22
    smoothed_values: int = 2**15  #: Values of the middle of the data that smoothers are chosen by.
    #: Values of the middle of the data that sizes are taken from, and lines for spectra along an axis.
    part_values: int = 2**20
    spectrum_lines: int = 1000
    rounding: float = 1e-8  #: Relative rounding error of values that were given as free of noise.

    # -- splines of unknown fields
    splines_per_radius: float = 2.0  #: Splines within one radius of the first test functions.
    #: Most cells along an axis, and most coefficients of a field.
    most_cells: int = 60
    most_coefficients: int = 900
    #: Fewest cells of a field over one coordinate, and of each coordinate of a field over two: a source may
    #: vary faster than the state that it drives. Not for fields with measurements, between which a finer
    #: spline would interpolate with local bumps.
    fewest_cells: int = 128
    fewest_cells_plane: int = 20
    #: Nodes that each of these cells has at least: of splines of the fifth degree, and of
    #: linear ones, where the prior keeps edges.
    nodes_per_cell: int = 1
    nodes_per_linear_cell: int = 2
    #: Cells of a law of one state, and of each of several variables.
    law_cells: int = 24
    law_cells_across: int = 8
    #: Centres of test functions in one radius where all unknown fields are laws, and the B-splines on all
    #: knots are too many: laws have few coefficients, for which narrow kernels matter more than many.
    law_density: float = 1.5
    #: Rounds of weights and coefficients at the first radii, where weights of equal size come first.
    law_rounds: int = 6

    # -- estimating equations
    #: Coefficients up to which the score's covariance is summed over the data, not over pairs of residuals.
    few_coefficients: int = 8
    #: Rounds of weights and coefficients: in general, and at most where a slope depends on the unknowns.
    rounds: int = 3
    most_rounds: int = 30
    #: A change of coefficients, in standard errors and relative, that ends these rounds.
    tolerance_sd: float = 1e-3
    tolerance: float = 1e-10
    #: Share of a step by which the curvature of the equations may move the unknowns, and the halvings of a
    #: step until it does not.
    bent: float = 0.5
    halvings: int = 12
    #: Most rounds with instrumental slopes, and the change in standard errors that ends them.
    instrumental_rounds: int = 10
    settled_sd: float = 0.1
    zero_variance: float = 1e-12  #: Residuals whose variance is below this ratio to the largest hold no data.
    #: Ridge of the residuals' covariance, as a share of its diagonal. Combinations of overlapping test
    #: functions that cancel the noise to less than this would decide the estimate by errors of quadrature.
    ridge: float = 1e-5
    #: Most linearisations of a prior that is not quadratic, and the change in standard errors that ends them.
    prior_rounds: int = 10
    prior_change: float = 0.02
    #: Factor by which a field exceeds its size, the unit of its prior, after which the prior is chosen anew.
    prior_growth: float = 2.0
    #: Least size of a field, over what each of its coefficients by the data alone would be.
    least_size: float = 0.1
    priors: PriorTuning = field(default_factory=PriorTuning)  #: Choice of the priors of unknown fields.

    # -- choice of radii
    #: At the first radius the kernel's spectrum has fallen by exp(-this) at the data's spectral corner.
    corner_decay: float = 2.0
    #: First radii are at most the axis's length over this, with an unknown field: along its coordinates, and
    #: along the others.
    first_over: float = 6.0
    first_across: float = 4.0
    #: Factor of one step, by which all radii are scaled together and then one at a time, and most such steps.
    radius_step: float = 2**0.5
    most_steps: int = 3
    #: Decrease of the mean log standard error that a new radius must bring: wide kernels smooth, and cost
    #: test functions.
    least_gain: float = 0.02
    #: Residuals of so many standard errors are no misfit yet of a new radius, with an unknown field: in
    #: strong noise radii that agree with the first coefficients by chance would be chosen.
    tried_misfit: float = 2.0
    #: Degrees of freedom of the residuals that the first radius and a new one must leave: fewer show no
    #: misfit.
    least_freedom: float = 10.0
    least_cells: float = 1.0  #: Cells of the smallest radius above the order of the highest derivative.
    #: Residuals whose whole covariance is held: for every radius tried, and for one that the user gave.
    most_residuals: int = 1800
    most_residuals_given: int = 6000
    #: The covariance is summed before test functions in gaps are left out: residuals count as no fewer than
    #: those of the whole lattice over this.
    gap_residuals: int = 2
    #: Factors by which first radii are changed until the number of residuals is right.
    widening: float = 1.2
    narrowing: float = 0.8
    #: Nodes above which radii are chosen on thinned data, with this many cells left in each radius.
    thinned_nodes: int = 15_000
    thinned_cells: float = 12.0

    # -- the final estimate of numbers
    #: Residuals up to which their whole covariance is inverted, and the densities tried for it in turn.
    inverted_residuals: int = 2500
    inverted_densities: tuple[float, ...] = (3.0, 2.5, 2.0, 1.4, 1.0)

    # -- start values of numbers that the equations are not linear in
    #: Decades of the values tried are from minus this to this; values tried between two finite bounds.
    start_decades: int = 15
    start_between: int = 9
    start_sweeps: int = 3  #: Sweeps over several such numbers.
    #: Steps, in decades, of the search from the best value, and the most steps one way.
    start_steps: tuple[float, ...] = (0.5, 0.25, 0.12, 0.06, 0.03)
    start_moves: int = 20
    start_coefficients: int = 60  #: Most coefficients with which start values are searched.
    start_singular: float = 1e-8  #: Eigenvalues of the scaled equations below this count as zero.
    #: A value whose sum of squares exceeds the least by this factor is discarded: near a pole the expansion
    #: in the noise does not converge, and the variance means nothing.
    start_worse: float = 4.0

    # -- the verdict
    #: Residuals of so many standard errors are a misfit, unless noise alone shows them more often than this.
    misfit: float = 1.08
    misfit_chance: float = 1e-3
    noise_freedom: float = 4.0  #: Values that one degree of freedom of an estimated noise takes.
    misfit_share: float = 0.001  #: A misfit exceeds such a share of the equation's terms.
    #: Share of a misfit that a constant added to a condition explains, from which the condition is named.
    misfit_named: float = 0.9
    #: A law that changes by so many standard errors in the last round of weights has not settled.
    moving: float = 1.0
    missed: float = 2.0  #: A field misses its measurements by so many of their standard errors.
    #: Estimates that differ by so many standard errors between neighbouring radii depend on the radius.
    unsteady: float = 4.0
    #: Relative error by the grid that is reported, and that leaves an unknown undetermined.
    grid_error: float = 1e-3
    grid_undetermined: float = 0.1

    # -- the solution
    #: Most nodes of its fields and most samples of its fit; larger data are thinned.
    most_nodes: int = 600_000
    most_samples: int = 200_000


DEFAULT = WeakTuning()  #: The defaults.
