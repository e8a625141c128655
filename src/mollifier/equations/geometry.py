"""Curvilinear coordinates: what grad, div and lap are along arcs instead of straight lines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sympy

from mollifier.errors import EquationError, check_known, did_you_mean

_DEGREE = sympy.pi / 180
_EARTH = 6_371_008.8  # mean radius in metres (IUGG)
_R, _ANGLE, _POLAR = ("r", "rho", "radius"), ("theta", "phi", "azimuth"), ("theta", "colatitude")
_LON, _LAT = ("lon", "longitude"), ("lat", "latitude")


@dataclass(frozen=True)
class Geometry:
    """Orthogonal coordinates by their scale factors: a step dc along c is of length ``scale[c] * dc``.

    With h the factors and J their product over all coordinates of the system, those of the problem and those
    along which nothing varies, ``grad(f)`` has the components f_c / h_c along unit vectors, and ``div(F)`` is
    the sum over c of (J F_c / h_c)_c / J (Morse and Feshbach, Methods of Theoretical Physics I, 1.3).

    >>> polar = geometry("polar", ("r", "theta"))
    >>> polar.scale, polar.volume, polar.singular
    ({'r': 1, 'theta': r}, r, (r,))
    """

    #: Spatial coordinate -> its factor, in plain symbols of the coordinates; in the order of the system, then
    #: straight ones.
    scale: Mapping[str, sympy.Expr] = field(default_factory=dict)
    volume: sympy.Expr = sympy.S.One  #: J.
    #: Factors of J that vanish somewhere, such as r at the axis. Equations are multiplied by their powers
    #: until none is left in a denominator: on the axis they then say what regularity requires there.
    singular: tuple[sympy.Expr, ...] = ()

    def along(self, coordinate: str) -> sympy.Expr:
        """The scale factor of a coordinate."""
        return self.scale.get(coordinate, sympy.S.One)

    def regular(self, residual: sympy.Expr) -> sympy.Expr:
        """A residual multiplied by what makes its coefficients finite, where these are not straight.

        >>> r, u_r, u_rr, u_t = sympy.symbols("r u_r u_rr u_t")
        >>> geometry("polar", ("r",)).regular(u_t - u_rr - u_r / r)
        -r*u_rr + r*u_t - u_r
        """
        if not self.singular:
            return residual
        terms = sympy.Add.make_args(sympy.expand_mul(residual))
        for factor in self.singular:
            least: Any = min(t.as_powers_dict().get(factor, 0) for t in terms)
            terms = tuple(t * factor**-least for t in terms) if least < 0 else terms
        return sympy.Add(*terms)


@dataclass(frozen=True)
class _System:
    """A coordinate system.

    ``axes`` are the names that each coordinate may have, the first that of its part; ``angles`` are the
    numbers of those that are angles. Scale factors, and those of their parts that vanish somewhere, follow
    from the coordinates' symbols in order. One more coordinate may be there, at right angles, if
    ``straight``. ``radius`` is the factor of coordinates on a sphere, where it is no coordinate.
    """

    axes: tuple[tuple[str, ...], ...]
    factors: Callable[..., tuple[Any, ...]]
    singular: Callable[..., tuple[Any, ...]]
    angles: tuple[int, ...] = (1,)
    straight: bool = False
    radius: float | None = None


_SYSTEMS = {
    "polar": _System((_R, _ANGLE), lambda r, phi: (1, r), lambda r, phi: (r,)),
    "cylindrical": _System((_R, _ANGLE), lambda r, phi: (1, r), lambda r, phi: (r,), straight=True),
    "spherical": _System(
        (_R, _POLAR, ("phi", "azimuth")),
        lambda r, theta, phi: (1, r, r * sympy.sin(theta)),
        lambda r, theta, phi: (r, sympy.sin(theta)),
        (1, 2),
    ),
    "lonlat": _System(
        (("lon", "longitude"), ("lat", "latitude"), ("radius",)),
        lambda lon, lat, r: (r * sympy.cos(lat), r, 1),
        lambda lon, lat, r: (sympy.cos(lat),),
        (0, 1),
        straight=True,
        radius=_EARTH,
    ),
}
SYSTEMS = tuple(_SYSTEMS)  #: Names of the coordinate systems.


def geometry(
    given: str | Mapping[str, Any], spatial: Iterable[str], units: Mapping[str, str] | None = None
) -> Geometry:
    """The geometry of a problem's spatial coordinates.

    Parameters
    ----------
    given
        "polar" (r, theta), "cylindrical" (the same and a height of any name), "spherical" (r, the angle theta
        from the north pole, the azimuth phi) or "lonlat" (longitude and latitude on a sphere, and a height,
        of a layer thin beside the radius). A mapping ``{"system": "polar", "r": "distance"}`` says which
        coordinate has which part where its name is another; ``{"system": "lonlat", "radius": 1.0}`` the
        radius of the sphere in the equation's unit of length, by default the Earth's in metres, 6,371,008.8.
        Along parts of the system that are not among the coordinates nothing varies.
    spatial
        The spatial coordinates.
    units
        Coordinate -> its unit: an angle whose unit begins with "deg" is in degrees, others are in radians;
        longitude and latitude are in degrees unless their unit begins with "rad".

    Raises
    ------
    EquationError
        If there is no such system, or a coordinate has no part in it.

    Examples
    --------
    >>> geometry({"system": "lonlat", "radius": 1}, ("lat",)).scale
    {'lat': pi/180}
    """
    options = dict(given) if isinstance(given, Mapping) else {"system": given}
    name, spatial = options.pop("system", None), tuple(spatial)
    if not isinstance(name, str) or name not in _SYSTEMS:
        raise EquationError(
            f"geometry={given!r} was given; one of {', '.join(SYSTEMS)} was expected, or a mapping with one "
            f"of these as its 'system'.{did_you_mean(str(name), SYSTEMS)}"
        )
    system = _SYSTEMS[name]
    radius = options.pop("radius", system.radius)
    parts = [_part(names, options, spatial) for names in system.axes]
    if options:
        raise EquationError(
            f"geometry: '{next(iter(options))}' is no part of {name} coordinates, which have "
            f"{', '.join(n[0] for n in system.axes)}."
        )
    if len(set(parts)) < len(parts):
        raise EquationError(f"geometry={given!r} was given; each part was expected to be another coordinate.")
    others = [c for c in spatial if c not in parts]
    if all(p not in spatial for p in parts) or len(others) > int(system.straight):
        raise EquationError(
            f"The spatial coordinates {', '.join(spatial)} are not those of the {name} system, "
            f"{', '.join(' or '.join(n) for n in system.axes)}{', and a height' if system.straight else ''}. "
            f"Say which is which, as in geometry={{'system': '{name}', '{system.axes[0][0]}': "
            f"'{(others or spatial)[0]}'}}."
        )
    symbols, turns = [], []
    for i, part in enumerate(parts):
        degrees = i in system.angles and _in_degrees((units or {}).get(part, ""), name == "lonlat")
        turns.append(_DEGREE if degrees else sympy.S.One)
        symbols.append(sympy.Symbol(part) * turns[i])
    factors = [h * turn for h, turn in zip(system.factors(*symbols), turns, strict=True)]
    scale = {p: sympy.sympify(h) for p, h in zip(parts, factors, strict=True) if p in spatial}
    place = _elsewhere(system, parts, scale, radius)
    scale = {c: h.xreplace(place) for c, h in scale.items()} | dict.fromkeys(others, sympy.S.One)
    singular = [f for f in system.singular(*symbols) if not f.free_symbols & {*place}]
    return Geometry(scale, sympy.Mul(*(f.xreplace(place) for f in factors)), tuple(singular))


def _in_degrees(unit: str, default: bool) -> bool:
    return not unit.lower().startswith("rad") if default else unit.lower().startswith("deg")


def _elsewhere(
    system: _System, parts: Sequence[str], scale: Mapping[str, sympy.Expr], radius: Any
) -> dict[sympy.Symbol, Any]:
    """Values for the parts of a system that are no coordinates of the problem.

    Nothing varies along them, so that the factor of an angle is the same on both sides of a derivative.
    """
    needed = {str(symbol) for h in scale.values() for symbol in h.free_symbols}
    values: dict[sympy.Symbol, Any] = {}
    for i, part in enumerate(parts):
        if part in scale:
            continue
        if i in system.angles and part in needed:
            raise EquationError(f"geometry: '{part}' is needed, and is not among the spatial coordinates.")
        if i not in system.angles and part in needed:
            if not (isinstance(radius, int | float) and 0 < radius < float("inf")):
                raise EquationError(
                    f"geometry: '{part}' is no coordinate of the problem, so the radius is needed, a "
                    f"positive number as in {{'radius': 1.0}}; it was given as {radius!r}."
                )
            values[sympy.Symbol(part)] = sympy.sympify(radius)
        else:
            values[sympy.Symbol(part)] = sympy.pi / 2 if i in system.angles else sympy.S.One
    return values


def _part(names: tuple[str, ...], options: dict[str, Any], spatial: tuple[str, ...]) -> str:
    """The coordinate that is one part of a system; the part's own name where none of them is."""
    given = options.pop(names[0], None)
    if given is None:
        return next((n for n in names if n in spatial), names[0])
    text = f"geometry: '{names[0]}' was given as {given!r}, not a spatial coordinate."
    check_known([given], spatial, EquationError, text)
    return str(given)
