"""What the data leave undetermined: the one rule that `mollifier.check` and every engine apply.

Numbers. Let I be the Fisher information of the unknown numbers, the states profiled out, and N the noise of
the regressors that was subtracted from it (Nakamura, Biometrika 77:127, 1990). Both are scaled such that the
diagonal of I + N is one. An eigenvector v of I is free where v'I v is no more than the terms' own error plus
what chance leaves of v'N v, a mean of squares. A change along v leaves the equation as it is, so that
only combinations of the numbers are in the data. A number is undetermined, too, where its posterior standard
deviation is close to that of a wide prior.

Fields. A place is undetermined where the standard error is more than half of the field's size, or where the
data do not halve the prior's standard deviation.

A likelihood may look sharp along a free direction of the equation, as states that are fitted to noise change
with the numbers: the profile of the likelihood shows it (Raue et al., Bioinformatics 25:1923, 2009).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from mollifier.mollify.arrays import Array, Mask
from mollifier.mollify.distributions import chi2_upper, normal_tail

# Where "undetermined" begins.

# Standard deviations of a normal distribution by which information has to exceed what chance leaves of
# the noise's.
_SIGNIFICANCE = 4.0
# Sine of the angle between terms from which noise that could hide it makes a free direction doubtful.
_HIDDEN = 0.1
#: Information of a number, in inverse squares of its unit, beside which none counts as zero: what runs
#: away to infinity, as K of ``u/K`` where the data do not bend, has less.
LOST = 1e-140
# Share of the largest component of a direction from which a number takes part in it.
_TAKING_PART = 0.1
#: Posterior over prior standard deviation from which a number is undetermined, the prior being wide.
RATIO = 0.3
#: Posterior over prior standard deviation, and standard error over size, from which a field is
#: undetermined at a place.
HALVED = 0.5
# Standard error of a field's distance from its mean, over the field's size, that is small however little
# the prior lets the field vary.
_FLAT = 0.1
#: Shares of the places without information from which a field is undetermined, and from which a warning
#: is due.
UNDETERMINED_SHARE = 0.25
WARNED_SHARE = 0.1


@dataclass(frozen=True)
class Direction:
    """A change of numbers that the data do not show."""

    #: Number -> its part in the change, in its own unit, of those that take part.
    change: Mapping[str, float]
    sine: float  #: Size of the terms' change, over what it would be if they did not cancel.
    hidden: bool = False  #: Whether noise hides the change: other data, or all samples together, may show it.

    def text(self, linear: Collection[str]) -> str:
        """What the data show, as in "only the combination r - 4*D is in the data".

        ``linear`` are the numbers in which the equations are linear; of others, no combination is named.
        """
        if len(self.change) == 1:
            return "its term is lost in the noise, or zero"
        if len(self.change) == 2 and set(self.change) <= set(linear):
            return f"only the combination {combination(self.change)} is in the data"
        parts = ", ".join(f"{n} by {c:.3g}" for n, c in self.change.items())
        return f"changing {parts} leaves the equation as it is"


def free_directions(
    names: Sequence[str],
    information: Array,
    noise: Array,
    independent: Callable[[Array], float],
    accuracy: float,
) -> list[Direction]:
    """Changes of numbers that the data do not determine.

    ``information`` is the Fisher information of the numbers ``names`` without the regressors' noise, and
    ``noise`` that noise, (k, k), in inverse squares of the numbers' units. ``independent`` gives the number
    of independent squares that the noise sums along a change (k,) of the numbers. ``accuracy`` is the error
    of the terms beside their noise, such as that of smoothing, over their size.

    >>> terms = np.array([[4.0, 1.0], [8.0, 2.0], [4.0, 1.01]])
    >>> [free] = free_directions(["r", "D"], terms.T @ terms, np.zeros((2, 2)), lambda v: 1.0, 0.03)
    >>> free.text(["r", "D"])
    'only the combination D + 4*r is in the data'
    """
    if not names:
        return []
    scale = 1 / np.sqrt(np.maximum(np.diag(information + noise), LOST))
    values, vectors = np.linalg.eigh(information * scale[:, None] * scale)
    found = []
    for value, vector in zip(values, vectors.T, strict=True):
        change = vector * scale
        chance = noise_bound(float(change @ noise @ change), independent(change))
        if value > accuracy**2 + chance:
            continue
        part = np.abs(vector)
        taking = part > _TAKING_PART * part.max()
        first = change[np.argmax(taking)]
        parts = {n: float(c / first) for n, c, t in zip(names, change, taking, strict=True) if t}
        found.append(Direction(parts, float(np.sqrt(max(value, 0.0))), chance > _HIDDEN**2))
    return found


def because(directions: Iterable[Direction], linear: Collection[str]) -> str:
    """Why numbers are undetermined: each direction in words. ``linear`` is as in `Direction.text`.

    >>> because([Direction({"D": 1.0, "r": 4.0}, 0.0)], ["D", "r"])
    'D and r cannot be distinguished: only the combination r - 4*D is in the data'
    >>> because([Direction({"c": 1.0}, 0.0)], ["c"])
    'c is not determined: its term is lost in the noise, or zero'
    """
    said = []
    for d in directions:
        what = "cannot be distinguished" if len(d.change) > 1 else "is not determined"
        said.append(f"{listed(d.change)} {what}: {d.text(linear)}")
    return "; ".join(said)


def undetermined_field(name: str, share: float) -> str:
    """Why a field is undetermined: the share of the places at which `undetermined_places` holds."""
    return (
        f"over {100 * share:.0f} % of the domain the data leave '{name}' to its prior: its standard error is "
        "more than half of its size, or of how much it varies without data. Give more data, less noise, "
        "measurements of it, or fewer coordinates to vary over"
    )


def noise_bound(mean_square: float, independent: float) -> float:
    """What chance may leave of a mean of squares of noise once its expectation is subtracted.

    >>> round(noise_bound(1.0, 10_000.0), 3)
    0.058
    """
    if not mean_square > 0:
        return 0.0
    degrees = max(independent, 1.0)
    quantile = float(chi2_upper(normal_tail(_SIGNIFICANCE), degrees)) / degrees
    return (quantile - 1) * mean_square


def undetermined_places(values: Array, sd: Array, deviation_sd: Array, prior_sd: Array) -> Mask:
    """Where the data leave an unknown field to its prior.

    The size of the field is its root mean square: the median of point sources is zero.

    The field and its standard error are of one shape and unit, as are ``deviation_sd`` and ``prior_sd``, the
    standard errors of its distance from its mean with the data and without.

    >>> sd = np.array([0.1, 0.6, 0.2])
    >>> undetermined_places(np.ones(3), sd, sd, np.array([1.0, 1.0, 0.3])).tolist()
    [False, True, True]
    """
    size = float(np.sqrt(np.mean(values**2)))
    varies = np.maximum(HALVED * prior_sd, _FLAT * size)
    return np.asarray(~((sd < HALVED * size) & (deviation_sd < varies)))


def fixed_by_scaling(group: Mapping[str, int]) -> str:
    """The combinations that stay the same when unknowns scale with these exponents.

    >>> fixed_by_scaling({"k": 1, "s": -1}), fixed_by_scaling({"a": 1, "b": 2, "c": 1})
    ('k*s', 'b/a^2, c/a')
    """
    (first, p), *rest = group.items()
    return ", ".join(_product(first, p, name, q) for name, q in rest)


def _product(a: str, p: int, b: str, q: int) -> str:
    """``b^p / a^q`` in lowest terms."""
    ratio = Fraction(q, p)
    up, down = ratio.denominator, ratio.numerator
    left, right = (n if e == 1 else f"{n}^{e}" for n, e in ((b, up), (a, abs(down))))
    return f"{right}*{left}" if down < 0 else f"{left}/{right}"


def combination(change: Mapping[str, float]) -> str:
    """What stays the same where two numbers may change together, by their parts in the change.

    A ratio of the two that is near a plain fraction is written as one.

    >>> combination({"r": 1.0, "s": -1.0}), combination({"D": 1.0, "r": 3.97})
    ('r + s', 'r - 4*D')
    """
    near = 0.05  # relative distance of a ratio to the fraction it is written as
    (a, first), (b, second) = change.items()
    ratio = second / first
    if abs(ratio) < 1 - near:
        a, b, ratio = b, a, 1 / ratio
    plain = Fraction(ratio).limit_denominator(2 if abs(ratio) < 4 else 1)
    is_plain = abs(float(plain) - ratio) < near * abs(ratio) and abs(ratio) < 12
    size = (str(plain) if is_plain else f"{ratio:.2g}").lstrip("-")
    other = a if size == "1" else f"{size}*{a}"
    if ratio > 0:
        return f"{b} - {other}"
    return f"{a} + {b}" if size == "1" else f"{b} + {other}"


def listed(names: Iterable[str]) -> str:
    """Names in a sentence.

    >>> listed(["a"]), listed(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last
