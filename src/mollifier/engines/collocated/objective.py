"""The loss: data and equation weighted by the noise level, and a smoothness prior on unknown fields.

With standard errors sd_i, n samples, N collocation points, s the rms size of the equation's terms and tau the
noise of the data over their standard deviation,

    loss = 1/n sum_i ((u_i - d_i)/sd_i)^2 + w 1/N sum_j (r_j/(s tau))^2 + sum_k a_k mean |curvature of k|^2,

so that n/2 times the loss is a negative log-likelihood in which the equation's residual, relative to its
terms, has w^(-1/2) times the relative standard error of the data. Gauss-Newton replaces the curvature by the
Matern priors of maximum evidence (`mollifier.engines.network.smoothness`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from mollifier.data.observations import Observations, Samples
from mollifier.engines.collocated.model import Model
from mollifier.engines.collocated.settings import CollocatedSettings
from mollifier.engines.likelihood import Likelihood, loss, weights
from mollifier.errors import ConfigurationError
from mollifier.mollify.arrays import Array, Index


@dataclass(frozen=True)
class Losses:
    """The parts of the loss; `total` is what is minimised."""

    data: Tensor
    equation: Tensor
    prior: Tensor

    @property
    def total(self) -> Tensor:
        """What is minimised: the sum of the parts, shape ()."""
        return self.data + self.equation + self.prior

    @property
    def parts(self) -> dict[str, Tensor]:
        """The parts and their sum by name."""
        return {"data": self.data, "residual": self.equation, "prior": self.prior, "loss": self.total}

    def numbers(self) -> dict[str, float]:
        """The parts and their sum as Python's numbers, by name."""
        return plain(self.parts)


def plain(values: Mapping[str, Tensor]) -> dict[str, float]:
    """Tensors of shape () as numbers: a device is waited for once."""
    return dict(zip(values, torch.stack([v.detach() for v in values.values()]).tolist(), strict=True))


@dataclass(frozen=True)
class Target:
    """Samples of one field that are fitted."""

    #: Which block's which channel.
    block: int
    channel: int
    name: str  #: The field, or the unknown field.
    samples: Samples  #: Its samples, with standard errors not below the floor.
    floor: float  #: Least standard error of a sample.


