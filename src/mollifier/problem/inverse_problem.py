"""An inverse problem: an equation, observations, and what is unknown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr

from mollifier.data.observations import Observations, Samples
from mollifier.data.values import is_number, names_in_parts
from mollifier.equations.build import listed
from mollifier.equations.laws import over_fields
from mollifier.equations.names import Names, parts_of
from mollifier.equations.scan import arguments_in, fields_in
from mollifier.equations.system import EquationSystem, parse
from mollifier.equations.units import Units, units_of
from mollifier.errors import ConfigurationError, DataError, check_known, did_you_mean
from mollifier.problem.completion import check_names, completed_states, completed_unknowns, is_measured
from mollifier.problem.conditions import Condition, box, checked, placed
from mollifier.problem.domain import Domain, Interior, check_edges
from mollifier.problem.edges import at_edges
from mollifier.problem.measurements import all_measurements
from mollifier.problem.unknowns import FieldUnknown, ScalarUnknown, StateUnknown, Unknown, as_names


@dataclass(frozen=True)
class InverseProblem:
    """The question: which unknowns make the equation agree with the observations.

    Parameters
    ----------
    equation
        Text (``"u_t = div(k*grad(u)) + r*u"``), a SymPy expression, a callable on a jet, or several of these.
    data
        Observations, or an `xarray.Dataset` whose dimensions are the coordinates. Observed variables that
        the equation differentiates are the fields; others that it names are known coefficients.
    unknowns
        Name -> `ScalarUnknown` or `FieldUnknown`.
    constants
        Name -> number, for known constants in the equation.
    fields
        Observed variables to treat as fields; those that the equation differentiates by default.
    geometry
        The system of the spatial coordinates for ``grad``, ``div`` and ``lap``: "polar", "cylindrical",
        "spherical" or "lonlat", or a mapping as `mollifier.equations.geometry.geometry` takes it; straight
        coordinates at right angles by default.
    conditions
        Equations at places, as at an edge or at the start; they may hold further unknowns. See `Condition`.
    states
        Name -> `StateUnknown`, for states with no data, or with so few that they say little.
    experiments
        Coordinates whose values number experiments, such as subjects: each has its own states, its
        unknowns are shared, and an unknown field over such a coordinate has one value, or one field, for each
        experiment, about a common mean. Coordinates of text number experiments without being named.
    domain
        Where the equation holds, by inequalities, a polygon or a mask, as a `Domain`; by default in the
        measured region. Data outside are left out.

    Attributes
    ----------
    system
        The checked equations and conditions (`mollifier.equations.system.EquationSystem`).
    measurements
        Unknown field -> its measurements, of those that have some.
    interior
        The domain over the coordinates of the data; None where none was given.
    places
        The conditions, those along the edge of the domain as one for each place.

    Raises
    ------
    EquationError
        If the equation cannot be read or names what does not exist.
    ConfigurationError
        If an unknown is in no equation and no condition, clashes with the data, or varies over what is not a
        coordinate; if there is no field, or one that is in no equation; if measurements of an unknown field
        lie outside of the domain or of its bounds, or are of something else; if a condition has no place.
    DataError
        If the data are at one place along a coordinate, or measurements at none, or of unknown noise.

    Examples
    --------
    >>> import numpy as np
    >>> x, t = np.random.default_rng(0).random((2, 50))
    >>> u = np.exp(-t) * np.sin(3 * x)
    >>> obs = Observations(values={"u": u}, points={"x": x, "t": t}, noise={"u": 0.01})
    >>> problem = InverseProblem("u_t = D*u_xx", data=obs, unknowns={"D": ScalarUnknown(lower=0.0)})
    >>> problem.fields, problem.system.order
    (('u',), 2)
    """

    equation: Any
    data: Observations
    unknowns: Mapping[str, Unknown]
    constants: Mapping[str, float] = field(default_factory=dict)
    fields: tuple[str, ...] = ()
    geometry: str | Mapping[str, Any] | None = None
    conditions: tuple[Condition, ...] = ()
    states: Mapping[str, StateUnknown] = field(default_factory=dict)
    experiments: tuple[str, ...] = ()
    domain: Domain | None = None
    system: EquationSystem = field(init=False, repr=False)
    measurements: Mapping[str, Samples] = field(init=False, repr=False)
    interior: Interior | None = field(init=False, repr=False)
    places: tuple[Condition, ...] = field(init=False, repr=False)

    def __init__(
        self,
        equation: Any,
        data: Observations | xr.Dataset | xr.DataArray,
        unknowns: Mapping[str, Unknown],
        constants: Mapping[str, float] | None = None,
        fields: Sequence[str] | None = None,
        geometry: str | Mapping[str, Any] | None = None,
        conditions: Sequence[Condition] = (),
        states: Mapping[str, StateUnknown] | None = None,
        experiments: str | Sequence[str] = (),
        domain: Domain | None = None,
    ) -> None:
        constants = _numbers(constants or {})
        observations, interior = _observed(data, domain, constants)
        numbering = _experiments(experiments, observations)
        conditions = checked(conditions, observations)
        everything = [*listed(equation), *(e for c in conditions for e in listed(c.equation))]
        declared = completed_states(states or {}, observations)
        chosen = _fields(everything, observations, fields, declared)
        unseen = {n: s for n, s in declared.items() if n not in chosen}
        hidden = {n: s.over or () for n, s in unseen.items()}
        written = arguments_in(everything)
        completed = completed_unknowns(unknowns, observations, constants, chosen, unseen, written)
        others = [v for v in observations.variables if v not in (*chosen, *hidden)]
        names = Names(
            coordinates=observations.coordinates,
            fields={f: observations.coordinates_of(f) for f in chosen} | hidden,
            unknowns={n: u.over or () for n, u in completed.items()},
            known={v: observations.coordinates_of(v) for v in others},
            constants=constants,
            system=geometry,
            experiments=numbering,
            units=observations.units,
        )
        measurements = all_measurements(completed, observations)
        places = at_edges(conditions, interior, observations, constants)
        bounds = box(places, measurements, observations)
        system = placed(parse(equation, names), places, completed, bounds, observations)
        _check_fields(system, (*chosen, *hidden), declared, observations)
        _check_experiments(system, numbering)
        _check_names(names, completed, system)
        check_edges(system, interior, observations)
        vars(self).update(
            equation=equation,
            data=observations,
            unknowns=completed,
            constants=constants,
            fields=chosen,
            geometry=geometry,
            conditions=conditions,
            states=declared,
            experiments=numbering,
            domain=domain,
            system=system,
            measurements=measurements,
            interior=interior,
            places=places,
        )

    @property
    def coordinates(self) -> tuple[str, ...]:
        """Coordinates of the fields, in the order of the data."""
        return self.data.coordinates

    @property
    def hidden(self) -> tuple[str, ...]:
        """States of which there are no data."""
        return tuple(n for n in self.states if n not in self.fields)

    @property
    def all_states(self) -> tuple[str, ...]:
        """The fields that were measured, then the hidden states."""
        return *self.fields, *self.hidden

    def coordinates_of(self, name: str) -> tuple[str, ...]:
        """The coordinates that a state or an unknown varies over."""
        return self.system.names.over(name)

    @property
    def bounds(self) -> dict[str, tuple[float, float]]:
        """Coordinate -> ends of the domain: of the data, of measurements a little beyond, of conditions."""
        return box(self.places, self.measurements, self.data)

    def extent(self, name: str) -> tuple[float, float]:
        """Ends along a coordinate; of a field in its data and measurements of laws of it, or its bounds."""
        if name in self.hidden:
            return self.states[name].range
        if name not in self.fields:
            return self.bounds[name]
        values = [self.data.samples(name).values]
        for samples in self.measurements.values():
            values += [x for c, x in samples.places.items() if c == name]
        found = np.concatenate(values)
        return float(found.min()), float(found.max())

    @property
    def laws(self) -> dict[str, tuple[str, ...]]:
        """Unknown fields that vary over states -> these states."""
        found = {n: over_fields(self.system.names, n) for n in self.unknown_fields}
        return {n: states for n, states in found.items() if states}

    @property
    def scalars(self) -> dict[str, ScalarUnknown]:
        """The unknown numbers."""
        return {n: u for n, u in self.unknowns.items() if isinstance(u, ScalarUnknown)}

    @property
    def unknown_fields(self) -> dict[str, FieldUnknown]:
        """The unknown fields."""
        return {n: u for n, u in self.unknowns.items() if isinstance(u, FieldUnknown)}

    def may_have_edges(self, *priors: str) -> list[str]:
        """Unknown fields with one of some kinds of prior; no laws, which have too few cells for edges."""
        return [n for n, u in self.unknown_fields.items() if u.prior in priors and n not in self.laws]

    @property
    def described(self) -> dict[str, Any]:
        """The question in plain values, with a digest of the data: what a run and its answer are known by."""
        unknowns = {n: repr(u) for n, u in self.unknowns.items()}
        for n, u in self.unknown_fields.items():
            if isinstance(u.measurements, Observations):
                unknowns[n] += f" {u.measurements.digest()}"
        return {
            "equation": [e.text for e in self.system.equations],
            "data": self.data.digest(),
            "unknowns": unknowns,
            "constants": dict(self.constants),
            "fields": list(self.fields),
        } | {
            name: value
            for name, value in {
                "states": {n: repr(s) for n, s in self.states.items()},
                "geometry": self.geometry,
                "experiments": self.experiments,
                "conditions": [str(c) for c in self.system.conditions],
                "domain": self.interior and self.interior.described,
            }.items()
            if value
        }

    def of(self, data: Observations, unknowns: Mapping[str, Unknown]) -> InverseProblem:
        """The same question of other data, with other measurements or bounds of the unknowns."""
        return replace(self, data=data, unknowns=unknowns)

    @cached_property
    def units(self) -> Units:
        """What units say of the equations and conditions."""
        stated = {n: u.unit for n, u in {**self.unknowns, **self.states}.items()}
        return units_of(self.system.imposed, self.data.units | stated)

    @property
    def known(self) -> tuple[str, ...]:
        """Observed variables that enter as known coefficients."""
        return tuple(v for v in self.system.names.known if v in self.system.symbols)


def _observed(
    data: Observations | xr.Dataset | xr.DataArray, domain: Domain | None, constants: Mapping[str, float]
) -> tuple[Observations, Interior | None]:
    """The observations within the domain, and the domain over their coordinates."""
    observations = data if isinstance(data, Observations) else Observations.from_dataset(data)
    if not isinstance(domain, Domain | None):
        raise ConfigurationError(
            f"domain={domain!r} was given; a Domain was expected, as in "
            "domain=Domain(inside='x^2 + y^2 < 1')."
        )
    interior = None if domain is None else domain.of(observations, constants)
    observations = observations if interior is None else interior.restricted(observations)
    _check_places(observations)
    return observations, interior


def require_problem(given: object, verb: str) -> None:
    """Refuse what is not a problem, such as a problem file that was not made into one.

    >>> require_problem("heat.yaml", "solve")
    Traceback (most recent call last):
    mollifier.errors.ConfigurationError: solve was given a str; an InverseProblem was expected, such as
    mf.load_problem("heat.yaml").problem().
    """
    if not isinstance(given, InverseProblem):
        raise ConfigurationError(
            f"{verb} was given a {type(given).__name__}; an InverseProblem was expected, such as "
            'mf.load_problem("heat.yaml").problem().'
        )


def _check_places(data: Observations) -> None:
    """Refuse data at one place along a coordinate: nothing can be said of how they vary along it."""
    for c in data.coordinates:
        x = np.asarray(data.dataset[c].values)
        if not np.ptp(x) > 0:
            raise DataError(
                f"Coordinate '{c}' has one point only ({x[0]:g}); at least two were expected: leave it "
                "out of the coordinates."
            )


def _fields(
    equation: Any, data: Observations, fields: Sequence[str] | None, states: Mapping[str, StateUnknown]
) -> tuple[str, ...]:
    """The measured fields: as given, or what the equation differentiates, or the only variable there is."""
    measured = [v for v in data.variables if v not in states or is_measured(v, data)]
    if fields is not None:
        given = as_names("fields", fields, "['u']")
        named = {n: p for n in given if {*(p := parts_of(n))} <= {*data.variables}}
        chosen = tuple(dict.fromkeys(names_in_parts(given, named)))
        check_known(chosen, data.variables, ConfigurationError, "Field '{}' is not in the data.")
        return tuple(f for f in dict.fromkeys([*chosen, *states]) if f in measured)
    found = fields_in(equation, {v: data.coordinates_of(v) for v in measured}, data.coordinates)
    named = tuple(v for v in measured if v in found or v in states)
    return named or (tuple(measured) if len(measured) == 1 else ())


def _experiments(given: str | Sequence[str], data: Observations) -> tuple[str, ...]:
    """Coordinates that number experiments: those named, and those of text."""
    named = as_names("experiments", given, "['subject']")
    text = "experiments names '{}', not a coordinate of the data."
    check_known(named, data.coordinates, ConfigurationError, text)
    found = tuple(c for c in data.coordinates if c in named or "experiments" in data.dataset[c].attrs)
    if len(found) == len(data.coordinates):
        raise ConfigurationError(
            f"The coordinates {list(found)} all number experiments; one was expected along which the "
            "equation holds, such as time."
        )
    return found


def _check_names(names: Names, unknowns: Mapping[str, Unknown], system: EquationSystem) -> None:
    """No name of the problem is one under which a solution keeps something else."""
    known = (v for v in names.known if v in system.symbols)
    scalars = [n for n, u in unknowns.items() if isinstance(u, ScalarUnknown)]
    varied = {c for n in unknowns for c in over_fields(names, n)}
    check_names((*names.coordinates, *names.fields, *unknowns, *known), scalars, varied)


def _check_experiments(system: EquationSystem, experiments: Sequence[str]) -> None:
    """Nothing is differentiated along what numbers experiments."""
    for c in experiments:
        if system.order_along(c):
            raise ConfigurationError(
                f"'{c}' numbers experiments, and the equation differentiates along it: leave it out of "
                "experiments, or correct the equation."
            )


def _numbers(constants: Any) -> dict[str, float]:
    """Constants as real numbers."""
    if not isinstance(constants, Mapping):
        raise ConfigurationError(
            f"constants={constants!r} was given; names with numbers were expected, as in "
            "constants={'c': 2.0}."
        )
    # An array without dimensions is a number.
    constants = {n: v.item() if hasattr(v, "item") and np.ndim(v) == 0 else v for n, v in constants.items()}
    for name, value in constants.items():
        if not isinstance(name, str) or not name.isidentifier():
            raise ConfigurationError(f"The constant {name!r} has no name that an equation can hold, as 'c'.")
        if not is_number(value):
            raise ConfigurationError(
                f"The constant '{name}' was given as {value!r:.70}; a finite real number below 1e60 was "
                "expected. A coefficient that varies belongs to the data."
            )
    return {str(n): float(v) for n, v in constants.items()}


def _check_fields(
    system: EquationSystem, chosen: Sequence[str], states: Mapping[str, StateUnknown], data: Observations
) -> None:
    """At least one field, and each of them and of the unknowns in an equation."""
    if not chosen:
        raise ConfigurationError(
            f"No field was found: the equation differentiates none of the observed variables "
            f"{', '.join(data.variables)}. Name what is to be fitted, as in fields=['{data.variables[0]}']."
        )
    for f in chosen:
        if f not in system.derivatives:
            what, place = ("state", "states") if f in states else ("field", "fields")
            raise ConfigurationError(
                f"The {what} '{f}' is in no equation.{did_you_mean(f, system.symbols)} Leave it out "
                f"of {place}, or correct the equation."
            )
    if system.unused:
        raise ConfigurationError(
            f"The unknowns {list(system.unused)} are in no equation."
            f"{did_you_mean(system.unused[0], system.symbols)} Remove them or correct the name."
        )
