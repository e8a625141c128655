"""Solution: what an engine found, how well it fits, and where it came from."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from mollifier._version import __version__
from mollifier.errors import MollifierError, check_known
from mollifier.io.arguments import typed
from mollifier.io.files import jsonable
from mollifier.io.printed import Printed
from mollifier.problem import serialization as keeping
from mollifier.problem.estimate import Estimate
from mollifier.problem.status import Status

# Columns of the history that are not paths of scalar unknowns.
HISTORY = ("seconds", "loss", "data", "residual", "prior", "stage")
# Endings of what a solution says of something beside its value.
_SUFFIXES = ("_sd", "_prior_sd", "_ratio", "_fitted", "_shared", "_held_out", "_modes", "_visits")

_UNMOVED = 1e-8  # Share of an unknown's largest value below which an error does not move it: rounding.


def owner(name: str, names: Iterable[str]) -> str:
    """Of which other name a name says something; empty where of none.

    >>> owner("k_sd", ["k", "k_sd"]), owner("k", ["k", "k_sd"])
    ('k', '')
    """
    return next((n for n in names if name in {f"{n}{s}" for s in _SUFFIXES}), "")


@dataclass(frozen=True, eq=False)
class Solution(Printed):
    """What an engine found.

    Attributes
    ----------
    status
        Why the engine stopped.
    estimates
        Scalar unknown -> `Estimate`.
    dataset
        On the collocation grid, dimensions = coordinates in physical units: each state (with ``Z_sd`` for a
        hidden state ``Z`` where known), each unknown
        field ``k`` over its own dimensions with ``k_sd`` and ``k_prior_sd`` where known, ``residual`` (or
        ``residual_0``, ``residual_1``, ...) relative to the rms of the equation's terms, and ``k_ratio``,
        the ratio read-out, NaN where masked. Attribute ``units``. Derivatives that the equations name, as
        ``u_xx``, come from the network and joint engines, with attribute ``role`` "derivative"; known
        coefficients of the equation have "known". The residuals of conditions, ``condition_0``, ..., over the
        remaining coordinates, have "condition". A coordinate that wraps has its period as attribute
        ``periodic``. A law of u lies over the dimension ``u_value``, the values that u takes, with
        ``u_visits``, the number of nodes at which u has about each of them, and ``k_modes``, independent
        parts of its error.
    fit
        One row an ``observation``; for each observed variable ``v``: ``v``, ``v_sd``, ``v_fitted`` and
        ``v_held_out`` (bool), NaN where it is not observed; coordinates are the points. ``v_shared`` is the
        part of ``v_fitted`` that is declared noise which observations share, not the state.
    history
        One row a ``step``: ``seconds``, ``loss``, ``data``, ``residual``, ``prior``, ``stage`` (text) and a
        column for each scalar unknown.
    provenance
        What is needed to repeat it, in JSON's types: versions, seed, configuration, hash of the data, engine,
        device, date, seconds, equation, unknowns (a mapping by name, or a list of names).

    Raises
    ------
    MollifierError
        If ``fit`` or ``history`` lacks its dimension, or an estimate has a field's name.

    Examples
    --------
    >>> import mollifier as mf
    >>> x, t = np.linspace(0, 3, 40), np.linspace(0, 1, 30)
    >>> data = xr.Dataset({"u": (("x", "t"), np.sin(x)[:, None] * np.exp(-0.1 * t))}, {"x": x, "t": t})
    >>> solution = mf.solve(mf.InverseProblem("u_t = D*u_xx", data, {"D": mf.ScalarUnknown()}), "weak")
    >>> solution.status.name, round(solution.estimates["D"].value, 3), solution.states
    ('converged', 0.1, ('u',))
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
                    f"The solution's {name} has dimensions {tuple(dataset.dims)}; '{dim}' was expected."
                )
        both = sorted(set(self.estimates) & set(map(str, self.dataset.variables)))
        if both:
            raise MollifierError(
                f"{both} are names of both scalar estimates and fields; an unknown is one or the other."
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

        apart = (*self.residuals, *self.known, *self.conditions, *self._of_role("derivative"))
        return tuple(n for n in names if n not in apart and not owner(n, names))

    @property
    def known(self) -> tuple[str, ...]:
        """Names of the equation's known coefficients."""
        return self._of_role("known")

    @property
    def conditions(self) -> tuple[str, ...]:
        """Names of the residuals of the conditions, one for each."""
        return self._of_role("condition")

    def _of_role(self, role: str) -> tuple[str, ...]:
        return tuple(str(n) for n, v in self.dataset.data_vars.items() if v.attrs.get("role") == role)

    @property
    def residuals(self) -> tuple[str, ...]:
        """Names of the residual fields, one for each equation."""
        names = map(str, self.dataset.data_vars)
        return tuple(n for n in names if re.fullmatch(r"residual(_\d+)?", n))

    @property
    def condition_residuals(self) -> dict[str, float]:
        """Condition -> rms residual, over its standard error, or over the rms of its terms if it is exact."""
        values = {n: self.dataset[n].values for n in self.conditions}
        return {n: _rms(v[np.isfinite(v)]) or 0.0 for n, v in values.items()}

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
        check_known([variable], self.observed, MollifierError, "'{}' is not observed.")
        fitted, measured, sd = (self.fit[f"{variable}{s}"].values for s in ("_fitted", "", "_sd"))
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray((fitted - measured) / sd, dtype=float)

    def population(self, name: str) -> tuple[Estimate, Estimate]:
        """Mean and spread over experiments of an unknown that has one value for each.

        With values m_i and variances v_i the spread is that of normal effects at a fixed point of expectation
        and maximisation, s^2 = mean((m_i - mean)^2 + v_i) (Laird and Ware, Biometrics 38:963, 1982). Without
        the prior about the mean a value has the variance w_i with 1/w_i = 1/v_i - 1/s^2, and s^2 + w_i is
        that about the mean of the population, from which the standard errors of mean and spread follow.

        Raises
        ------
        MollifierError
            If it is no unknown over experiments alone, or has no standard errors.

        Examples
        --------
        >>> ids = ("id", [0, 1, 2], {"experiments": "a, b, c"})
        >>> k = xr.Dataset({"k": ("id", [1.0, 2, 3]), "k_sd": ("id", [0.1] * 3)}, {"id": ids})
        >>> fit, history = xr.Dataset({"u": ("observation", [])}), xr.Dataset({"loss": ("step", [])})
        >>> rate = {"unknowns": {"k": "FieldUnknown()"}}
        >>> mean, spread = Solution(Status("converged"), {}, k, fit, history, rate).population("k")
        >>> print(mean, spread, sep="; ")
        mean of k = 2.00 ± 0.48; spread of k = 0.82 ± 0.42
        """
        text = "'{}' is no unknown with one value and one standard error for each experiment."
        check_known([name], self._populations(), MollifierError, text)
        values, errors = self.dataset[name], self.dataset[f"{name}_sd"]
        n, unit = values.size, values.attrs.get("units", "")
        spread = float(np.sqrt(np.mean((values - values.mean()) ** 2 + errors**2)))
        alone = 1 / np.maximum(1 / errors.values**2 - 1 / spread**2, 1e-12 / spread**2)
        weights = 1 / (spread**2 + alone)
        known = np.sum(weights**2) * (n - 1) / n if n > 1 else weights[0] ** 2  # one degree is the mean's
        return (
            Estimate(f"mean of {name}", float(values.mean()), float(1 / np.sqrt(weights.sum())), unit),
            Estimate(f"spread of {name}", spread, float(1 / np.sqrt(2 * known) / spread), unit, lower=0.0),
        )

    def _populations(self) -> list[str]:
        """Unknowns over experiments alone, with standard errors."""
        over = {n: self.dataset[n].dims for n in self.unknown_fields if f"{n}_sd" in self.dataset}
        apart = [c for c in self.dataset.coords if "experiments" in self.dataset[c].attrs]
        return [n for n, dims in over.items() if dims and {*dims} <= {*apart}]

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
            "Conventions": "CF-1.11",
            "source": f"mollifier {__version__}",
            "status": self.status.name,
            "status_message": self.status.message,
            "provenance": json.dumps(self.provenance, sort_keys=True, ensure_ascii=False),
        }
        return self.dataset.assign(scalars).assign_attrs(attrs)

    @typed()
    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write ``solution.nc``, which is all of it, and ``estimates.json`` and ``history.csv`` for people.

        A checksum, ``solution.sha256``, goes beside. Each file is written whole or not at all,
        and replaces one of an earlier save.

        Parameters
        ----------
        folder
            Made where it does not exist.

        Raises
        ------
        OutputError
            If the folder cannot be made or written to, or the disk is full.
        """
        return keeping.write(self, folder)

    def export(self, path: str | os.PathLike[str]) -> Path:
        """Write the fields for other programs, which read no groups.

        Parameters
        ----------
        path
            ``.nc``: netCDF-4 after the CF conventions, numbers with their standard errors as variables
            without dimensions. ``.pvd``: for ParaView, with the times in a folder of the file's name.

        Raises
        ------
        ConfigurationError
            If the suffix is another, or the fields have no or more than three coordinates in space.
        DataError
            If the package that writes it is missing.
        OutputError
            If the file cannot be written.
        """
        return keeping.export(self, path)

    def summary(self) -> str:
        """A few lines for a person: status, estimates, ranges of the fields, misfit, time."""
        lines = [f"Status    {self.status}"]
        lines += [f"Estimate  {e}" for e in self.estimates.values()]
        for name in self._fields():
            lines.append(f"Field     {_range(self.dataset[name])}")
        for name in self._populations():
            lines.append("Together  " + ", ".join(map(str, self.population(name))))
        for name in self.residuals:
            rms = _rms(self.dataset[name].values[np.isfinite(self.dataset[name].values)])
            lines.append(f"Residual  {name}: rms {_number(rms)} of the equation's terms")
        for name, rms in self.condition_residuals.items():
            lines.append(f"Condition {self.dataset[name].attrs['long_name']}: rms {_number(rms)}")
        for name, m in self.misfit.items():
            held = "" if m["held_out"] is None else f", {_number(m['held_out'])} held out"
            lines.append(f"Misfit    {name}: {_number(m['fitted'])} sd{held} (about 1 is what noise leaves)")
        for name, shifts in self.provenance.get("sensitivity", {}).items():
            values = [self.estimates[name].value] if name in self.estimates else self.dataset[name].values
            least = _UNMOVED * float(np.nanmax(np.abs(values)))
            moved = ", ".join(f"{_number(by)} by an {what}" for what, by in shifts.items() if abs(by) > least)
            if moved:
                lines.append(f"Shift     {name}: {moved} of 1 % of rms".replace("an drift", "a drift"))
        lines += [f"Units     {text}" for text in self.provenance.get("units", ())]
        seconds, engine = self.provenance.get("seconds"), self.provenance.get("engine")
        if seconds is not None:
            lines.append(f"Time      {float(seconds):.3g} s" + (f", engine '{engine}'" if engine else ""))
        if "intervals" in self.provenance:
            lines.append(f"Intervals {self.provenance['intervals']['label']}")
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.summary()


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


@typed()
def load_solution(folder: str | os.PathLike[str]) -> Solution:
    """Read back what `Solution.save` wrote, bit for bit.

    Parameters
    ----------
    folder
        That `Solution.save` or ``mollifier solve --out`` wrote, or the file ``solution.nc`` in it.

    Raises
    ------
    CheckpointError
        If the file is missing, truncated, corrupt, or no solution.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> fit, history = xr.Dataset({"u": ("observation", [])}), xr.Dataset({"loss": ("step", [])})
    >>> saved = Solution(Status("converged"), {"D": Estimate("D", 0.1, 0.01)}, xr.Dataset(), fit, history, {})
    >>> with TemporaryDirectory() as folder:
    ...     print(load_solution(saved.save(folder)).estimates["D"])
    D = 0.100 ± 0.010
    """
    return Solution(**keeping.read(folder))
