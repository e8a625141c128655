"""Questions that the data cannot answer, each beside a twin that they can.

A solver should say so for the first and not for the second. All data are exact solutions, sampled.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from benchmarks.cases.base import Case
from mollifier.problem.unknowns import FieldUnknown, ScalarUnknown, Unknown

Array = NDArray[np.float64]

_SOURCE = "Ours: an exact solution in closed form."
_X = FieldUnknown(over=("x",), lower=0.0)


@dataclass(frozen=True, eq=False)
class Question:
    """A case, and whether its data can answer it.

    Attributes
    ----------
    case
        The problem; ``case.fails`` says why it has no answer.
    undetermined
        Unknowns that cannot be found, alone or at all; none for a twin.
    """

    case: Case
    undetermined: tuple[str, ...] = ()

    @property
    def answerable(self) -> bool:
        """Whether every unknown can be found."""
        return not self.undetermined


def questions() -> list[tuple[Question, Question]]:
    """Pairs of an unanswerable question and its answerable twin.

    Examples
    --------
    >>> for bad, good in questions():
    ...     print(bad.case.name, "|", bad.case.equation, "|", good.case.equation)
    constant | u_t = D*u_xx | u_t = D*u_xx
    proportional | a*u_t = b*u_xx | u_t = b*u_xx
    same_term | u_t = r*u + s*u | u_t = r*u + s*u^2
    absent_gradient | u_t + a*u_x + c*u_y = 0 | u_t + a*u_x + c*u_y = 0
    aliased | u_t + a*u_x = 0 | u_t + a*u_x = 0
    single_wave | u_t = D*u_xx + r*u | u_t = D*u_xx + r*u
    pure_noise | u_t = D*u_xx | u_t = D*u_xx
    silent_half | u_t = k*u | u_t = k*u
    no_scale | 0 = dx(k*u_x) | 0 = dx(k*u_x) + 1
    two_fields | 0 = dx(k*u_x) + q | 0 = k*u_xx + kx*u_x + q
    """
    makers = (
        constant,
        proportional,
        same_term,
        absent_gradient,
        aliased,
        single_wave,
        pure_noise,
        silent_half,
        no_scale,
        two_fields,
    )
    return [make() for make in makers]


def constant() -> tuple[Question, Question]:
    """A field that neither moves nor varies; twin: waves that decay."""
    x, t, u = _decay()
    unknowns = {"D": ScalarUnknown()}
    why = "u is constant: D multiplies zero, and zero is what it has to equal."
    return (
        unanswerable(
            "constant", "u_t = D*u_xx", unknowns, _grid(x=x, t=t, u=np.full_like(u, 3.0)), {"D": 0.1}, why
        ),
        answerable("constant", "u_t = D*u_xx", unknowns, _grid(x=x, t=t, u=u), {"D": 0.1}),
    )


def proportional() -> tuple[Question, Question]:
    """Every term has a free factor; twin: one of them is fixed."""
    x, t, u = _decay()
    data = _grid(x=x, t=t, u=u)
    both = {"a": ScalarUnknown(), "b": ScalarUnknown()}
    why = "Only b/a enters; a = b = 0 is a solution too."
    return (
        unanswerable("proportional", "a*u_t = b*u_xx", both, data, {"a": 1.0, "b": 0.1}, why, ("a", "b")),
        answerable("proportional", "u_t = b*u_xx", {"b": ScalarUnknown()}, data, {"b": 0.1}),
    )


def same_term() -> tuple[Question, Question]:
    """One term written twice; twin: a linear and a quadratic one."""
    x, t = np.linspace(0, 1, 41), np.linspace(0, 2, 61)
    start = (1.0 + 0.8 * np.sin(2 * np.pi * x))[:, None]
    growth = np.exp(0.7 * t)
    logistic = start * growth / (1 + start * (growth - 1) * 0.4 / 0.7)
    unknowns = {"r": ScalarUnknown(), "s": ScalarUnknown()}
    why = "Only r + s enters."
    one = _grid(x=x, t=t, u=start * growth)
    two = _grid(x=x, t=t, u=logistic)
    return (
        unanswerable("same_term", "u_t = r*u + s*u", unknowns, one, {"r": 0.5, "s": 0.2}, why, ("r", "s")),
        answerable("same_term", "u_t = r*u + s*u^2", unknowns, two, {"r": 0.7, "s": -0.4}),
    )


def absent_gradient() -> tuple[Question, Question]:
    """A plane wave along x says nothing of the speed along y; twin: waves in both directions."""
    x = 2 * np.pi * np.arange(32) / 32
    t = np.linspace(0, 2, 25)
    along = x[:, None, None] - 0.8 * t
    across = x[None, :, None] + 0.5 * t
    plane = np.sin(along) + 0.5 * np.cos(2 * along)
    wave = _plane(x, t, plane + 0 * across)
    both = _plane(x, t, plane + 0.7 * np.sin(across + along) + 0.5 * np.cos(2 * across))
    unknowns = {"a": ScalarUnknown(), "c": ScalarUnknown()}
    truth = {"a": 0.8, "c": -0.5}
    equation = "u_t + a*u_x + c*u_y = 0"
    return (
        unanswerable(
            "absent_gradient", equation, unknowns, wave, truth, "u_y = 0: c multiplies zero.", ("c",)
        ),
        answerable("absent_gradient", equation, unknowns, both, truth),
    )


def aliased() -> tuple[Question, Question]:
    """Waves shorter than two cells; twin: the same grid and speed, long waves."""
    x, t = 2 * np.pi * np.arange(32) / 32, np.linspace(0, 0.5, 101)
    phase = x[:, None] - 0.6 * t
    short = np.sin(27 * phase) + np.cos(42 * phase + 1)
    long = np.sin(2 * phase) + 0.5 * np.cos(3 * phase + 1)
    unknowns = {"a": ScalarUnknown()}
    why = "27 and 42 waves on 32 nodes look like 5 and 10 waves, which would travel at different speeds."
    return (
        unanswerable("aliased", "u_t + a*u_x = 0", unknowns, _ring(x, t, short), {"a": 0.6}, why),
        answerable("aliased", "u_t + a*u_x = 0", unknowns, _ring(x, t, long), {"a": 0.6}),
    )


def single_wave() -> tuple[Question, Question]:
    """One Fourier mode, for which diffusion and reaction are the same; twin: two modes."""
    x, t = 2 * np.pi * np.arange(64) / 64, np.linspace(0, 2, 61)

    def mode(k: int) -> Array:
        return np.exp((0.3 - 0.1 * k**2) * t) * np.sin(k * x)[:, None]

    unknowns = {"D": ScalarUnknown(), "r": ScalarUnknown()}
    equation, truth = "u_t = D*u_xx + r*u", {"D": 0.1, "r": 0.3}
    why = "u_xx = -4 u: only r - 4 D enters."
    return (
        unanswerable("single_wave", equation, unknowns, _ring(x, t, mode(2)), truth, why, ("D", "r")),
        answerable("single_wave", equation, unknowns, _ring(x, t, mode(1) + mode(3)), truth),
    )


def pure_noise() -> tuple[Question, Question]:
    """Nothing but noise; twin: as much noise as 10 % of a signal."""
    x, t, u = _decay()
    unknowns = {"D": ScalarUnknown()}
    why = "u is zero and what is measured is noise."
    silent = unanswerable(
        "pure_noise", "u_t = D*u_xx", unknowns, _grid(x=x, t=t, u=0 * u), {"D": 0.1}, why, sd=0.1
    )
    heard = answerable("pure_noise", "u_t = D*u_xx", unknowns, _grid(x=x, t=t, u=u), {"D": 0.1}, noise=0.1)
    return silent, heard


def silent_half() -> tuple[Question, Question]:
    """A rate map where half the domain stays empty; twin: something everywhere."""
    x, t = np.linspace(0, 1, 81), np.linspace(0, 1, 41)
    fine = np.linspace(0, 1, 201)
    seed = np.where(np.abs(x - 0.25) < 0.25, np.cos(2 * np.pi * (x - 0.25)) ** 4, 0.0)

    def rate(at: Array) -> Array:
        return 1 + 0.5 * np.sin(2 * np.pi * at)

    truth = {"k": xr.DataArray(rate(fine), {"x": fine}, ("x",), "k")}
    growth = np.exp(rate(x)[:, None] * t)
    why = "u = 0 for x > 1/2: k does not enter there."
    return (
        unanswerable(
            "silent_half", "u_t = k*u", {"k": _X}, _grid(x=x, t=t, u=seed[:, None] * growth), truth, why
        ),
        answerable(
            "silent_half", "u_t = k*u", {"k": _X}, _grid(x=x, t=t, u=(0.2 + seed)[:, None] * growth), truth
        ),
    )


def no_scale() -> tuple[Question, Question]:
    """Steady conduction without a source; twin: with one, and a place without flux, which fixes all."""
    data, truth = _conduction(flux=lambda x: 1 + 0 * x)
    heated, _ = _conduction(flux=lambda x: 0.5 - x)
    why = "Every multiple of k serves as well."
    return (
        unanswerable("no_scale", "0 = dx(k*u_x)", {"k": _X}, data, {"k": truth}, why),
        answerable("no_scale", "0 = dx(k*u_x) + 1", {"k": _X}, heated, {"k": truth}),
    )


def two_fields() -> tuple[Question, Question]:
    """One steady profile for two unknown maps; twin: one of them known."""
    data, k = _conduction(flux=lambda x: 1.5 - x)
    fine = k["x"].values
    q = xr.DataArray(np.ones(fine.size), {"x": fine}, ("x",), "q")
    known = data.assign(kx=("x", _slope(data["x"].values)), k=("x", _conductivity(data["x"].values)))
    twin = answerable(
        "two_fields", "0 = k*u_xx + kx*u_x + q", {"q": FieldUnknown(over=("x",))}, known, {"q": q}
    )
    both: dict[str, Unknown] = {"k": _X, "q": FieldUnknown(over=("x",))}
    why = "For every k there is a q that makes the equation hold."
    return unanswerable(
        "two_fields", "0 = dx(k*u_x) + q", both, data, {"k": k, "q": q}, why, ("k", "q")
    ), twin


def unanswerable(
    name: str,
    equation: str,
    unknowns: Mapping[str, Unknown],
    clean: xr.Dataset,
    truth: Mapping[str, float | xr.DataArray],
    why: str,
    undetermined: tuple[str, ...] = (),
    sd: float | None = None,
) -> Question:
    """A question without an answer; all its unknowns are undetermined unless some are named."""
    return Question(
        Case(
            name=name,
            title=f"Unanswerable: {name.replace('_', ' ')}",
            equation=equation,
            unknowns=unknowns,
            clean=clean,
            truth=truth,
            source=_SOURCE,
            fails=why,
            fields=("u",),
            sd={} if sd is None else {"u": sd},
        ),
        undetermined or tuple(unknowns),
    )


def answerable(
    name: str,
    equation: str,
    unknowns: Mapping[str, Unknown],
    clean: xr.Dataset,
    truth: Mapping[str, float | xr.DataArray],
    noise: float = 0.01,
) -> Question:
    """The twin of a question, with an answer."""
    return Question(
        Case(
            name=f"{name}_twin",
            title=f"Answerable twin: {name.replace('_', ' ')}",
            equation=equation,
            unknowns=unknowns,
            clean=clean,
            truth=truth,
            source=_SOURCE,
            fails="It does not.",
            fields=("u",),
            noise=noise,
        )
    )


def _grid(x: Array, t: Array, u: Array) -> xr.Dataset:
    return xr.Dataset({"u": (("x", "t"), u)}, {"x": x, "t": t})


def _ring(x: Array, t: Array, u: Array) -> xr.Dataset:
    return xr.Dataset({"u": (("x", "t"), u)}, {"x": ("x", x, {"periodic": 2 * np.pi}), "t": t})


def _plane(x: Array, t: Array, u: Array) -> xr.Dataset:
    side = {c: (c, x, {"periodic": 2 * np.pi}) for c in ("x", "y")}
    return xr.Dataset({"u": (("x", "y", "t"), u)}, {**side, "t": t})


def _decay() -> tuple[Array, Array, Array]:
    """Two waves on [0, 3] that decay by diffusion, D = 0.1."""
    x, t = np.linspace(0, 3, 61), np.linspace(0, 1, 51)
    u = np.exp(-0.4 * t) * np.sin(2 * x)[:, None] + 0.5 * np.exp(-2.5 * t) * np.cos(5 * x)[:, None]
    return x, t, u


def _conductivity(x: Array) -> Array:
    return 1 / (1 + 0.4 * np.cos(2 * np.pi * x))


def _slope(x: Array) -> Array:
    return 0.8 * np.pi * np.sin(2 * np.pi * x) * _conductivity(x) ** 2


def _conduction(flux) -> tuple[xr.Dataset, xr.DataArray]:
    """A steady profile on [0, 1] with k u_x = flux, linear in x, and its k."""
    x, fine = np.linspace(0, 1, 201), np.linspace(0, 1, 401)
    level, tilt = flux(0.0), flux(1.0) - flux(0.0)
    wave = 2 * np.pi * x
    # The integral of (level + tilt*x) (1 + 0.4 cos(2 pi x)).
    bend = x * np.sin(wave) / (2 * np.pi) + np.cos(wave) / (2 * np.pi) ** 2
    u = level * (x + 0.4 * np.sin(wave) / (2 * np.pi)) + tilt * (x**2 / 2 + 0.4 * bend)
    k = xr.DataArray(_conductivity(fine), {"x": fine}, ("x",), "k")
    return xr.Dataset({"u": ("x", u)}, {"x": x}), k
