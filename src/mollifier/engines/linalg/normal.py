"""Dense normal equations: damped steps, and the elimination of some parameters (Schur complement)."""

from __future__ import annotations

import torch
from torch import Tensor

from mollifier.engines.linalg import dense


class Damped:
    """Normal equations (p, p) and (p,), solved with damping as in Levenberg-Marquardt steps."""

    def __init__(self, hessian: Tensor, gradient: Tensor) -> None:
        self.hessian = hessian  #: J'J, shape (p, p), half the curvature of the loss.
        #: Half the slope of the loss, shape (p,).
        self.gradient = gradient
        self.diagonal = hessian.diagonal()
        self.floor = 1e-3 * self.diagonal.mean()

    @property
    def finite(self) -> bool:
        """Whether every number is finite."""
        return bool(torch.isfinite(self.hessian).all() and torch.isfinite(self.gradient).all())

    def solve(self, damping: float) -> Tensor:
        """The step, shape (p,), with the diagonal raised by ``damping`` times itself."""
        damped = self.hessian.clone()
        damped.diagonal().add_(damping * (self.diagonal + self.floor))
        return solved(damped, -self.gradient)


class SchurComplement:
    """Normal equations after eliminating the first parameters.

    ``hessian`` (p, p) and ``gradient`` (p,) are those of all p parameters, of which ``first`` are eliminated.

    >>> rows = torch.tensor([[1.0, 2.0], [0.0, 1.0], [1.0, 0.0]], dtype=torch.float64)
    >>> whole = SchurComplement(rows.T @ rows, rows.T @ torch.ones(3).double(), 1)
    >>> bool(torch.isclose(1 / whole.precision, torch.linalg.inv(rows.T @ rows)[1, 1]))
    True
    """

    def __init__(self, hessian: Tensor, gradient: Tensor, first: int) -> None:
        across = hessian[:first, first:]
        self._core, self._followed = hessian[:first, :first], torch.zeros_like(across)
        #: Of the remaining u parameters, shapes (u, u) and (u,); NaN if the equations are not finite.
        self.precision, self.slope = hessian[first:, first:], gradient[first:]
        if not torch.isfinite(hessian).all():
            self.precision = torch.full_like(self.precision, torch.nan)
        elif first:
            followed = solved(self._core, torch.cat([across, gradient[:first, None]], dim=1))
            self._followed = followed[:, :-1]
            schur = self.precision - across.T @ self._followed
            self.precision, self.slope = (schur + schur.T) / 2, self.slope - across.T @ followed[:, -1]

    def part(self, matrix: Tensor) -> tuple[Tensor, float]:
        """Contribution of a part (p, p) of the equations to `precision`, (u, u), and its degrees of freedom.

        These are the number of parameters that the part determines: the trace of the inverse of the whole
        times the part.
        """
        first = len(self._core)
        if not torch.isfinite(self.precision).all():
            return torch.full_like(self.precision, torch.nan), 0.0
        moves = torch.cat([-self._followed, torch.eye(len(self.precision), dtype=matrix.dtype)])
        left = moves.T @ matrix @ moves
        determined = float(solved(self.precision, left).trace())
        if first:
            determined += float(solved(self._core, matrix[:first, :first]).trace())
        return (left + left.T) / 2, determined


def solved(matrix: Tensor, right: Tensor) -> Tensor:
    """`mollifier.engines.linalg.dense.solved` of tensors."""
    return torch.from_numpy(dense.solved(matrix.numpy(), right.numpy()))
