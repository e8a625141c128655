"""Whether an equation lacks a term: the score test of a smooth source that is added to it.

The equation ``e = 0`` is taken as ``e = sum_k c_k p_k`` with polynomials p_k of the coordinates. At the fit,
where c = 0, let s be minus half the slope of minus twice the log-likelihood along c, and V the variance of s
by the noise, states and unknowns following c. Without a missing term ``s' V^-1 s`` is chi-square with as many
degrees of freedom as V has directions (Rao, Proc. Camb. Phil. Soc. 44:50, 1948). A missing term, a wrong
constant and an unknown of too simple a form all leave a source behind, in most cases long before the misfit
of all samples together shows it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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


def missing_term(
    linearisation: Linearisation,
    weight: float,
    equations: Sequence[Residuals],
    scored: Callable[[Residuals, Array], tuple[Array, Array, Array]],
) -> str:
    """Why an equation lacks a term or a condition is wrong, at a fit that has converged; empty where none.

    Of several that do, the most significant.

    Sources are polynomials of the coordinates, of every degree up to ``tuning.source_degree``, and what
    numbers would add if they varied linearly with the coordinates.

    Parameters
    ----------
    linearisation
        Of the objective.
    weight
        Of the equations.
    equations
        Their rows with slopes, at the fit.
    scored
        Rows of an equation, and sources (m, k) in their unit -> s (k,), V (k, k), and V with the unknowns
        fixed, over the number of samples.
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
        score, whole, fixed = (v / noise for v in scored(part, columns))
        groups = {f"a source of degree {d} in the coordinates": slice(0, k) for d, k in enumerate(count)}
        for k, name in enumerate(varying if dimensions else ()):
            low = smooth.shape[1] + k * coordinates.shape[1]
            groups[f"'{name}' that varies with the coordinates"] = slice(low, low + coordinates.shape[1])
        found = {t: significance(score[g], whole[g, g], fixed[g, g], least) for t, g in groups.items()}
        what, (square, degrees, chance) = min(found.items(), key=lambda item: item[1][2])
        if (chance := chance * len(groups) * len(equations)) < least_chance:
            cause = (
                "it contradicts the data, the equations or another condition"
                if equation.at
                else "a term is missing, a constant is wrong, an unknown varies where it was taken as "
                "constant, or the noise is not white"
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

    Examples
    --------
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


def significance(
    score: Array, variance: Array, fixed: Array, least: float = _ROUNDING
) -> tuple[float, int, float]:
    """Chi-square of a score, its degrees of freedom, and the probability of so large a one by chance.

    Parameters
    ----------
    score, variance
        s and V, shapes (k,) and (k, k).
    fixed
        V with the unknowns fixed, shape (k, k).
    least
        Share of that variance below which a direction does not count.

    Examples
    --------
    >>> square, degrees, chance = significance(np.array([3.0, 0.0]), np.eye(2), np.eye(2))
    >>> square, degrees, round(chance, 4)
    (9.0, 2, 0.0111)
    """
    d = np.sqrt(np.diag(fixed))
    d = np.where(d > 0, d, 1.0)  # a direction without variance stays one
    sizes, axes = np.linalg.eigh(fixed / np.outer(d, d))
    known = sizes > _ROUNDING
    unit = axes[:, known] / np.sqrt(sizes[known]) / d[:, None]
    values, vectors = np.linalg.eigh(unit.T @ variance @ unit)
    kept = values > least
    square = float(np.sum((vectors[:, kept].T @ (unit.T @ score)) ** 2 / values[kept]))
    degrees = int(np.count_nonzero(kept))
    return square, degrees, float(chi2_tail(square, degrees)) if degrees else 1.0
