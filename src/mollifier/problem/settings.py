"""Choices of a run, with their defaults; unknown keys are refused with the nearest key named."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PositiveFloat, ValidationError
from pydantic_core import PydanticCustomError

from mollifier.errors import ConfigurationError, did_you_mean
from mollifier.mollify.kernels import KERNELS

Model = TypeVar("Model", bound=BaseModel)
_QUOTED = re.compile(r"'([^']*)'")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def registered(registry: Mapping[str, Any], *more: str) -> Callable[[str], str]:
    """A validator of names: those of a registry when the value is checked, and some more."""

    def check(name: str) -> str:
        known = (*more, *registry)
        if name not in known:
            listed = ", ".join(f"'{k}'" for k in known[:-1])
            expected = {"expected": f"{listed} or '{known[-1]}'" if listed else f"'{known[-1]}'"}
            raise PydanticCustomError("literal_error", "Input should be {expected}", expected)
        return name

    return check


class Collocation(_Strict):
    """Where the equation is imposed, and the kernel."""

    nodes: dict[str, Annotated[int, Field(ge=4)]] | None = Field(
        default=None, description="Nodes along some or all axes; from the data if absent."
    )
    radius: Literal["auto"] | PositiveFloat | dict[str, PositiveFloat] = Field(
        default="auto", description="Half-width of the kernel in the units of each axis."
    )
    kernel: Annotated[str, AfterValidator(registered(KERNELS, "auto"))] = "auto"
    degree: int | None = Field(default=None, ge=1, description="Degree of the B-spline or polynomial kernel.")
    accuracy: int = Field(default=2, ge=1)
    max_nodes: int = Field(default=40_000, ge=16, description="Most nodes that are chosen by themselves.")


class Network(_Strict):
    """The network that stands for each field; what is absent has the kind's own default."""

    kind: Literal[
        "mlp", "fourier", "modified-mlp", "piratenet", "pinnsformer", "siren", "separable", "random-features"
    ] = "mlp"
    width: int | None = Field(default=None, ge=1)
    depth: int | None = Field(default=None, ge=1)
    activation: str | None = Field(default=None)
    factorised: bool | None = Field(default=None, description="Random weight factorisation.")
    fourier: int | None = Field(default=None, ge=0, description="Random Fourier features; 0 for none.")
    fourier_scale: float | None = Field(default=None, gt=0)
    frequency: float | None = Field(default=None, gt=0, description="Of the sines of a siren.")
    rank: int | None = Field(default=None, ge=1, description="Products in the sum of a separable network.")
    hidden: int | None = Field(default=None, ge=1, description="Units in a pinnsformer's perceptrons.")
    heads: int | None = Field(default=None, ge=1, description="Of a pinnsformer's attention.")
    length: int | None = Field(default=None, ge=1, description="Times in a pinnsformer's sequence.")
    step: float | None = Field(
        default=None, gt=0, description="Between these times, in half-lengths of the domain."
    )


class Training(_Strict):
    """Optimisers and when to stop.

    ``steps`` counts Gauss-Newton or L-BFGS steps after the Adam warm-up on the data alone.
    ``equation_weight`` is the weight of the equation's relative residual when it is measured in units of
    the relative noise.
    """

    optimiser: Literal["auto", "gauss-newton", "lbfgs"] = "auto"
    warmup_steps: int = Field(default=1000, ge=0)
    adam_steps: int = Field(default=1000, ge=0, description="Adam steps on the whole loss before L-BFGS.")
    learning_rate: float = Field(default=5e-3, gt=0)
    steps: int | None = Field(
        default=None, ge=0, description="150 Gauss-Newton or 2,000 L-BFGS steps if absent."
    )
    equation_weight: float = Field(default=1.0, gt=0)
    noise_floor: float = Field(
        default=1e-3, gt=0, description="Smallest relative noise that the fit is weighted with."
    )
    tolerance: float = Field(
        default=1e-3, gt=0, description="Relative decrease of the loss per step below which it stops."
    )
    time_limit: float | None = Field(default=None, gt=0, description="Seconds.")
    precision: Literal["float32", "float64"] | None = Field(
        default=None, description="Of the networks; float64 if absent. Kernel sums run in float64 anyway."
    )
    device: str = Field(default="cpu", description="'cpu' or 'cuda'.")
    checkpoint_every: float = Field(default=30.0, gt=0, description="Seconds between checkpoints.")
    checkpoint_steps: int | None = Field(
        default=None, ge=1, description="Steps between checkpoints, beside the seconds; none if absent."
    )


