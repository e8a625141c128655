"""Standard errors from the curvature of the loss where it ended (Laplace's approximation)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mollifier.engines.gauss_newton import LevenbergMarquardt
from mollifier.orders import Derivative

Array = NDArray[np.float64]


class Laplace:
    """Standard errors of the unknowns, with the equation at its full weight.

    The covariance of the parameters is the inverse of n J'J, n the number of samples. Directions that neither
    data, equation nor prior determine are held at a spread of one raw unit.

    Parameters
    ----------
    stage
        Whose objective and linearisation are taken, as the model stands.
    """

    def __init__(self, stage: LevenbergMarquardt) -> None:
        self.model, self.stage = stage.model, stage
        precision, self._places = stage.marginal()
        self._factor = _inverse_factor(precision * stage.objective.count)

    def scalars(self) -> dict[str, float | None]:
        """Scalar unknown -> standard error; None where the curvature is not finite."""
        names = list(self.model.scalars)
        if self._factor is None or not names:
            return dict.fromkeys(names)
        columns = [self._factor[:, self._places[n]] for n in names]
        spread = torch.cat(columns, dim=1).square().sum(0).sqrt().tolist()
        slopes = [s.slope() for s in self.model.scalars.values()]
        sd = [abs(k) * s for k, s in zip(slopes, spread, strict=True)]
        return {n: s if np.isfinite(s) else None for n, s in zip(names, sd, strict=True)}

    def fields(self) -> dict[str, Array]:
        """Unknown field -> standard errors on its own grid; none where the curvature is not finite."""
        result: dict[str, Array] = {}
        if self._factor is None:
            return result
        for name, block in self.model.unknown_blocks.items():
            jacobian = block.mollified.matrix(Derivative("u")) @ self.stage.jacobian(block)
            spread = jacobian @ self._factor[:, self._places[name]].T.numpy()
            result[name] = np.sqrt(np.square(spread).sum(-1)).reshape(block.grid.shape)
        return result


def _inverse_factor(precision: Tensor) -> Tensor | None:
    """F with F'F the inverse of the precision plus one on its diagonal; None if it is not finite."""
    if not torch.isfinite(precision).all():
        return None
    eye = torch.eye(len(precision), dtype=precision.dtype)
    factor, info = torch.linalg.cholesky_ex(precision + eye)
    if int(info) == 0:
        return torch.linalg.solve_triangular(factor, eye, upper=False)
    # Rounding has made it indefinite: what is left of the spectrum is at least the one that was added.
    values, vectors = torch.linalg.eigh(precision)
    return (vectors / (values.clamp_min(0) + 1).sqrt()).T
