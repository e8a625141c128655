"""Settings of the network engine."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import InitErrorDetails

from mollifier.engines.collocated.settings import CollocatedSettings, CollocatedTraining
from mollifier.engines.network.tuning import NetworkTuning
from mollifier.nn.registry import NETWORKS, options
from mollifier.problem.settings import Strict, registered


class Network(Strict):
    """The network that represents each field; what is absent has the kind's default.

    Networks of plugins may have other options: those in the signature of their class.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    kind: Annotated[str, AfterValidator(registered(NETWORKS))] = Field(
        default="mlp", description="A network's name."
    )
    width: int | None = Field(default=None, ge=1, le=20_000, description="Neurons of a layer.")
    depth: int | None = Field(default=None, ge=1, le=200, description="Layers.")
    activation: str | None = Field(default=None, description="`tanh`, `sin`, `gelu`, `silu` or `wavelet`.")
    factorised: bool | None = Field(default=None, description="Random weight factorisation.")
    fourier: int | None = Field(default=None, ge=0, description="Random Fourier features; 0 for none.")
    fourier_scale: float | None = Field(default=None, gt=0, description="About how many waves they cover.")
    frequency: float | None = Field(default=None, gt=0, description="Of the sines of a siren.")
    rank: int | None = Field(default=None, ge=1, description="Products in the sum of a separable network.")
    hidden: int | None = Field(default=None, ge=1, description="Units in a pinnsformer's perceptrons.")
    heads: int | None = Field(default=None, ge=1, description="Of a pinnsformer's attention.")
    length: int | None = Field(default=None, ge=1, description="Times in a pinnsformer's sequence.")
    step: float | None = Field(
        default=None, gt=0, description="Between these times, in half-lengths of the domain."
    )

    @staticmethod
    def more_keys() -> tuple[str, ...]:
        """Options of the networks that are loaded, those of plugins among them."""
        return tuple(dict.fromkeys(o for kind in NETWORKS.loaded() for o in options(kind)))

    @model_validator(mode="after")
    def _options_of_the_kind(self) -> Self:
        """Refuse an option that neither this model nor the kind has."""
        more = self.model_extra or {}
        wrong = [n for n in more if n not in options(self.kind)]
        if wrong:
            error = InitErrorDetails(type="extra_forbidden", loc=(wrong[0],), input=more[wrong[0]])
            raise ValidationError.from_exception_data("Network", [error])
        return self


class NetworkTraining(CollocatedTraining):
    """Optimisers and when to stop.

    ``steps`` counts Gauss-Newton or L-BFGS steps after the Adam warm-up on the data alone.
    """

    optimiser: Literal["auto", "gauss-newton", "lbfgs"] = Field(
        default="auto", description="Gauss-Newton up to 6,000 weights, else L-BFGS."
    )
    warmup_steps: int = Field(default=1000, ge=0, description="Most Adam steps on the data alone.")
    adam_steps: int = Field(default=1000, ge=0, description="Adam steps on the whole loss before L-BFGS.")
    learning_rate: float = Field(default=5e-3, gt=0, description="Of Adam.")
    precision: Literal["float32", "float64"] | None = Field(
        default=None, description="Of the networks; float64 if absent. Kernel sums run in float64 anyway."
    )
    device: str = Field(default="cpu", description="'cpu' or 'cuda'.")


class NetworkSettings(CollocatedSettings):
    """Settings of the network engine."""

    derivatives: Literal["mollifier", "nested", "taylor"] = Field(
        default="mollifier", description="By the layer, or by autodiff: nested, or Taylor mode."
    )
    network: Network = Field(Network(), description="The network of each field.")
    training: NetworkTraining = Field(NetworkTraining(), description="Optimisers, and when to stop.")
    tuning: NetworkTuning = Field(NetworkTuning(), description="Numbers that steer the engine.")
