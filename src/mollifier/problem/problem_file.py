"""Problem files: YAML to a checked problem, engine and settings."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel

from mollifier.data.observations import Observations
from mollifier.data.read import Loaded, read
from mollifier.errors import ConfigurationError, check_known, did_you_mean
from mollifier.io.plain_yaml import parse_yaml
from mollifier.problem.conditions import Condition
from mollifier.problem.entries import ALL, DataEntry, Entries, IntervalsEntry, StateEntry, UnknownEntry
from mollifier.problem.inverse_problem import InverseProblem
from mollifier.problem.settings import validated
from mollifier.problem.unknowns import StateUnknown, Unknown

_LARGEST = 1_000_000


@dataclass(frozen=True)
class ProblemFile:
    """A problem file that was read and checked; the data are read by `problem`."""

    path: Path  #: Where it was read.
    entries: Entries  #: Its content, overrides included, but for the settings.
    #: Settings of the engine, as given: `mollifier.engines.settings.load_problem` checks them.
    settings: Mapping[str, Any]
    unknowns: Mapping[str, Unknown]  #: By name, without measurements.
    #: Unknown field -> where its measurements are, of those that have some.
    measurements: Mapping[str, DataEntry]
    states: Mapping[str, StateUnknown]  #: Those with no data, or few.
    loaded: Loaded | None = None  #: The data file's content; by default it is read when it is needed.

    @property
    def engine(self) -> str:
        """Name of the engine, or "auto"."""
        return self.entries.engine

    @property
    def start(self) -> str | None:
        """Name of the engine whose answer the run starts from, or "auto"; None for no start."""
        return self.entries.start

    @property
    def seed(self) -> int:
        """Seed of the run; `data.seed` chooses the random sample."""
        return self.entries.seed

    @property
    def intervals(self) -> IntervalsEntry:
        """Where standard errors come from."""
        return self.entries.intervals

    @property
    def data_file(self) -> Path:
        """The data, relative to the problem file."""
        return self._file(self.entries.data)

    def _file(self, entry: DataEntry) -> Path:
        try:
            return self.path.parent / Path(entry.file).expanduser()
        except RuntimeError:
            raise ConfigurationError(
                f"'data.file' was given as '{entry.file}': there is no such user."
            ) from None

    def _read(self, entry: DataEntry, loaded: Loaded | None = None) -> Observations:
        options = {n: getattr(entry, n) for n in entry.model_fields_set - {"file", "seed"}}
        return read(loaded or self._file(entry), rng=entry.seed, **options)

    def observations(self) -> Observations:
        """Read the data; `DataError` as `mollifier.data.read.read`."""
        return self._read(self.entries.data, self.loaded)

    def problem(self) -> InverseProblem:
        """Read the data and state the problem; errors as of both."""
        e = self.entries
        unknowns: dict[str, Any] = dict(self.unknowns)
        for name, entry in self.measurements.items():
            unknowns[name] = replace(unknowns[name], measurements=self._read(entry))
        conditions = [Condition(c.equation, c.at, c.noise) for c in e.conditions]
        return InverseProblem(
            e.equation,
            self.observations(),
            unknowns,
            e.constants,
            e.fields,
            e.geometry,
            conditions,
            self.states,
            e.experiments,
            None if e.domain is None else e.domain.domain(self.path.parent),
        )

    def kept(self) -> ProblemFile:
        """The same with its data file loaded: problems of several values then read it once."""
        entry = self.entries.data
        return replace(self, loaded=Loaded.of(self.data_file, entry.format, entry.chunks))

    def selecting(self, name: str, value: Any) -> ProblemFile:
        """The same problem for one value of a column or dimension of the data."""
        return self._reading(select={**self.entries.data.select, name: value})

    def _reading(self, **changes: Any) -> ProblemFile:
        """The same with other keys of the data."""
        data = self.entries.data.model_copy(update=changes)
        return replace(self, entries=self.entries.model_copy(update={"data": data}))

    def values_of(self, name: str) -> list[Any]:
        """The values that a column or dimension of the data takes, sorted; those listed in ``select`` if any.

        Raises `DataError` if the data cannot be read, `ConfigurationError` if there is no such column or
        dimension.
        """
        data = self.entries.data
        listed = data.select.get(name)
        if isinstance(listed, list | tuple):
            return list(listed)
        select = {k: v for k, v in data.select.items() if k != name}
        dataset = self._reading(select=select, sample=None).observations().dataset
        if name not in dataset.variables:
            known = [*map(str, dataset.variables), *data.select]
            raise ConfigurationError(
                f"'{name}' is neither a column nor a dimension that {self.data_file.name} can be selected by."
                f"{did_you_mean(name, known)}"
            )
        found = np.unique(dataset[name].values).tolist()
        return [v for v in found if v == v]  # NaN is not itself

    def to_dict(self) -> dict[str, Any]:
        """What was given, in JSON's types."""
        return self.entries.model_dump(mode="json", exclude_unset=True) | dict(self.settings)


