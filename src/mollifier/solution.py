"""Solution: what an engine found, how well it fits, and where it came from."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import xarray as xr

from mollifier.errors import CheckpointError, MollifierError, did_you_mean
from mollifier.files import (
    ensure_folder,
    jsonable,
    read_group,
    verify_checksum,
    write_atomically,
    write_groups,
    write_json,
)

if TYPE_CHECKING:
    from mollifier.problem import InverseProblem
    from mollifier.validation import Validation

StatusName = Literal[
    "converged",
    "undetermined",
    "misfit",
    "step limit",
    "time limit",
    "stalled",
    "interrupted",
    "non-finite loss",
]

# Columns of the history that are not paths of scalar unknowns.
HISTORY = ("seconds", "loss", "data", "residual", "prior", "stage")

_FILE = "solution.nc"
_FORMAT = 1
_GROUPS = {"dataset": "fields", "fit": "fit", "history": "history"}


@dataclass(frozen=True)
class Estimate:
    """A number that was unknown, with its standard error where the engine gives one.

    Examples
    --------
    >>> r = Estimate("r", 0.04812, 0.00123, "1/h")
    >>> print(r)
    r = 0.0481 ± 0.0012 1/h
    >>> low, high = r.interval(0.95)
    >>> round(low, 4), round(high, 4)
    (0.0457, 0.0505)
    """

    name: str
    value: float
    sd: float | None = None
    unit: str = ""

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """The symmetric interval of a normal distribution with this value and standard error.

        Raises
        ------
        MollifierError
            If the engine gave no standard error, or the level does not lie between 0 and 1.
        """
        if not 0.0 < level < 1.0:
            raise MollifierError(f"An interval was asked at level {level}; it lies between 0 and 1, as 0.95.")
        if self.sd is None:
            raise MollifierError(
                f"'{self.name}' has no standard error: this engine gave none. Use the weak or joint engine, "
                "or mollifier.bootstrap, to get intervals."
            )
        half = NormalDist().inv_cdf(0.5 + level / 2) * self.sd
        return self.value - half, self.value + half

    def __str__(self) -> str:
        number = _rounded(self.value, self.sd)
        return f"{self.name} = {number} {self.unit}".rstrip()


def _rounded(value: float, sd: float | None) -> str:
    """Two digits of the standard error, and the value to the same place.

    >>> _rounded(1234567.0, 12345.0), _rounded(4.8123e-9, 1.2e-10), _rounded(3.14159, None)
    ('1235000 ± 12000', '(4.81 ± 0.12)e-09', '3.1416')
    """
    if sd is None:
        return f"{value:.5g}"
    if not (math.isfinite(value) and math.isfinite(sd) and sd > 0):
        return f"{value:.5g} ± {sd:.2g}"
    size = max(abs(value), sd)
    exponent = math.floor(math.log10(size))
    if -4 <= exponent < 7:
        exponent = 0
    scale = 10.0**exponent
    v, s = value / scale, sd / scale
    places = 1 - math.floor(math.log10(s))
    if places > 12:
        return f"{value:.10g} ± {sd:.2g}"
    text = f"{round(v, places):.{max(places, 0)}f} ± {round(s, places):.{max(places, 0)}f}"
    return f"({text})e{exponent:+03d}" if exponent else text


@dataclass(frozen=True)
class Status:
    """Why the engine stopped, and what that means for the reader.

    Raises
    ------
    MollifierError
        If the name is none of the known ones.

    Examples
    --------
    >>> Status("converged").ok, str(Status("step limit", "loss still falling by 3 % a step"))
    (True, 'step limit: loss still falling by 3 % a step')
    """

    name: StatusName
    message: str = ""

    def __post_init__(self) -> None:
        names = get_args(StatusName)
        if self.name not in names:
            raise MollifierError(
                f"There is no status '{self.name}'.{did_you_mean(str(self.name), names)} "
                f"Known: {', '.join(names)}."
            )

    @property
    def ok(self) -> bool:
        """Whether the engine reached its own tolerance; any other status asks for a look at the history."""
        return self.name == "converged"

    def __str__(self) -> str:
        return f"{self.name}: {self.message}" if self.message else self.name


@dataclass(frozen=True, eq=False)
class Solution:
    """What an engine found.

    Attributes
    ----------
    status
        Why the engine stopped.
    estimates
        Scalar unknown -> `Estimate`.
    dataset
        On the collocation grid, dimensions = coordinates in physical units: each state field, each unknown
        field ``k`` over its own dimensions with ``k_sd`` and ``k_prior_sd`` where known, ``residual`` (or
        ``residual_0``, ``residual_1``, ...) relative to the rms of the equation's terms, and ``k_ratio``,
        the ratio read-out, NaN where masked. Attribute ``units``. Derivatives that the equations name, as
        ``u_xx``, come from the network and joint engines, with attribute ``role`` "derivative"; known
        coefficients of the equation have "known". A coordinate that wraps has its period as attribute
        ``periodic``.
    fit
        One row an ``observation``; for each observed variable ``v``: ``v``, ``v_sd``, ``v_fitted`` and
        ``v_held_out`` (bool), NaN where it is not observed; coordinates are the points.
    history
        One row a ``step``: ``seconds``, ``loss``, ``data``, ``residual``, ``prior``, ``stage`` (text) and a
        column for each scalar unknown.
    provenance
        What is needed to repeat it, in JSON's types: versions, seed, configuration, hash of the data, engine,
        device, date, seconds, equation, unknowns (a mapping by name, or a list of names).

    Raises
    ------
    MollifierError
        If ``fit`` or ``history`` lacks its dimension, or an estimate bears a field's name.
    """

    status: Status
    estimates: Mapping[str, Estimate]
    dataset: xr.Dataset
    fit: xr.Dataset
    history: xr.Dataset
    provenance: Mapping[str, Any]

    def __post_init__(self) -> None:
        for name, dataset, dim in (("fit", self.fit, "observation"), ("history", self.history, "step")):
            if dim not in dataset.dims:
                raise MollifierError(
                    f"The solution's {name} has dimensions {tuple(dataset.dims)}; '{dim}' was wanted."
                )
        both = sorted(set(self.estimates) & set(map(str, self.dataset.variables)))
        if both:
            raise MollifierError(
                f"{both} stand both for scalar estimates and for fields; an unknown is one or the other."
            )
        object.__setattr__(self, "estimates", dict(self.estimates))
        object.__setattr__(self, "provenance", jsonable(self.provenance))

    @property
    def observed(self) -> tuple[str, ...]:
        """Names of the observed variables."""
        names = map(str, self.fit.data_vars)
        return tuple(n for n in names if f"{n}_fitted" in self.fit)

    @property
    def unknown_fields(self) -> tuple[str, ...]:
        """Names of the unknown fields: what ``dataset`` holds beside states, read-outs and residuals."""
        return tuple(n for n in self._fields() if n not in self.states)

    @property
    def states(self) -> tuple[str, ...]:
        """Names of the state fields: observed, or not named in provenance's ``unknowns``."""
        listed = self.provenance.get("unknowns")
        unknowns = set(map(str, listed)) if isinstance(listed, Mapping | list) else set(self._fields())
        return tuple(n for n in self._fields() if n in self.observed or n not in unknowns)

    def _fields(self) -> tuple[str, ...]:
        """Names in ``dataset`` that are neither residuals nor belong to another name."""
        names = [str(n) for n in self.dataset.data_vars]

        def belongs(n: str) -> bool:
            return any(n == f"{m}{s}" for m in names for s in ("_sd", "_prior_sd", "_ratio"))

        apart = (*self.residuals, *self.known, *self._of_role("derivative"))
        return tuple(n for n in names if n not in apart and not belongs(n))

    @property
    def known(self) -> tuple[str, ...]:
        """Names of the equation's known coefficients."""
        return self._of_role("known")

    def _of_role(self, role: str) -> tuple[str, ...]:
        return tuple(str(n) for n, v in self.dataset.data_vars.items() if v.attrs.get("role") == role)

    @property
    def residuals(self) -> tuple[str, ...]:
        """Names of the residual fields, one for each equation."""
        names = map(str, self.dataset.data_vars)
        return tuple(n for n in names if n == "residual" or _is_numbered_residual(n))

    @property
    def misfit(self) -> dict[str, dict[str, float | None]]:
        """Observed variable -> rms of (fitted - measured)/sd over the points fitted, and over those held out.

        About 1 when the fit leaves what the noise explains. None where there is no such point.

        Examples
        --------
        >>> rows = lambda *v: ("observation", list(v))
        >>> fit = xr.Dataset({"u": rows(1.0, 2.0, 3.0), "u_sd": rows(0.1, 0.1, 0.1),
        ...     "u_fitted": rows(1.1, 1.9, 3.2), "u_held_out": rows(False, False, True)})
        >>> empty = xr.Dataset({"loss": ("step", [])})
        >>> misfit = Solution(Status("converged"), {}, xr.Dataset(), fit, empty, {}).misfit["u"]
        >>> round(misfit["fitted"], 3), round(misfit["held_out"], 3)
        (1.0, 2.0)
        """
        result: dict[str, dict[str, float | None]] = {}
        for name in self.observed:
            z = self.scaled_errors(name)
            held = self.fit[f"{name}_held_out"].values.astype(bool)
            parts = {"fitted": z[~held], "held_out": z[held]}
            result[name] = {part: _rms(v[~np.isnan(v)]) for part, v in parts.items()}
        return result

    def scaled_errors(self, variable: str) -> np.ndarray:
        """(fitted - measured)/sd of an observed variable, shape (n_observations,); NaN where not observed.

        Raises
        ------
        MollifierError
            If the variable is not observed.
        """
        if variable not in self.observed:
            raise MollifierError(f"'{variable}' is not observed.{did_you_mean(variable, self.observed)}")
        fitted, measured, sd = (self.fit[f"{variable}{s}"].values for s in ("_fitted", "", "_sd"))
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray((fitted - measured) / sd, dtype=float)

    def to_dataset(self) -> xr.Dataset:
        """Fields and estimates in one dataset, with status and provenance (JSON text) in its attributes.

        Each scalar unknown ``r`` becomes a variable without dimensions, and ``r_sd`` beside it where known.
        """
        scalars: dict[str, xr.DataArray] = {}
        for name, e in self.estimates.items():
            attrs: dict[str, Any] = {"units": e.unit} if e.unit else {}
            if e.sd is not None:
                scalars[f"{name}_sd"] = xr.DataArray(e.sd, attrs=dict(attrs))
                attrs["standard_error"] = f"{name}_sd"
            scalars[name] = xr.DataArray(e.value, attrs=attrs)
        attrs = {
            **self.dataset.attrs,
            "status": self.status.name,
            "status_message": self.status.message,
            "provenance": json.dumps(self.provenance, sort_keys=True, ensure_ascii=False),
        }
        return self.dataset.assign(scalars).assign_attrs(attrs)

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write ``solution.nc``, which is all of it, and ``estimates.json`` and ``history.csv`` for people.

        A checksum, ``solution.sha256``, goes beside. Each file is written whole or not at all,
        and replaces one of an earlier save.

        Raises
        ------
        OutputError
            If the folder cannot be made or written to, or the disk is full.
        """
        target = ensure_folder(folder)
        root = {
            "format": _FORMAT,
            "status": json.dumps(asdict(self.status), ensure_ascii=False),
            "estimates": json.dumps([asdict(e) for e in self.estimates.values()], ensure_ascii=False),
            "provenance": json.dumps(self.provenance, ensure_ascii=False),
        }
        groups = {group: getattr(self, attribute) for attribute, group in _GROUPS.items()}
        write_groups(target / _FILE, root, groups)
        estimates = {}
        for name, e in self.estimates.items():
            interval = None if e.sd is None else e.interval(0.95)
            estimates[name] = {"value": e.value, "sd": e.sd, "interval_95": interval, "unit": e.unit}
        content = {"status": asdict(self.status), "estimates": estimates, "misfit": self.misfit}
        write_json(target / "estimates.json", content)
        table = self.history.to_dataframe()
        write_atomically(target / "history.csv", lambda p: table.to_csv(p, lineterminator="\n"))
        return target

    def validate(self, problem: InverseProblem | None = None, **options: Any) -> Validation:
        """Whether what was found stands up; see `mollifier.validation.validate`."""
        from mollifier.validation import validate

        return validate(self, problem, **options)

    def report(
        self,
        path: str | os.PathLike[str],
        problem: InverseProblem | None = None,
        validation: Validation | None = None,
        **options: Any,
    ) -> Path:
        """Write one self-contained HTML page, validation included; see `mollifier.report.page.save_page`."""
        from mollifier.report.page import save_page

        return save_page(self, path, validation or self.validate(problem), **options)

    def summary(self) -> str:
        """A few lines for a person: status, estimates, ranges of the fields, misfit, time."""
        lines = [f"Status    {self.status}"]
        lines += [f"Estimate  {e}" for e in self.estimates.values()]
        for name in self._fields():
            lines.append(f"Field     {_range(self.dataset[name])}")
        for name in self.residuals:
            rms = _rms(self.dataset[name].values[np.isfinite(self.dataset[name].values)])
            lines.append(f"Residual  {name}: rms {_number(rms)} of the equation's terms")
        for name, m in self.misfit.items():
            held = "" if m["held_out"] is None else f", {_number(m['held_out'])} held out"
            lines.append(f"Misfit    {name}: {_number(m['fitted'])} sd{held} (about 1 is what noise leaves)")
        seconds, engine = self.provenance.get("seconds"), self.provenance.get("engine")
        if seconds is not None:
            lines.append(f"Time      {float(seconds):.3g} s" + (f", engine '{engine}'" if engine else ""))
        if "intervals" in self.provenance:
            lines.append(f"Intervals {self.provenance['intervals']['told']}")
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.summary()


def _is_numbered_residual(name: str) -> bool:
    head, _, tail = name.rpartition("_")
    return head == "residual" and tail.isdecimal()


def _rms(values: np.ndarray) -> float | None:
    return float(np.sqrt(np.mean(np.square(values)))) if values.size else None


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.3g}"


def _range(a: xr.DataArray) -> str:
    over = f"({', '.join(map(str, a.dims))})" if a.dims else ""
    finite = a.values[np.isfinite(a.values)]
    if not finite.size:
        return f"{a.name}{over}: no finite value"
    unit = a.attrs.get("units", "")
    return f"{a.name}{over}: {finite.min():.4g} to {finite.max():.4g} {unit}".rstrip()


def load_solution(folder: str | os.PathLike[str]) -> Solution:
    """Read back what `Solution.save` wrote, bit for bit; ``folder`` may also name the netCDF file itself.

    Raises
    ------
    CheckpointError
        If the file is missing, truncated, corrupt, or no solution.
    """
    path = Path(folder)
    path = path if path.suffix == ".nc" else path / _FILE
    if not path.is_file():
        there = Path(folder).is_file()
        what = f"'{folder}' is a file, no solution" if there else f"There is no saved solution at '{path}'"
        raise CheckpointError(
            f"{what}. Give the folder that solution.save(folder) wrote, or the solution.nc in it."
        )
    try:
        verify_checksum(path)
        root = read_group(path).attrs
        if root.get("format") != _FORMAT:
            raise CheckpointError(
                f"'{path}' is no solution this version reads: its format is {root.get('format')}, {_FORMAT} "
                "was wanted. Read it with the version that wrote it, or run it again."
            )
        status = Status(**json.loads(root["status"]))
        estimates = [Estimate(**e) for e in json.loads(root["estimates"])]
        parts = {attribute: read_group(path, group) for attribute, group in _GROUPS.items()}
        provenance = json.loads(root["provenance"])
    except CheckpointError:
        raise
    except Exception as error:  # the readers below raise OSError, RuntimeError, KeyError, ... on damage
        raise CheckpointError(
            f"The saved solution '{path}' cannot be read: {error}. If it is truncated or corrupt, restore "
            "it from a copy or run it again."
        ) from error
    return Solution(status, {e.name: e for e in estimates}, **parts, provenance=provenance)
