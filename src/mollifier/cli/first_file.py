"""The command ``init``: a first problem file from a data file."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mollifier.cli.options import listed, option
from mollifier.cli.terminal import Terminal
from mollifier.errors import ConfigurationError

if TYPE_CHECKING:
    from mollifier.data.observations import Observations

_HEAD = """\
# A first problem file. The equation is an example: write yours, then
#   mollifier check {name}
#   mollifier solve {name} --out out
# Derivatives are {derivatives}; operators lap, bilap, grad, div.
"""
_WIDE = """\
# wide: each column but the coordinates is read as u of one {0}; leave it out if they are other quantities.
"""
_DAMAGE = """\
# {0}.
# If these are no measurements, write mask_outliers: true below data.
"""
_EXPERIMENTS = """\
# {0} numbers experiments, one for each name: they have separate states and one D; with D: {{over: {0}}} each
# has another D. Leave {0} out of the coordinates if its names are no experiments.
"""


def init(
    terminal: Terminal,
    data: Annotated[Path, typer.Argument(metavar="DATA", help="A file of measurements.")],
    out: Annotated[
        Path | None,
        option(
            "File to write; the data file's name with .yaml by default.", "PROBLEM.yaml", flags="--out -o"
        ),
    ] = None,
    coordinates: Annotated[
        str | None,
        option(
            "Coordinates among the columns, comma-separated; names such as x and t are recognised.",
            "NAMES",
            flags="--coordinates -c",
        ),
    ] = None,
) -> int:
    """Write a first problem file from a data file: its variables, coordinates, units, an example equation.

    A file that exists is not replaced. A column of text, such as names of animals, numbers experiments.
    """
    from mollifier.data.read import Loaded, read
    from mollifier.io.files import write_text

    loaded = Loaded.of(data)
    path = data.with_suffix(".yaml") if out is None else out
    if path.exists():
        raise ConfigurationError(f"{path} exists; name another file with --out.")
    named = listed(coordinates)
    observations = read(loaded, coordinates=named)
    axes = [*(loaded.columns_of_names if named is None else []), *observations.coordinates]
    options = _options(axes, observations.variables)
    if options != {"coordinates": list(observations.coordinates)}:
        observations = read(loaded, **options)
    file = data.name if data.parent == path.parent else str(data.resolve())
    write_text(path, first_file(observations, file, path.name, options))
    terminal.say(str(observations))
    for damage in observations.damage:
        terminal.say(f"! {damage.text}")
    terminal.say(f"wrote {path}: put your equation there, then mollifier check {shlex.quote(str(path))}")
    terminal.give({"file": path})
    return 0


def _options(coordinates: Sequence[str], variables: Sequence[str]) -> dict[str, Any]:
    """How to read a file with these columns: as a wide table, or under names that an equation can hold.

    >>> _options(["t"], ["A1", "A2", "B1"])
    {'wide': {'u': 'well'}, 'coordinates': ['well', 't']}
    >>> _options(["t"], ["OD 600 nm", "T"])
    {'coordinates': ['t'], 'rename': {'OD 600 nm': 'OD_600_nm'}}
    """
    from mollifier.data.wide import distinguished_by

    axes = list(dict.fromkeys(coordinates))
    over = distinguished_by(variables)
    if over and over not in axes:
        return {"wide": {"u": over}, "coordinates": [over, *axes]}
    names = {n: re.sub(r"\W+", "_", f"_{n}"[n[:1].isalpha() :]).rstrip("_") for n in (*axes, *variables)}
    rename = {n: new for n, new in names.items() if not n.isidentifier()}
    if not rename or len({*names.values()}) < len(names):
        return {"coordinates": axes}
    return {"coordinates": [names[c] for c in axes], "rename": rename}


def first_file(
    observations: Observations, file: str, name: str, options: Mapping[str, Any] | None = None
) -> str:
    """The text of a problem file: an equation of diffusion or decay, which has to be replaced.

    Of the parts of a complex field it is one of waves or oscillation. ``options`` are `read`'s, as `_options`
    gives them.

    >>> from mollifier import Observations
    >>> obs = Observations({"c": [1.0, 2.0]}, {"x": [0.0, 1.0], "t": [0.0, 0.5]}, units={"x": "m"})
    >>> print(first_file(obs, "rod.csv", "rod.yaml").split("div.")[1].strip())
    equation: c_t = D*lap(c)
    data:
      file: rod.csv
      coordinates: [x, t]
      values: [c]
      units: {x: m}
    unknowns:
      D: {lower: 0}
    """
    import yaml

    from mollifier.equations.names import Names, time_coordinate

    dataset, coordinates = observations.dataset, list(observations.coordinates)
    named = [c for c in coordinates if "experiments" in dataset[c].attrs]
    along = [c for c in coordinates if c not in named] or coordinates
    time = time_coordinate(along, observations.units)
    waves = Names((), unknowns=dict.fromkeys(observations.variables, ())).complex
    field, i = (waves[0], "i*") if waves else (observations.variables[0], "")
    right = "D*lap({0})" if along != [time] else "-D*{0}"
    equation = f"{i}{field}_{time} = {right}" if time else f"0 = {{0}} - {i}D*lap({{0}})"
    names = [*coordinates, *observations.variables]
    units = {n: str(dataset[n].attrs["units"]) for n in names if dataset[n].attrs.get("units")}
    given: dict[str, Any] = {"file": file, **(options or {}), "coordinates": coordinates}
    given["values"] = list(observations.variables)
    content = {
        "equation": equation.format(field),
        "data": given | ({"units": units} if units else {}),
        "unknowns": {"D": {"lower": 0}},
    }
    text = yaml.safe_dump(content, sort_keys=False, default_flow_style=None, allow_unicode=True, width=1000)
    derivatives = ", ".join(f"{field}_{c}" for c in [*along, 2 * along[0]])
    head = _HEAD.format(name=name, derivatives=derivatives)
    head += "".join(map(_WIDE.format, given.get("wide", {}).values()))
    head += "".join(map(_EXPERIMENTS.format, named))
    return head + "".join(_DAMAGE.format(d.text) for d in observations.damage) + text
