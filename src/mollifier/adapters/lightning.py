"""PyTorch Lightning: a network, a mollifier layer and unknown parameters as a `LightningModule`."""

# An extra, not installed for development.
from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import lightning
import torch
from torch import Tensor, nn

from mollifier.adapters.residual import ResidualLayer
from mollifier.errors import ConfigurationError, DataError


class MollifiedModule(lightning.LightningModule):
    """Fits a network to measurements and equations, and the equations' unknowns with it.

    The loss is ``mean((u - data)^2) + weight * mean(residual^2)``, over the measurements that are not NaN and
    over the grid. Under a trainer of mixed precision network and layer run in full precision all the same:
    derivatives of rounded values are noise.

    Parameters
    ----------
    network
        Module from coordinates (n, d) to values (n, n_fields).
    residual
        Equations on their layer.
    data
        Measurements on the layer's grid, (*grid.shape) or (n_fields, *grid.shape), NaN where there are none.
        With ``points``, (n,) or (n_fields, n).
    unknowns
        Start value of each unknown of the equations.
    points
        Places of scattered measurements, (n, d), or a mapping of (n,) by coordinate.
    positive
        Unknowns that are trained as their logarithm, of the sign of their start value.
    weight
        Of the residual against the data.
    rate
        Learning rate of Adam; override ``configure_optimizers`` for another optimiser.
    steps
        Steps in an epoch: each is over the whole grid.

    Raises
    ------
    ConfigurationError
        If the unknowns are not those of the equations, or a positive one starts at zero.
    DataError
        If the data have another shape, or are all NaN.
    """

    data: Tensor

    def __init__(
        self,
        network: nn.Module,
        residual: ResidualLayer,
        data: Any,
        unknowns: Mapping[str, float] | None = None,
        *,
        points: Any = None,
        positive: Collection[str] = (),
        weight: float = 1.0,
        rate: float = 1e-2,
        steps: int = 100,
    ) -> None:
        super().__init__()
        self.network, self.residual = network, residual
        self.weight, self.rate, self.steps = weight, rate, steps
        start = dict(unknowns or {})
        if sorted(start) != sorted(residual.unknowns) or not {*positive} <= {*start}:
            raise ConfigurationError(
                f"Start values were given for {sorted(start)}, positive are {sorted(positive)}; the unknowns "
                f"of the equations are {sorted(residual.unknowns)}."
            )
        if zero := [n for n in positive if not start[n]]:
            raise ConfigurationError(f"{', '.join(zero)} starts at 0, which has no logarithm.")
        self._scale = {n: start[n] for n in positive}
        raw = {n: torch.tensor(0.0 if n in self._scale else float(v)) for n, v in start.items()}
        self.raw = nn.ParameterDict({n: nn.Parameter(v) for n, v in raw.items()})
        self.sampler = None if points is None else residual.sampler(points)
        values = torch.as_tensor(data, dtype=torch.get_default_dtype())
        shape = residual.grid.shape if points is None else values.shape[-1:]
        whole = (len(residual.fields), *shape)
        if values.shape != whole and (1, *values.shape) != whole:
            raise DataError(f"Data of shape {tuple(values.shape)} were given; {whole} was expected.")
        if not torch.isfinite(values).any():
            raise DataError("The data hold no finite value.")
        self.register_buffer("data", values.reshape(whole), persistent=False)

    @property
    def estimates(self) -> dict[str, float]:
        """Current value of each unknown."""
        return {n: float(v) for n, v in self._unknowns().items()}

    def losses(self) -> tuple[Tensor, Tensor]:
        """Mean squares of the misfit to the data and of the residual."""
        with torch.autocast(self.device.type, enabled=False):
            g = self.network(self.residual.coords())
            fields, residuals = self.residual(g, self._unknowns())
            if self.sampler is not None:
                fields = self.sampler(self.residual.channels(g))[self.residual.fields[0]]
            known = torch.isfinite(self.data)
            return (fields - self.data)[known].square().mean(), residuals.square().mean()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """The loss over the whole grid; the batch is a count of steps."""
        misfit, residual = self.losses()
        self.log_dict({"misfit": misfit, "residual": residual}, batch_size=1)
        return misfit + self.weight * residual

    def train_dataloader(self) -> Any:
        """As many steps as an epoch has."""
        return range(self.steps)

    def configure_optimizers(self) -> Any:
        """Adam with a rate that falls to zero over the epochs of the trainer."""
        optimiser = torch.optim.Adam(self.parameters(), lr=self.rate)
        total = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, total)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _unknowns(self) -> dict[str, Tensor]:
        return {n: self._scale[n] * v.exp() if n in self._scale else v for n, v in self.raw.items()}


class LogEstimates(lightning.Callback):
    """Logs the unknowns at the end of each epoch, and keeps them in ``history``, one mapping an epoch."""

    def __init__(self) -> None:
        self.history: list[dict[str, float]] = []

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Log ``pl_module.estimates``."""
        self.history.append(pl_module.estimates)
        pl_module.log_dict(pl_module.estimates)
