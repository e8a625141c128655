"""The loss: data and equation weighed by the noise level, and a weak smoothness prior on unknown fields.

With standard errors sd_i, n samples, N collocation points, s the rms size of the equation's terms and tau the relative
noise of the data,

    loss = (1/n) sum_i ((u_i - d_i)/sd_i)^2  +  w (1/N) sum_j (r_j/(s tau))^2  +  sum_k a_k mean |curvature of k|^2,

so that n/2 times the loss is a negative log-likelihood in which the equation holds, relative to its terms, to w^(-1/2)
times what the data are worth relative to theirs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from mollifier.data import Observations, Samples
from mollifier.engines.model import Model
from mollifier.settings import Settings


@dataclass(frozen=True)
class Losses:
    """The parts of the loss; `total` is what is minimised."""

    data: Tensor
    equation: Tensor
    prior: Tensor

    @property
    def total(self) -> Tensor:
        """Sum of the parts."""
        return self.data + self.equation + self.prior

    def numbers(self) -> dict[str, float]:
        """Plain numbers by name."""
        parts = {"data": self.data, "residual": self.equation, "prior": self.prior, "loss": self.total}
        return {n: float(v.detach()) for n, v in parts.items()}


class Objective(nn.Module):
    """The loss of a model against the observations that are fitted.

    Attributes
    ----------
    count
        Number of samples fitted.
    tau
        Relative noise of the data.
    sizes
        Rms size of each equation's terms; set by `measure`.
    """

    def __init__(self, model: Model, fitted: Observations, settings: Settings) -> None:
        super().__init__()
        self.model = model
        self.fitted = fitted
        self.weight = settings.training.equation_weight
        self.floor = settings.training.noise_floor
        self.equations = model.problem.system.equations
        self.smoothness = {n: u.smoothness for n, u in model.problem.unknown_fields.items()}
        self.count = sum(len(fitted.samples(f).values) for f in model.problem.fields)
        relative = [max(fitted.noise_sd(f) / fitted.rms(f), self.floor) for f in model.problem.fields]
        self.tau = float(np.sqrt(np.mean(np.square(relative)))) if relative else self.floor
        self.sizes: Tensor
        self.register_buffer("sizes", torch.ones(len(self.equations), dtype=torch.float64))
        self.targets: list[tuple[int, int, str]] = []
        for b, block in enumerate(model.state_blocks):
            for channel, name in enumerate(block.names):
                samples = fitted.samples(name)
                sd = self.effective_sd(name, samples)
                self.register_buffer(f"index_{name}", torch.as_tensor(model.places[b].index(samples.points)))
                self.register_buffer(f"value_{name}", torch.as_tensor(samples.values))
                self.register_buffer(f"sd_{name}", torch.as_tensor(sd))
                self.targets.append((b, channel, name))
                block.level[channel] = float(samples.values.mean())
                block.scale[channel] = float(samples.values.std()) or 1.0

    def effective_sd(self, field: str, samples: Samples) -> np.ndarray:
        """Standard errors, not below the noise floor."""
        return np.maximum(samples.sd, self.floor * self.fitted.rms(field))

    def misfits(self, observed: list[Tensor]) -> Tensor:
        """(fitted - measured)/sd of every sample, shape (count,), fields in the problem's order of blocks."""
        parts = []
        for b, channel, name in self.targets:
            index, value, sd = (getattr(self, f"{kind}_{name}") for kind in ("index", "value", "sd"))
            parts.append((observed[b][channel, index] - value) / sd)
        return torch.cat(parts)

    def residuals(self, env: dict[str, Tensor]) -> list[Tensor]:
        """Each equation's residual on the grid, relative to its terms."""
        shape = self.model.collocation.grid.shape
        return [
            (e.evaluate(env) / s).expand(shape) for e, s in zip(self.equations, self.sizes, strict=True)
        ]

    def prior(self, curvatures: dict[str, list[Tensor]]) -> Tensor:
        """Weighted mean squared curvature of every unknown field."""
        total = self.sizes.new_zeros(())
        for name, bends in curvatures.items():
            if self.smoothness[name]:
                squares = torch.stack([b.square().mean() for b in bends]).sum()
                total = total + self.smoothness[name] * squares / self.field_scale(name) ** 2
        return total

    def field_scale(self, name: str) -> float:
        """Size of an unknown field that its curvature is measured in; set when the field's level is."""
        return getattr(self, f"_scale_{name}", 1.0)

    def set_field_scale(self, name: str, scale: float) -> None:
        """Set the size that an unknown field's curvature is measured in."""
        setattr(self, f"_scale_{name}", scale)

    def measure(self) -> None:
        """Take the equations' sizes from the model as it stands."""
        with torch.no_grad():
            env, _, _ = self.model()
            for i, e in enumerate(self.equations):
                squares = [t.square().mean() for t in e.evaluate_terms(env)]
                size = float(torch.stack(squares).sum().sqrt())
                if np.isfinite(size) and size > 0:
                    self.sizes[i] = size

    def forward(self, weight: float | None = None) -> Losses:
        """The loss, with the equation's weight multiplied by ``weight`` (1 by default)."""
        env, observed, curvatures = self.model()
        squares = [r.square().mean() for r in self.residuals(env)]
        share = self.weight * (1.0 if weight is None else weight) / self.tau**2
        data = self.misfits(observed).square().sum() / max(self.count, 1)
        return Losses(data, share * torch.stack(squares).sum(), self.prior(curvatures))

    def culprit(self) -> str:
        """The first term of the loss that is not finite, named for a person."""
        with torch.no_grad():
            env, observed, _ = self.model()
            for _, _, name in self.targets:
                if not torch.isfinite(self.misfits(observed)).all():
                    return f"the fitted field '{name}'"
            for e in self.equations:
                for term, value in zip(e.terms, e.evaluate_terms(env), strict=True):
                    if not torch.isfinite(value).all():
                        return f"the term '{term}' of '{e.text}'"
        return "the gradient"
