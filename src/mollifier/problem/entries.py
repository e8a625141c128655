"""The keys of a problem file: checked models, from which the reference page is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from mollifier.problem.domain import Domain
from mollifier.problem.settings import Strict
from mollifier.problem.unknowns import FieldUnknown, ScalarUnknown, StateUnknown, Unknown

ALL = "all"  #: All coordinates, as the value of `over`.


class DataEntry(Strict):
    """The arguments of `mollifier.data.read.read`; the file is relative to the problem file."""

    file: str = Field(description="Data file, relative to the problem file.")
    values: str | list[str] | dict[str, str] | None = Field(
        None, description="Variables to keep, all if absent; `{u: usol}` also renames."
    )
    coordinates: str | list[str] | dict[str, float] | None = Field(
        None, description="Names of the coordinates; `{x: 0.65, t: 60}` are steps between samples."
    )
    noise: float | str | dict[str, float | str | dict[str, Any]] | None = Field(
        None,
        description="A fraction of rms, or `{u: 0.02}`, `{u: error_column}`, or a declaration as "
        "`{u: {fraction: 0.01, sensor_gain: 0.02}}`; estimated if absent.",
    )
    select: dict[str, Any] = Field(
        default_factory=dict, description="Column or dimension: value, or list of values."
    )
    replicates: str | list[str] | None = Field(
        None, description="Columns or dimensions that count repeats; `replicate` if there is one."
    )
    units: dict[str, str] | None = Field(None, description="Variable or coordinate: unit.")
    periodic: dict[str, bool | float] | None = Field(None, description="Coordinate: `true`, or its period.")
    rename: dict[str, str] | None = Field(None, description="Name in the file: name in the equation.")
    dims: dict[str, list[str]] | None = Field(None, description="Variable: its dimensions, in order.")
    wide: dict[str, str] | None = Field(
        None,
        description="Of a table with one column a well: `{u: well}` reads them as u along `well`.",
    )
    mask: str | None = Field(None, description="Variable that is zero where values are left out.")
    window: dict[str, tuple[float | None, float | None]] | None = Field(
        None, description="Coordinate: `[lower, upper]`, with `null` for open."
    )
    trusted: dict[str, float | list[float]] | None = Field(
        None, description="Coordinate: values where standard errors are ten times smaller, as `{t: 0}`."
    )
    mask_outliers: bool = Field(
        False, description="Leave out fill values, dead sensors and frames, isolated values."
    )
    sample: int | None = Field(None, ge=2, description="This many random points; all if absent.")
    seed: int = Field(0, ge=0, description="Seed of that sample; `--seed` does not change it.")
    gridded: bool | None = Field(None, description="Whether the data fill a grid; detected if absent.")
    format: str | None = Field(None, description="File format; from the suffix if absent.")
    chunks: dict[str, int] | None = Field(
        None,
        description="Values along each dimension that engine weak reads at a time, `{}` for the file's own. "
        "If absent, only files above a quarter of the memory are read so.",
    )


class UnknownEntry(Strict):
    """A scalar; a field when ``over`` or a key of fields alone is given."""

    over: str | list[str] | None = Field(
        None, description="Coordinates that it varies over, or `all`; of a law, the states."
    )
    lower: float | None = Field(None, description="Lower bound.")
    upper: float | None = Field(None, description="Upper bound.")
    initial: float | None = Field(None, description="Where to start; from the data if absent.")
    unit: str = Field("", description="For labels.")
    smoothness: float | None = Field(
        None, description="Of a field: weight of its squared curvature; from the data if absent."
    )
    prior: str | None = Field(None, description="Of a field: `auto`, `h1`, `h2` or `tv`.")
    monotone: str | None = Field(None, description="Of a field: `increasing` or `decreasing`.")
    measurements: DataEntry | None = Field(
        None, description="Of a field: where it was measured itself; the keys of `data`."
    )

    def unknown(self) -> Unknown:
        """As the problem takes it, but for the measurements, which are not read."""
        given: dict[str, Any] = self.model_dump(exclude={"over", "measurements"}, exclude_none=True)
        of_fields = given.keys() & {"smoothness", "prior", "monotone"}
        if self.over is None and self.measurements is None and not of_fields:
            return ScalarUnknown(**given)
        given["over"] = None if self.over in (ALL, [ALL]) else self.over
        return FieldUnknown(**given)


class ConditionEntry(Strict):
    """An equation at a place, as `mollifier.Condition` takes it."""

    equation: str | list[str] = Field(
        description="An equation, or a list of them, with the same names and further unknowns."
    )
    at: str | dict[str, float | str] = Field(
        description="Coordinate: number, `start` or `end`. Or `edge` of the domain, `{edge: x > 0}` a part."
    )
    noise: float = Field(0.0, description="Standard error in the equation's own unit; 0 if it holds exactly.")


class DomainEntry(Strict):
    """Where the equation holds, as `mollifier.Domain` takes it."""

    inside: str | list[str] | None = Field(
        None, description="Inequalities between expressions of the coordinates, as `x^2 + y^2 < 1`."
    )
    polygon: str | list[Any] | None = Field(
        None, description="GeoJSON file, table of vertices, or vertices; rings within rings are holes."
    )
    mask: str | None = Field(None, description="Variable of the data, or a file; zero outside.")
    label: int | None = Field(None, description="Value of the mask that is the domain.")
    over: list[str] | None = Field(None, description="Coordinates of the vertices; those in space if absent.")

    def domain(self, folder: Path) -> Domain:
        """As the problem takes it, with files relative to a folder."""
        given = self.model_dump()
        if isinstance(self.polygon, str):
            given["polygon"] = folder / self.polygon
        if self.mask is not None and Path(self.mask).suffix:
            given["mask"] = folder / self.mask
        return Domain(**given)


class StateEntry(Strict):
    """A state without data, as `mollifier.StateUnknown` takes it."""

    over: str | list[str] | None = Field(None, description="Coordinates it varies over, all if absent.")
    lower: float | None = Field(None, description="Lower bound, of a state without any value.")
    upper: float | None = Field(None, description="Upper bound, likewise.")
    initial: float | None = Field(None, description="Level to start from; several are tried if absent.")
    unit: str = Field("", description="Unit, for labels.")

    def state(self) -> StateUnknown:
        """As the problem takes it."""
        return StateUnknown(**self.model_dump())


class IntervalsEntry(Strict):
    """Where standard errors come from: the engine's own, or repeats of the solve."""

    kind: Literal["own", "bootstrap", "ensemble"] = Field(
        default="own", description="The engine's own, or from repeats of the solve."
    )
    repeats: int | None = Field(
        default=None, ge=3, description="Solves; 50 of a bootstrap and 8 of an ensemble if absent."
    )
    processes: int = Field(default=1, ge=1, description="Processes that share the repeats.")