class Objective(nn.Module):
    """The loss of a model against the observations that are fitted."""

    def __init__(self, model: Model, fitted: Observations, settings: CollocatedSettings) -> None:
        super().__init__()
        self.tuning = tuning = settings.tuning
        self.model = model
        self.weight = settings.training.equation_weight
        self.likelihood: Likelihood = settings.training.likelihood
        #: Equations; these and the conditions; and the part of the grid on which each of them is imposed.
        self.equations = model.problem.system.equations
        self.imposed = model.problem.system.imposed
        self.parts = (*[model.whole] * len(self.equations), *model.parts)
        fields = model.problem.unknown_fields
        self._unknown_fields = tuple(fields)
        floor = settings.training.noise_floor
        #: Samples that are fitted, of states and of unknown fields.
        self.targets: list[Target] = []
        hidden: list[Target] = []
        relative = []
        self.count = 0  #: Number of fitted values; repeats at one place count once, as their weighted mean.
        for b, block in enumerate(model.state_blocks):
            for channel, name in enumerate(block.names):
                if name in model.problem.hidden:
                    hidden.append(Target(b, channel, name, _no_samples(block.grid.names), 0.0))
                    continue
                samples = fitted.samples(name)
                if not len(samples.values):
                    raise ConfigurationError(f"The field '{name}' has no finite sample to fit.")
                level, spread = float(samples.values.mean()), float(samples.values.std())
                spread = spread if spread > 1e-12 * abs(level) else abs(level) or 1.0
                # The floor is relative to the standard deviation: an offset is no measure of precision.
                samples = samples.floored(floor * spread)
                sd = self._hold(b, name, samples)
                if self.likelihood != "normal":
                    self.register_buffer(f"weight_{name}", torch.ones(len(sd), dtype=torch.float64))
                relative.append(float(np.sqrt(np.mean(sd**2))) / spread)
                self.targets.append(Target(b, channel, name, samples, floor * spread))
                block.level[channel], block.scale[channel] = level, spread
        #: The targets, and after them the hidden states, without samples.
        self.states = [*self.targets, *hidden]
        self.measurements: list[Target] = []
        for i, name in enumerate(fields):
            if name in model.problem.measurements:
                samples, b = model.problem.measurements[name], len(model.state_blocks) + i
                self._hold(b, name, samples)
                self.measurements.append(Target(b, 0, name, samples, 0.0))
        #: Relative noise: rms standard error of the states' samples over their standard deviation.
        self.tau = float(np.sqrt(np.mean(np.square(relative))))
        #: Rms size of the terms of each equation and condition on the whole grid; set by `measure`.
        self.sizes: Tensor
        self.register_buffer("sizes", torch.ones(len(self.imposed), dtype=torch.float64))
        self.field_scales: Tensor
        self.register_buffer("field_scales", torch.ones(len(fields), dtype=torch.float64))
        expected = tuning.curvature_weight * min(1.0, tuning.curvature_values / self.count)
        given = [expected if u.smoothness is None else u.smoothness for u in fields.values()]
        #: Weights of the smoothness priors: of the curvature of each unknown field, shape (unknown fields,),
        #: and of the third derivatives of each state along each coordinate, shape (states, coordinates),
        #: which are zero for networks.
        self.strengths: Tensor
        self.register_buffer("strengths", torch.tensor(given, dtype=torch.float64))
        self.roughness: Tensor
        dimensions = len(model.problem.coordinates)
        self.register_buffer("roughness", torch.zeros(len(self.states), dimensions, dtype=torch.float64))
        #: Mean squared misfit of the data after a fit without the equation; one without such a fit.
        self.attainable: Tensor
        self.register_buffer("attainable", torch.ones((), dtype=torch.float64))

    def _hold(self, block: int, name: str, samples: Samples) -> Array:
        """Store fitted values as buffers, repeats pooled; returns their standard errors."""
        pooled = _pooled(self.model.places[block].index(samples.points), samples.values, samples.sd)
        for kind, values in zip(("index", "value", "sd"), pooled, strict=True):
            self.register_buffer(f"{kind}_{name}", torch.as_tensor(values), persistent=False)
        self.count += len(pooled[0])
        return pooled[2]

    @property
    def rows_vary(self) -> bool:
        """Whether rows of the data change between steps: by a robust likelihood, or gains in the noise."""
        return self.likelihood != "normal" or any(n.gains.any() for n in self.model.noise.values())

    @property
    def fitted(self) -> list[Target]:
        """Targets and measurements of unknown fields."""
        return [*self.targets, *self.measurements]

    def target_tensors(self, target: Target) -> tuple[Tensor, Tensor, Tensor]:
        """Place, value and standard error of every sample of a target, each of shape (n,).

        Where the likelihood is robust, values far from the fit have larger standard errors.
        """
        index, value, sd = self._held(target)
        weight = self._buffers.get(f"weight_{target.name}")
        return index, value, sd if weight is None else sd / weight.sqrt()

    def _held(self, target: Target) -> list[Tensor]:
        """Places, values and standard errors (n,) of a target's samples, as `_hold` has stored them."""
        return [self.get_buffer(f"{kind}_{target.name}") for kind in ("index", "value", "sd")]

    def reweigh(self, states: Sequence[Array], least_scale: float) -> float:
        """Weigh the targets' values by their residuals, and let gains multiply the states.

        Returns the largest mean relative change of a target's weights, or of what gains multiply. ``states``
        are those of the targets at all places of their blocks, in physical units; ``least_scale`` limits the
        scale of the noise, in stated standard errors.
        """
        moved = 0.0
        for target, state in zip(self.targets, states, strict=True):
            if target.name in self.model.noise:
                moved = max(moved, self.model.noise[target.name].follow(state))
            if self.likelihood == "normal":
                continue
            (index, value, sd), old = self._held(target), self.get_buffer(f"weight_{target.name}")
            there = self.measured(target, torch.from_numpy(state).to(sd)).detach()[index].cpu().numpy()
            z = (there - value.cpu().numpy()) / sd.cpu().numpy()
            new = torch.from_numpy(weights(z, self.likelihood, least_scale)).to(old)
            moved = max(moved, float((new - old).abs().sum() / old.sum()))
            old.copy_(new)
        return moved

    def measured(self, target: Target, state: Tensor) -> Tensor:
        """What measurements of a state (places,) would be, with the noise that they share."""
        noise = self.model.noise.get(target.name)
        return state if noise is None else state + noise(state)

    def data_loss(self, observed: Mapping[int, Tensor]) -> Tensor:
        """Mean of minus twice the log-likelihood of the values fitted of the blocks observed."""
        total = self.sizes.new_zeros(())
        for target in (t for t in self.fitted if t.block in observed):
            index, value, sd = self._held(target)
            z = (self.measured(target, observed[target.block][target.channel])[index] - value) / sd
            total = total + loss(z, self.likelihood if target in self.targets else "normal").sum()
        total = total + sum(n.coefficients.square().sum() for n in self.model.noise.values())
        return total / self.count

    def residuals(self, env: dict[str, Tensor]) -> list[Tensor]:
        """The residual of each equation and condition where it is imposed, relative to its unit.

        ``env`` is the environment on the whole grid. The unit is the rms of the terms, or the standard error
        of a condition that has one.
        """
        envs = {id(self.model.whole): env}
        for part in self.model.parts:
            envs[id(part)] = part.environment(self.model.numbers())
        found = zip(self.imposed, self.parts, self.sizes, strict=True)
        return [(e.evaluate(envs[id(p)]) / (e.noise or s)).expand(p.place.grid.shape) for e, p, s in found]

    def share(self, i: int, weight: float) -> float:
        """Factor of the residual of an equation or condition, given by number, in the rows of the loss.

        ``weight`` multiplies that of what holds exactly. A condition with a standard error counts as so many
        samples as its part of the grid holds independent places.
        """
        return self._share(i, weight) / (self.imposed[i].noise or float(self.sizes[i]))

    def _share(self, i: int, weight: float) -> float:
        """The same of the residual relative to its unit."""
        part = self.parts[i]
        if self.imposed[i].noise:
            return float(np.sqrt(part.independent / (part.count * self.count)))
        return float(np.sqrt(weight * self.weight / part.count)) / self.tau

    def prior(self, curvatures: dict[str, list[Tensor]]) -> Tensor:
        """Weighted mean squared curvature of every unknown field."""
        total = self.sizes.new_zeros(())
        for name, bends in curvatures.items():
            i = self._unknown_fields.index(name)
            squares = torch.stack([b.square().mean() for b in bends]).sum()
            total = total + self.strengths[i] * squares / self.field_scales[i] ** 2
        return total

    def strength(self, name: str) -> float:
        """Weight of the mean squared curvature of an unknown field."""
        return float(self.strengths[self._unknown_fields.index(name)])

    def set_strength(self, name: str, strength: float) -> None:
        """Set the weight of the mean squared curvature of an unknown field."""
        self.strengths[self._unknown_fields.index(name)] = strength

    def field_scale(self, name: str) -> float:
        """Unit of an unknown field's curvature; set with the field's level."""
        return float(self.field_scales[self._unknown_fields.index(name)])

    def set_field_scale(self, name: str, scale: float) -> None:
        """Set the unit of an unknown field's curvature."""
        self.field_scales[self._unknown_fields.index(name)] = scale

    def measure(self) -> None:
        """Set the equations' sizes to those of the model at its present parameters."""
        with torch.no_grad():
            env, _, _ = self.model()
            for i, e in enumerate(self.imposed):
                terms = [self.model.whole.within(t) for t in e.evaluate_terms(env)]
                squares = [t[torch.isfinite(t)].square().mean() for t in terms if torch.isfinite(t).any()]
                size = float(torch.stack(squares).sum().sqrt()) if squares else 0.0
                if np.isfinite(size) and size > 0:
                    self.sizes[i] = size

    def forward(self, weight: float = 1.0) -> Losses:
        """The loss, with the weights of the equation and of unknown fields' smoothness times ``weight``."""
        env, observed, curvatures = self.model()
        squares = [
            part.within(r).square().sum() * self._share(i, weight) ** 2
            for i, (part, r) in enumerate(zip(self.parts, self.residuals(env), strict=True))
        ]
        return Losses(self.data_loss(observed), torch.stack(squares).sum(), weight * self.prior(curvatures))

    def first_non_finite(self) -> str:
        """The name of the first term of the loss that is not finite."""
        with torch.no_grad():
            env, observed, _ = self.model()
            for t in self.fitted:
                if not torch.isfinite(observed[t.block][t.channel]).all():
                    return f"the fitted field '{t.name}'"
            for e in self.imposed:
                for term, value in zip(e.terms, e.evaluate_terms(env), strict=True):
                    if not torch.isfinite(value).all():
                        return f"the term '{term}' of '{e.text}'"
            if not torch.isfinite(self().total):
                return "the sum of squares"
        return "the gradient"


def _no_samples(coordinates: tuple[str, ...]) -> Samples:
    return Samples(coordinates, np.zeros((0, len(coordinates))), np.zeros(0), np.zeros(0))


def _pooled(index: Index, values: Array, sd: Array) -> tuple[Index, Array, Array]:
    """Repeats at one place as one value: their weighted mean and its standard error.

    Their spread is a constant of the loss, which would hide its decrease.
    """
    places, which = np.unique(index, return_inverse=True)
    weight = np.bincount(which, sd**-2)
    mean = np.bincount(which, values / sd**2) / weight
    return places, mean, np.asarray(1 / np.sqrt(weight), dtype=np.float64)
