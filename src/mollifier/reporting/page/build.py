"""The report of a solution as one HTML page."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import xarray as xr
from markupsafe import Markup

from mollifier.diagnostics.validation.validate import Validation, validate
from mollifier.io.arguments import typed
from mollifier.io.files import jsonable, require_writable, write_text
from mollifier.problem.solution import Solution
from mollifier.reporting import style
from mollifier.reporting.figures import history_figure
from mollifier.reporting.fits import fit_figure
from mollifier.reporting.mathml import mathml
from mollifier.reporting.page.parts import document, drawing, rendered
from mollifier.reporting.panels import colours, panels
from mollifier.reporting.sensitivity import has_radii, sensitivity_figure

_TONES = {"holds": "good", "doubtful": "care", "refuted": "bad", "undetermined": "care"}
_RUN = ("engine", "seed", "date", "python", "machine", "device", "seconds", "data")
_section = partial(rendered, "solution.html.j2")


@typed()
def report(
    solution: Solution,
    path: str | os.PathLike[str],
    validation: Validation | bool = True,
    problem_file: str = "",
    command: str = "",
) -> Path:
    """Write the report of a solution as one HTML page.

    Parameters
    ----------
    solution
        What to report.
    path
        The page; its folder is made if need be.
    validation
        Result of `mollifier.validate`; computed here by default, left out of the page if False.
    problem_file
        Text of the problem file behind it.
    command
        The command that gives the solution again.

    Raises
    ------
    OutputError
        If it cannot be written.

    Examples
    --------
    >>> import tempfile, mollifier as mf
    >>> x, t = np.linspace(0, 3, 40), np.linspace(0, 1, 40)
    >>> u = np.exp(-0.1 * t) * np.sin(x[:, None]) + 0.01 * np.random.default_rng(0).standard_normal((40, 40))
    >>> data = mf.Observations.from_dataset(xr.DataArray(u, {"x": x, "t": t}, ("x", "t"), "u"))
    >>> solution = mf.solve(mf.InverseProblem("u_t = D*u_xx", data, {"D": mf.ScalarUnknown()}), "weak")
    >>> page = report(solution, Path(tempfile.mkdtemp()) / "heat.html")
    >>> "Validation" in page.read_text(encoding="utf-8")
    True
    """
    path = require_writable(path)
    found = validation if isinstance(validation, Validation) else validate(solution) if validation else None
    drawn = panels(solution, xr.Dataset() if found is None else found.forward)
    equations = _equations(solution)
    parts = [
        ("question", "The question", _question(solution, equations)),
        ("answer", "The answer", _answer(solution)),
        ("maps", "Fields", _section("maps", drawn)),
        ("fit", "The fit", _fit(solution)),
        ("sensitivity", "Sensitivity" if has_radii(solution.history) else "The run", _run(solution)),
        ("validation", "Validation", _validation(found)),
        ("repeat", "How to repeat it", _repeat(solution, problem_file, command)),
    ]
    title = "; ".join(equations) or "An inverse problem"
    content = jsonable({"panels": drawn, "colours": colours()})
    return write_text(path, document(title, _head(solution, found), parts, content))


def _equations(solution: Solution) -> list[str]:
    found = solution.provenance.get("equation") or []
    return [found] if isinstance(found, str) else [str(e) for e in found]


def _head(solution: Solution, validation: Validation | None) -> str:
    status = solution.status
    badges: list[tuple[str, str, str]] = [("Engine", status.name, "good" if status.ok else "care")]
    if validation is not None:
        badges.append(("Validation", validation.status, _TONES[validation.status]))
    return _section("head", [*solution.estimates, *solution.unknown_fields], solution.observed, badges)


def _question(solution: Solution, equations: list[str]) -> str:
    unknowns = solution.provenance.get("unknowns")
    listed = []
    if isinstance(unknowns, Mapping):
        kinds = {n: str(u).partition("(")[0].removesuffix("Unknown").lower() for n, u in unknowns.items()}
        listed = [(n, kinds[n], _constraints(str(u))) for n, u in unknowns.items()]
    constants = solution.provenance.get("constants") or {}
    known = [f"{n} = {v:g}" for n, v in constants.items()]
    known += [f"{n}: measured or given" for n in solution.known]
    known += [f"Units differ. {text}" for text in solution.provenance.get("units", ())]
    for name, residual in solution.condition_residuals.items():
        attrs = solution.dataset[name].attrs
        unit = "of its standard error" if attrs["noise"] else "of its terms"
        known.append(f"{attrs['equation']}: residual {residual:.2g} {unit}")
    coordinates = []
    for c in map(str, solution.dataset.dims):
        nodes = solution.dataset[c]
        wraps = "periodic" if nodes.attrs.get("periodic") else ""
        coordinates.append((c, _span(nodes.values, style.unit(nodes)), nodes.size, wraps))
    lines = [Markup(mathml(e)) for e in equations]
    return _section(
        "question", lines, listed, known, [_measured(solution, n) for n in solution.observed], coordinates
    )


def _measured(solution: Solution, name: str) -> tuple[str, ...]:
    """A row of the table of measured variables."""
    values, held = solution.fit[name].values, solution.fit[f"{name}_held_out"].values.astype(bool)
    finite = np.isfinite(values)
    unit = style.unit(solution.dataset.get(name))
    sd = float(np.nanmedian(solution.fit[f"{name}_sd"].values))
    counts = (f"{int(rows.sum()):,}" for rows in (finite, held & finite))
    return (name, *counts, _span(values[finite], unit), f"{sd:.3g} {unit}".strip())


def _span(values: np.ndarray, unit: str) -> str:
    return f"{values.min():.4g} to {values.max():.4g} {unit}".strip()


def _constraints(text: str) -> str:
    """What the problem gives of an unknown, from its repr, without what it leaves open.

    >>> _constraints("ScalarUnknown(lower=0.0, upper=None, initial=None, unit='')")
    'lower=0.0'
    """
    inside = text.partition("(")[2].rpartition(")")[0]
    parts = re.split(r", (?=\w+=)", inside)
    return ", ".join(p for p in parts if p and not p.endswith(("=None", "=''", "='auto'"))) or "none"


def _answer(solution: Solution) -> str:
    numbers, fields = [], []
    for name, e in solution.estimates.items():
        interval = "not given" if e.sd is None else "{:.5g} to {:.5g}".format(*e.interval(0.95))
        numbers.append((name, e.amount, interval))
    for name in solution.unknown_fields:
        field, sd = solution.dataset[name], solution.dataset.get(f"{name}_sd")
        finite, unit = field.values[np.isfinite(field.values)], style.unit(field)
        if finite.size:
            spread = "not given" if sd is None else f"{float(np.nanmedian(sd.values)):.3g} {unit}".strip()
            fields.append((name, ", ".join(map(str, field.dims)), _span(finite, unit), spread))
    return _section("answer", str(solution.status) if solution.status.message else "", numbers, fields)


def _fit(solution: Solution) -> str:
    rows = []
    for name, m in solution.misfit.items():
        rows.append((name, *("none" if m[k] is None else f"{m[k]:.3g}" for k in ("fitted", "held_out"))))
    if not rows:
        return ""
    label = (
        "Fitted fields with measurements, measured against fitted values, and errors in units of the noise"
    )
    return _section("fit", rows, Markup(drawing(lambda: fit_figure(solution), label)))


def _run(solution: Solution) -> str:
    if has_radii(solution.history):
        label = (
            "Estimates with 95 % intervals against the radius of the test functions; the chosen one in red"
        )
        return drawing(lambda: sensitivity_figure(solution), label)
    if not solution.history.sizes["step"] or not solution.history.data_vars:
        return ""
    return drawing(lambda: history_figure(solution), "Loss and estimates against time, stage by stage")


def _validation(found: Validation | None) -> str:
    return "" if found is None else _section("validation", found, _TONES[found.status], *found.columns())


def _repeat(solution: Solution, problem_file: str, command: str) -> str:
    p = solution.provenance
    known = [(n, p[n]) for n in _RUN if p.get(n) is not None]
    rows = [
        ({"data": "SHA-256 of the data"}.get(n, n), f"{v:.3g}" if isinstance(v, float) else v)
        for n, v in known
    ]
    rows += [(f"{n} version", v) for n, v in (p.get("versions") or {}).items()]
    settings = p.get("settings")
    text = json.dumps(settings, indent=2, ensure_ascii=False) if settings else ""
    return _section("repeat", rows, command, problem_file.strip(), text)