class Entries(Strict):
    """The keys of a problem file but for the settings of the engine."""

    equation: str | list[str] = Field(description="An equation, or a list of equations.")
    data: DataEntry = Field(description="What to read.")
    unknowns: dict[str, Any] = Field(description="Name: `scalar`, `field`, or the keys of an unknown.")
    constants: dict[str, float] = Field(default_factory=dict, description="Name: number.")
    fields: list[str] | None = Field(
        None, description="Variables of the data that are fields; those that are differentiated if absent."
    )
    states: dict[str, Any] = Field(
        default_factory=dict, description="Name: a state without data, `{}` or the keys of a state."
    )
    experiments: str | list[str] = Field(
        [], description="Coordinates whose values number experiments; those of text do without being named."
    )
    geometry: str | dict[str, Any] | None = Field(
        None,
        description="`polar`, `cylindrical`, `spherical` or `lonlat`: what `grad`, `div` and `lap` are; "
        "straight coordinates if absent. A mapping names the parts, `{system: polar, r: distance}`.",
    )
    conditions: list[ConditionEntry] = Field(
        default_factory=list,
        description="Equations at places, such as edges and the start: `{equation: u = 0, at: {x: start}}`.",
    )
    domain: DomainEntry | None = Field(
        None,
        description="Where the equation holds: `{inside: x^2 + y^2 < 1}`, `{polygon: outline.geojson}` or "
        "`{mask: wet}`; in the measured region if absent.",
    )
    engine: str = Field("auto", description="`weak`, `joint`, `network`, a plugin's, or `auto`.")
    start: str | None = Field(
        None, description="Engine that is run first, from whose answer the network starts; or `auto`."
    )
    seed: int = Field(0, ge=0, lt=2**63, description="Seed of the run.")
    intervals: IntervalsEntry = Field(IntervalsEntry(), description="Where standard errors come from.")
