"""Choices of a run, with their defaults; unknown keys are refused with the nearest key named."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mollifier.errors import ConfigurationError, did_you_mean

Model = TypeVar("Model", bound=BaseModel)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Collocation(_Strict):
    """Where the equation is imposed, and the kernel."""

    nodes: dict[str, int] | None = Field(None, description="Nodes along some or all axes; from the data if absent.")
    radius: Literal["auto"] | float | dict[str, float] = Field(
        "auto", description="Half-width of the kernel in the units of each axis."
    )
    kernel: Literal["auto", "bspline", "polynomial", "bump"] = "auto"
    degree: int | None = Field(None, ge=1, description="Degree of the B-spline or polynomial kernel.")
    accuracy: int = Field(2, ge=1)
    max_nodes: int = Field(40_000, ge=16, description="Most nodes that are chosen by themselves.")


class Network(_Strict):
    """The multilayer perceptron that stands for each field."""

    width: int = Field(16, ge=1)
    depth: int = Field(4, ge=1)
    activation: str = "tanh"
    fourier: int = Field(0, ge=0, description="Random Fourier features; 0 for none.")
    fourier_scale: float = Field(1.0, gt=0)


class Training(_Strict):
    """Optimisers and when to stop.

    ``steps`` counts Gauss-Newton or L-BFGS steps after the Adam warm-up on the data alone. ``equation_weight`` is the
    weight of the equation's relative residual when it is measured in units of the relative noise.
    """

    optimiser: Literal["auto", "gauss-newton", "lbfgs"] = "auto"
    warmup_steps: int = Field(1000, ge=0)
    adam_steps: int = Field(1000, ge=0, description="Adam steps on the whole loss before L-BFGS.")
    learning_rate: float = Field(5e-3, gt=0)
    steps: int | None = Field(None, ge=0, description="150 Gauss-Newton or 2,000 L-BFGS steps if absent.")
    equation_weight: float = Field(1.0, gt=0)
    noise_floor: float = Field(1e-3, gt=0, description="Smallest relative noise that the fit is weighted with.")
    tolerance: float = Field(1e-3, gt=0, description="Relative decrease of the loss per step below which it stops.")
    time_limit: float | None = Field(None, gt=0, description="Seconds.")
    precision: Literal["float32", "float64"] | None = Field(None, description="float64 for Gauss-Newton if absent.")
    device: str = "cpu"
    checkpoint_every: float = Field(30.0, gt=0, description="Seconds between checkpoints.")


class Settings(_Strict):
    """All choices of a run of the network engine."""

    derivatives: Literal["mollifier", "nested", "taylor"] = "mollifier"
    collocation: Collocation = Collocation()
    network: Network = Network()
    training: Training = Training()
    held_out: float = Field(0.1, ge=0, lt=1, description="Fraction of the observations kept out of the fit.")


def validated(model: type[Model], values: Mapping[str, Any], where: str = "") -> Model:
    """A model from plain values.

    Raises
    ------
    ConfigurationError
        With the place, what was given, and the nearest key for an unknown one.

    Examples
    --------
    >>> validated(Settings, {"training": {"steps": 10}}).training.steps
    10
    >>> validated(Settings, {"trainin": {}})
    Traceback (most recent call last):
    mollifier.errors.ConfigurationError: Unknown key 'trainin'. Did you mean 'training'?
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        path = [str(p) for p in first["loc"]]
        place = ".".join([where, *path] if where else path)
        if first["type"] == "extra_forbidden":
            hint = did_you_mean(path[-1], _keys_at(model, path[:-1]))
            raise ConfigurationError(f"Unknown key '{place}'.{hint}") from None
        raise ConfigurationError(f"'{place}' was given as {first['input']!r}: {first['msg'].lower()}.") from None


def _keys_at(model: type[BaseModel], path: list[str]) -> list[str]:
    for part in path:
        field = model.model_fields.get(part)
        kinds = [] if field is None else [field.annotation, *getattr(field.annotation, "__args__", ())]
        inner = next((k for k in kinds if isinstance(k, type) and issubclass(k, BaseModel)), None)
        if inner is None:
            return []
        model = inner
    return list(model.model_fields)
