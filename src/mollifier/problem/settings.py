"""Settings as checked models: unknown keys are refused with the nearest key named."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticCustomError

from mollifier.errors import ConfigurationError, did_you_mean
from mollifier.mollify.kernels import KERNELS

Model = TypeVar("Model", bound=BaseModel)
_UNKNOWN_KEY = ("extra_forbidden", "unexpected_keyword_argument")
_QUOTED = re.compile(r"'([^']*)'")


class Strict(BaseModel):
    """A model that is frozen and refuses unknown keys."""

    # Built where first used: most models are those of engines that do not run.
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    @field_validator("*", mode="before")
    @classmethod
    def _no_flag_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse true and false where a number is expected, which pydantic takes for 1 and 0."""
        annotation = str(cls.model_fields[str(info.field_name)].annotation)
        within = isinstance(value, Mapping) and annotation.startswith(("dict[str, float", "dict[str, int"))
        flags = any(isinstance(v, bool) for v in (value.values() if within else [value]))
        if flags and not re.search(r"\bbool\b|^typing.Any$", annotation):
            raise PydanticCustomError("flag", "Input should not be true or false")
        return value


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


class CollocationSettings(Strict):
    """Where the equation is imposed, and the kernel."""

    nodes: dict[str, Annotated[int, Field(ge=4)]] | None = Field(
        default=None, description="Nodes along some or all axes; from the data if absent."
    )
    radius: Literal["auto"] | PositiveFloat | dict[str, PositiveFloat] = Field(
        default="auto", description="Half-width of the kernel in the units of each axis."
    )
    kernel: Annotated[str, AfterValidator(registered(KERNELS, "auto"))] = Field(
        default="auto", description="`bspline`, `polynomial` or `bump`."
    )
    degree: int | None = Field(default=None, ge=1, description="Degree of the B-spline or polynomial kernel.")
    accuracy: int = Field(default=2, ge=1, description="Order of accuracy of the kernel's moments.")
    region: Literal["data", "box"] = Field(
        default="data",
        description="Impose the equation in the measured region of space, or in its whole box.",
    )
    max_nodes: int = Field(default=40_000, ge=16, description="Upper limit on automatically chosen nodes.")


def validated(model: type[Model], values: Model | Mapping[str, Any] | None, where: str = "") -> Model:
    """A model from plain values at a dotted place, the default one from None; a model is returned as it is.

    >>> validated(CollocationSettings, {"degree": 7}).degree
    7
    >>> validated(CollocationSettings, {"degre": 7}, "collocation")
    Traceback (most recent call last):
    mollifier.errors.ConfigurationError: Unknown key 'collocation.degre'. Did you mean 'degree'?
    """
    try:
        return model.model_validate({} if values is None else values)
    except ValidationError as error:
        # Unknown keys first, so that a misspelt one is named and not merely missed.
        first = min(error.errors(), key=lambda e: e["type"] not in _UNKNOWN_KEY)
        path = [str(p) for p in first["loc"]]
        if first["type"] in _UNKNOWN_KEY:
            place = ".".join([where, *path] if where else path)
            hint = did_you_mean(path[-1], keys_at(model, path[:-1]))
            raise ConfigurationError(f"Unknown key '{place}'.{hint}") from None
        raise ConfigurationError(_wrong_value(model, error.errors(), where)) from None


def _wrong_value(model: type, errors: Sequence[Any], where: str) -> str:
    """The first wrong value, as deep as a union's branches reach, and all that would have been right there.

    >>> validated(CollocationSettings, {"kernel": "bsplin"})
    Traceback (most recent call last):
    mollifier.errors.ConfigurationError: 'kernel' was given as 'bsplin': input should be 'auto', 'bspline',
    'polynomial' or 'bump'. Did you mean 'bspline'?
    >>> validated(CollocationSettings, {"radius": -1}, "collocation")
    Traceback (most recent call last):
    mollifier.errors.ConfigurationError: 'collocation.radius' was given as -1: input should be 'auto', or
    input should be greater than 0, or input should be a mapping.
    """
    first = _plain(errors[0]["loc"])
    places: list[list[str]] = [_plain(e["loc"]) for e in errors]
    place = max((p for p in places if p[: len(first)] == first), key=lambda p: len(p))
    same = [e for e in errors if _plain(e["loc"]) == place]
    name = ".".join([where, *place] if where else place)
    given = same[0]["input"]
    if same[0]["type"] == "missing":
        return f"The key '{name}' was expected and not given; {given!r} was given."
    keys = ", ".join(keys_at(model, place))
    said = (
        f"Input should be a mapping with some of the keys {keys}" if e["type"] == "model_type" else e["msg"]
        for e in same
    )
    expected = dict.fromkeys(_plain_words(text[:1].lower() + text[1:]) for text in said)
    known = [k for e in same if e["type"] == "literal_error" for k in _QUOTED.findall(e["ctx"]["expected"])]
    near = did_you_mean(given, known) if isinstance(given, str) else ""
    hint = near if near.startswith(" Did") else ""
    return f"'{name}' was given as {given!r}: {', or '.join(expected)}.{hint}"


def _plain_words(text: str) -> str:
    """What pydantic expected, in the words of a problem file."""
    for word, plain in (("dictionary", "a mapping"), ("string", "text"), ("number", "a number")):
        text = text.replace(f"a valid {word}", plain)
    return text


def _plain(loc: Sequence[Any]) -> list[str]:
    """Without the names of a union's branches, which pydantic puts between the keys.

    >>> _plain(("collocation", "radius", "literal['auto']")), _plain(("radius", "dict[str,float]", "x"))
    (['collocation', 'radius'], ['radius', 'x'])
    """
    plain, generic = {"float", "int", "str", "bool"}, ("constrained-", "literal[", "dict[", "list[", "tuple[")
    return [str(p) for p in loc if not (p in plain or str(p).startswith(generic))]


def keys_of(model: type) -> dict[str, type | None]:
    """Keys of a model or of a dataclass, with the model or dataclass of those that are sections.

    Keys that plugins add to a model are those of its function ``more_keys``, if it has one.

    >>> keys_of(CollocationSettings)["radius"], list(keys_of(CollocationSettings))[:2]
    (None, ['nodes', 'radius'])
    """
    if is_dataclass(model):
        return dict.fromkeys((f.name for f in fields(model)), None)
    found: dict[str, type | None] = {}
    for name, field in model.model_fields.items() if issubclass(model, BaseModel) else ():
        kinds = [field.annotation, *getattr(field.annotation, "__args__", ())]
        sections = (k for k in kinds if isinstance(k, type) and (is_dataclass(k) or issubclass(k, BaseModel)))
        found[name] = next(sections, None)
    return found | dict.fromkeys(getattr(model, "more_keys", tuple)())


def keys_at(model: type, path: Sequence[str]) -> dict[str, type | None]:
    """As `keys_of`, of the section at a path; empty where there is no such section."""
    for part in (p for p in path if not p.isdecimal()):  # numbers of a list's entries
        inner = keys_of(model).get(part)
        if inner is None:
            return {}
        model = inner
    return keys_of(model)
