"""Whether the data determine what was found."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mollifier.engines.collocated.laplace import Laplace
from mollifier.engines.identifiability.structure import has_trivial_answer

# Share of its free spread from which a number is not determined, and of the domain for a field.
_LOOSE, _MOSTLY = 0.3, 0.5
# A value is compared to one so many times smaller, if that is so many standard errors away.
_ASIDE, _LIKELY = 10.0, 3.0
# States that are fitted to noise give the likelihood many narrow peaks of about one height: a value far away
# is worse by less than these shares of what the standard error predicts, and of the number of samples.
_FLAT, _PER_SAMPLE = 0.01, 0.1


def undetermined(laplace: Laplace, rival: Callable[[str, float], float]) -> str:
    """Why there is no answer; nothing where there is one.

    Parameters
    ----------
    laplace
        Standard errors.
    rival
        Scalar unknown and another value for it -> what minus twice the log-likelihood is worse by, when all
        the others follow.
    """
    model = laplace.model
    if has_trivial_answer(model.problem):
        return "zero satisfies the equation, and so does any multiple of an answer: give a term a known size"
    loose = [n for n, share in laplace.loose().items() if not share < _LOOSE]
    if loose:
        return f"the data do not determine {_listed(loose)}: other values fit as well when the rest follows"
    values, sd = model.values(), laplace.scalars()
    for name, value in values.items():
        # An error of the linearised problem says nothing of values far away: one of them is tried.
        other, error = value / _ASIDE, sd[name] or np.inf
        if abs(other - value) > _LIKELY * error and model.problem.scalars[name].admits(other):
            worse = rival(name, other)
            predicted = ((other - value) / error) ** 2
            fluke = worse < _FLAT * predicted and worse < _PER_SAMPLE * laplace.stage.objective.count
            if worse < _LIKELY**2 or fluke:
                return (
                    f"{name} = {other:.3g} fits nearly as well as {name} = {value:.3g} (minus twice the "
                    f"log-likelihood differs by {worse:.2g}): the data do not determine it"
                )
    for name, sd in laplace.fields().items():
        block = model.unknown_blocks[name]
        value = block()[0][name].detach().numpy().ravel()
        part = float(np.mean(~(sd.ravel() < np.sqrt(np.median(value**2)))))
        if part > _MOSTLY:
            return f"over {100 * part:.0f} % of the domain the standard error of '{name}' exceeds its size"
    return ""


def _listed(names: list[str]) -> str:
    quoted = [f"'{n}'" for n in names]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} and {quoted[-1]}"