def load(
    path: str | Path, overrides: Sequence[str] = (), settings: Collection[str] | None = None
) -> ProblemFile:
    """Read a problem file.

    ``overrides`` such as ``"training.steps=2000"``, dotted key and YAML value, take the place of the file's
    (``docs/reference/problem-files.md``). ``settings`` are the keys that engines know; any by default. Raises
    `ConfigurationError`, with the place, if the file is missing, no YAML, or holds an unknown key or a wrong
    value.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "rod.yaml"
    >>> _ = path.write_text("equation: u_t = D*u_xx\\ndata: {file: rod.csv}\\nunknowns: {D: {lower: 0}}\\n")
    >>> file = load(path, ["training.steps=50", "seed=3"])
    >>> file.settings, file.seed, file.unknowns["D"].lower
    ({'training': {'steps': 50}}, 3, 0.0)
    """
    path = Path(path)
    try:
        content = overridden(overrides, _read(path))
        _complete(content, settings)
        own = {k: v for k, v in content.items() if k in Entries.model_fields}
        entries = validated(Entries, own)
        given = {name: _unknown(name, entry) for name, entry in entries.unknowns.items()}
        states = {name: _state(name, entry) for name, entry in entries.states.items()}
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from None
    measurements = {n: e.measurements for n, e in given.items() if e.measurements is not None}
    chosen = {k: v for k, v in content.items() if k not in own}
    unknowns = {n: e.unknown() for n, e in given.items()}
    return ProblemFile(path, entries, chosen, unknowns, measurements, states)


