"""Whether an equation lacks a term: the score test of a smooth source that is added to it.

The equation ``e = 0`` is taken as ``e = sum_k c_k p_k`` with polynomials p_k of the coordinates. At the fit,
where c = 0, let s be minus half the slope of minus twice the log-likelihood along c, and V the variance of s
by the noise, states and unknowns following c. Without a missing term ``s' V^-1 s`` is chi-square with as many
degrees of freedom as V has directions (Rao, Proc. Camb. Phil. Soc. 44:50, 1948). A missing term, a wrong
constant and an unknown of too simple a form all leave a source behind, in most cases long before the misfit
of all samples together shows it.

Noise may be larger where a source is seen than elsewhere, as noise in proportion to the value is. The
variance that the squared residuals of the samples show (White, Econometrica 48:817, 1980) replaces V along
directions in which it is larger.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from math import comb

import numpy as np
from numpy.polynomial import legendre

from mollifier.engines.collocated.linearise import Linearisation
from mollifier.engines.collocated.residuals import Residuals
from mollifier.mollify.arrays import Array
from mollifier.mollify.distributions import chi2_tail
from mollifier.mollify.grid import Grid

# Directions of the source whose variance is below this share of that with unknowns fixed are none: they are
# changes of the unknowns, but for rounding or, of unknown fields, for their priors.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Score:
    """The score of k sources, over the number of samples."""

    slope: Array  #: s, shape (k,).
    #: V, and V with the unknowns fixed, shape (k, k).
    variance: Array
    fixed: Array
    #: Residuals of samples, (m,), and their changes by the sources, (m, k); zero in rows without a sample.
    residuals: Array
    moved: Array

    def of(self, some: slice) -> Score:
        """The score of some of the sources."""
        at = some, some
        return Score(self.slope[some], self.variance[at], self.fixed[at], self.residuals, self.moved[:, some])


def missing_term(
    linearisation: Linearisation,
    weight: float,
    equations: Sequence[Residuals],
    scored: Callable[[Residuals, Array], Score],
) -> str:
    """Why an equation lacks a term or a condition is wrong, at a fit that has converged; empty where none.

    Of several that do, the most significant. Sources are polynomials of the coordinates, of every degree up
    to ``tuning.source_degree``, and what numbers would add if they varied linearly with the coordinates.
    ``equations`` are the rows of the equations with slopes, at ``weight``; ``scored`` gives the score of
    sources (m, k) in the unit of an equation's rows.
    """
    objective, tuning = linearisation.objective, linearisation.objective.tuning
    noise = max(1.0, float(objective.attainable)) / objective.count
    least = tuning.source_left if objective.model.unknown_blocks else _ROUNDING
    why, least_chance = "", tuning.source_chance
    for i, (equation, part) in enumerate(zip(objective.imposed, equations, strict=True)):
        here = objective.parts[i]
        grid, dimensions = here.place.grid, len(here.place.grid.axes) - len(equation.at)
        share = objective.share(i, weight) * here.masked(1.0)
        smooth = share[:, None] * sources(grid, tuning.source_degree)
        coordinates = sources(grid, 1)[:, 1:]
        count = [comb(d + dimensions, d) for d in range(tuning.source_degree + 1)]
        varying = {n: coordinates * slope[:, None] for n, slope in part.scalars.items()}
        columns = np.concatenate([smooth, *varying.values()], axis=1)
        score = scored(part, columns)
        groups = {f"a source of degree {d} in the coordinates": slice(0, k) for d, k in enumerate(count)}
        for k, name in enumerate(varying if dimensions else ()):
            low = smooth.shape[1] + k * coordinates.shape[1]
            groups[f"'{name}' that varies with the coordinates"] = slice(low, low + coordinates.shape[1])
        found = {t: significance(score.of(g), least, noise) for t, g in groups.items()}
        what, (square, degrees, chance) = min(found.items(), key=lambda item: item[1][2])
        if (chance := chance * len(groups) * len(equations)) < least_chance:
            cause = (
                "it contradicts the data, the equations or another condition"
                if equation.at
                else "a term is missing, a constant is wrong, an unknown varies where it was taken as "
                "constant, the noise is not white, or the states are represented too coarsely (more nodes, "
                "or a wider network, would tell)"
            )
            least_chance = chance
            why = (
                f"in '{equation}', {what} would improve the fit by {square:.3g} in minus twice the "
                f"log-likelihood, where noise explains {degrees} ± {np.sqrt(2 * degrees):.2g}: {cause}"
            )
    return why


def sources(grid: Grid, degree: int) -> Array:
    """Products of Legendre polynomials of the coordinates, shape (grid.size, k), by their total degree.

    Along an axis with one node there is nothing but the constant.

    >>> from mollifier.mollify.grid import Axis
    >>> sources(Grid(Axis("x", 0.0, 1.0, 3)), 1).tolist()
    [[1.0, -1.0], [1.0, 0.0], [1.0, 1.0]]
    """
    axes = [a for a in grid if a.size > 1]
    degrees = [d for d in product(range(degree + 1), repeat=len(axes)) if sum(d) <= degree]
    tables = [legendre.legvander(2 * (a.points - a.lower) / (a.upper - a.lower) - 1, degree) for a in axes]
    columns = []
    for one in sorted(degrees, key=sum):
        along = np.meshgrid(*(t[:, d] for t, d in zip(tables, one, strict=True)), indexing="ij")
        columns.append(np.prod(along, axis=0).ravel())
    return np.stack(columns, axis=1)


def significance(score: Score, least: float = _ROUNDING, noise: float = 1.0) -> tuple[float, int, float]:
    """Chi-square of a score, its degrees of freedom, and the probability of so large a one by chance.

    The squared residuals are those that the source leaves, over the squared share of each that it leaves
    (HC3: MacKinnon and White, J. Econometrics 29:305, 1985): a source is no noise. Directions with less than
    a share ``least`` of the variance with the unknowns fixed do not count; ``noise`` is the variance of the
    residuals.

    >>> one = np.eye(2)
    >>> score = Score(np.array([3.0, 0.0]), one, one, np.ones(8), np.zeros((8, 2)))
    >>> square, degrees, chance = significance(score)
    >>> square, degrees, round(chance, 4)
    (9.0, 2, 0.0111)
    """
    d = np.sqrt(np.diag(score.fixed))
    d = np.where(d > 0, d, 1.0)  # a direction without variance stays one
    sizes, axes = np.linalg.eigh(score.fixed / np.outer(d, d))
    known = sizes > _ROUNDING
    unit = axes[:, known] / np.sqrt(sizes[known]) / d[:, None]
    values, vectors = np.linalg.eigh(unit.T @ score.variance @ unit)
    kept = values > least
    white = unit @ (vectors[:, kept] / np.sqrt(values[kept]))
    along = white.T @ score.slope
    more, axes = np.linalg.eigh(_uneven(score.residuals, score.moved @ white, along))
    square = float(np.sum((axes.T @ along) ** 2 / (1 + np.maximum(more, 0.0)))) / noise
    degrees = int(np.count_nonzero(kept))
    return square, degrees, float(chi2_tail(square, degrees)) if degrees else 1.0


def _uneven(residuals: Array, moved: Array, along: Array) -> Array:
    """What noise of one size leaves out of the variance of a score (d,) that would be one, shape (d, d).

    ``moved`` are the changes (m, d) of the residuals (m,) by its directions.
    """
    share = np.maximum(1 - np.square(moved).sum(axis=1), _ROUNDING)
    left = residuals - moved @ along
    there = residuals != 0
    size = float(np.sum(left[there] ** 2) / np.sum(share[there])) if there.any() else 0.0
    if not size > 0:
        return np.zeros((len(along), len(along)))
    return moved.T @ (((left / share) ** 2 / size - 1)[:, None] * moved)