class Joint(_Strict):
    """The joint engine, which takes ``collocation`` and parts of ``training`` beside."""

    cells: Annotated[int, Field(ge=2)] | dict[str, Annotated[int, Field(ge=2)]] | None = Field(
        default=None,
        description="Cells of the spline that stands for an unknown field, along all or some coordinates; "
        "128, 16 or 8 for fields over one, two or three if absent.",
    )


class Settings(_Strict):
    """All choices of a run of the network and joint engines."""

    derivatives: Literal["mollifier", "nested", "taylor"] = "mollifier"
    collocation: Collocation = Collocation()
    network: Network = Network()
    training: Training = Training()
    joint: Joint = Joint()
    held_out: float = Field(
        default=0.1, ge=0, lt=1, description="Fraction of the observations kept out of the fit."
    )


def validated(model: type[Model], values: Model | Mapping[str, Any] | None, where: str = "") -> Model:
    """A model from plain values, the default one from None; one that is a model already stays.

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
        return model.model_validate({} if values is None else values)
    except ValidationError as error:
        first = error.errors()[0]
        path = [str(p) for p in first["loc"]]
        if first["type"] == "extra_forbidden":
            place = ".".join([where, *path] if where else path)
            hint = did_you_mean(path[-1], _keys_at(model, path[:-1]))
            raise ConfigurationError(f"Unknown key '{place}'.{hint}") from None
        raise ConfigurationError(_wrong_value(error.errors(), where)) from None


def _wrong_value(errors: Sequence[Any], where: str) -> str:
    """The first wrong value, as deep as a union's branches reach, and all that would have been right there.

    >>> validated(Settings, {"network": {"kind": "piratnet"}})
    Traceback (most recent call last):
    mollifier.errors.ConfigurationError: 'network.kind' was given as 'piratnet': input should be 'mlp',
    'fourier', 'modified-mlp', 'piratenet', 'pinnsformer', 'siren', 'separable' or 'random-features'.
    Did you mean 'piratenet'?
    >>> validated(Settings, {"collocation": {"radius": -1}})
    Traceback (most recent call last):
    mollifier.errors.ConfigurationError: 'collocation.radius' was given as -1: input should be 'auto', or
    input should be greater than 0, or input should be a valid dictionary.
    """
    first = _plain(errors[0]["loc"])
    places: list[list[str]] = [_plain(e["loc"]) for e in errors]
    place = max((p for p in places if p[: len(first)] == first), key=lambda p: len(p))
    same = [e for e in errors if _plain(e["loc"]) == place]
    wanted = dict.fromkeys(e["msg"][:1].lower() + e["msg"][1:] for e in same)
    name = ".".join([where, *place] if where else place)
    given = same[0]["input"]
    known = [k for e in same if e["type"] == "literal_error" for k in _QUOTED.findall(e["ctx"]["expected"])]
    near = did_you_mean(given, known) if isinstance(given, str) else ""
    hint = near if near.startswith(" Did") else ""
    return f"'{name}' was given as {given!r}: {', or '.join(wanted)}.{hint}"


def _plain(loc: Sequence[Any]) -> list[str]:
    """Without the names of a union's branches, which pydantic puts between the keys.

    >>> _plain(("collocation", "radius", "literal['auto']")), _plain(("radius", "dict[str,float]", "x"))
    (['collocation', 'radius'], ['radius', 'x'])
    """
    plain, generic = {"float", "int", "str", "bool"}, ("constrained-", "literal[", "dict[", "list[", "tuple[")
    return [str(p) for p in loc if not (p in plain or str(p).startswith(generic))]


def _keys_at(model: type[BaseModel], path: list[str]) -> list[str]:
    for part in path:
        field = model.model_fields.get(part)
        kinds = [] if field is None else [field.annotation, *getattr(field.annotation, "__args__", ())]
        inner = next((k for k in kinds if isinstance(k, type) and issubclass(k, BaseModel)), None)
        if inner is None:
            return []
        model = inner
    return list(model.model_fields)