def overridden(overrides: Sequence[str], content: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Plain values with overrides put in place.

    >>> overridden(["training.steps=50", "network.width=8"])
    {'training': {'steps': 50}, 'network': {'width': 8}}
    """
    if isinstance(overrides, str):
        raise ConfigurationError(
            f"the overrides were given as text, {overrides!r}; a list was expected, as [{overrides!r}]."
        )
    found = dict(content or {})
    for override in overrides:
        _override(found, str(override))
    return found


def _complete(content: Mapping[str, Any], settings: Collection[str] | None) -> None:
    """Unknown and absent keys first, so that a misspelt one is named and not merely missed."""
    sections: list[tuple[str, Any, type[BaseModel], Collection[str] | None]]
    sections = [("", content, Entries, settings)]
    if isinstance(content.get("data"), Mapping):
        sections.append(("data.", content["data"], DataEntry, ()))
    for where, given, model, others in sections:
        for key in given:
            if others is not None and key not in model.model_fields and key not in others:
                known = [*model.model_fields, *others]
                check_known([key], known, ConfigurationError, f"Unknown key '{where}{{}}'.")
        lacking = [n for n, f in model.model_fields.items() if f.is_required() and given.get(n) is None]
        if lacking:
            raise ConfigurationError(f"The key '{where}{lacking[0]}' was expected and not given.")
    if not isinstance(content["data"], Mapping):
        raise ConfigurationError(
            f"'data' was given as {content['data']!r}; a mapping was expected, as data: {{file: u.csv}}."
        )
    if isinstance(file := content["data"]["file"], list):
        raise ConfigurationError(
            f"'data.file' was given as {file!r}; one file was expected. Put the rows of several into one "
            "table, with a column of their names, which numbers experiments."
        )


def _unknown(name: str, entry: Any) -> UnknownEntry:
    if entry is None or entry == "scalar":
        entry = {}
    elif entry == "field":
        entry = {"over": ALL}
    elif isinstance(entry, str):
        text = f"'unknowns.{name}' was given as '{entry}'; scalar, field or a mapping was expected."
        check_known(entry, ("scalar", "field"), ConfigurationError, text)
    if not isinstance(entry, Mapping):
        raise ConfigurationError(
            f"'unknowns.{name}' was given as {entry!r}; scalar, field or a mapping was expected. A number "
            "that is known belongs under constants, a starting value under initial."
        )
    with _at(f"unknowns.{name}"):
        found = validated(UnknownEntry, entry, f"unknowns.{name}")
        found.unknown()
        return found


def _state(name: str, entry: Any) -> StateUnknown:
    entry = {} if entry is None else entry
    if not isinstance(entry, Mapping):
        raise ConfigurationError(
            f"'states.{name}' was given as {entry!r}; a mapping was expected, as states: {{{name}: {{}}}}. "
            "A starting level belongs under initial."
        )
    with _at(f"states.{name}"):
        return validated(StateEntry, entry, f"states.{name}").state()


@contextmanager
def _at(place: str) -> Iterator[None]:
    """Errors name the place in the file."""
    try:
        yield
    except ConfigurationError as error:
        text = str(error)
        raise ConfigurationError(text if place in text else f"'{place}': {text}") from None


def _read(path: Path) -> dict[str, Any]:
    """The file as plain values."""
    if not path.is_file():
        what = "a folder" if path.is_dir() else "a pipe or a device" if path.exists() else "missing"
        there = [p.name for p in path.parent.glob("*") if p.suffix in (".yaml", ".yml")]
        raise ConfigurationError(
            f"the problem file is {what}.{did_you_mean(path.name, there) if len(there) < 200 else ''}"
        )
    try:
        size = path.stat().st_size
        if size > _LARGEST:
            raise ConfigurationError(
                f"the problem file has {size:,} bytes; {_LARGEST:,} at most are read. Is it data?"
            )
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigurationError("the problem file is not UTF-8 text. Is it data?") from None
    except OSError as error:
        raise ConfigurationError(f"the problem file cannot be read: {error.strerror}.") from None
    content = parse_yaml(text)
    if not isinstance(content, dict):
        raise ConfigurationError(
            "a mapping with equation, data and unknowns was expected; see docs/reference/problem-files.md. "
            "Of data, mollifier init writes a first problem file."
        )
    return content


def _override(content: dict[str, Any], override: str) -> None:
    """Put one ``a.b=value`` in place."""
    key, equals, value = override.partition("=")
    parts = [p.strip() for p in key.split(".")]
    if not equals or not all(parts):
        raise ConfigurationError(
            f"--set was given '{override}'; key=value was expected, as in training.steps=2000."
        )
    place = content
    for i, part in enumerate(parts[:-1]):
        inner = place.get(part)
        if inner is None:
            inner = place[part] = {}
        if not isinstance(inner, dict):
            where = ".".join(parts[: i + 1])
            raise ConfigurationError(
                f"--set {override}: '{where}' is {inner!r}, which holds no '{parts[i + 1]}'."
            )
        place = inner
    try:
        place[parts[-1]] = parse_yaml(value)
    except ConfigurationError as error:
        raise ConfigurationError(f"--set {override}: {error}") from None
