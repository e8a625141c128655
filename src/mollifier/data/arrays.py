"""Unlabelled arrays of a file (npz, MATLAB, HDF5): dimensions found by matching lengths with coordinates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import permutations
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from mollifier.data.building import Roles
from mollifier.data.values import is_complex, names_in_parts
from mollifier.equations.names import parts_of
from mollifier.errors import DataError, check_known


@dataclass(frozen=True)
class Arrays:
    """Named arrays of a file, with the dimensions and units that it states, and why others were left out."""

    values: dict[str, NDArray[Any]]
    dims: dict[str, tuple[str, ...]] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)


def check_rename(names: Mapping[Any, str], known: Iterable[Any]) -> None:
    """Refuse new names for what is not there, that are no text, or that are taken."""
    there = [str(n) for n in known]
    check_known(names, there, DataError, "There is no '{}' to rename.")
    for old, new in names.items():
        after = [names.get(n, n) for n in there]
        if not isinstance(new, str) or after.count(new) > 1:
            why = "text was expected" if not isinstance(new, str) else "that name is taken"
            raise DataError(f"'{old}' was to be renamed {new!r}; {why}.")


def as_vectors(arrays: Arrays) -> Arrays:
    """Arrays of shape (n, 1) and (1, n) as (n,), as MATLAB and column-wise code save vectors."""
    plain = {n: a.ravel() if a.ndim == 2 and 1 in a.shape else a for n, a in arrays.values.items()}
    return replace(arrays, values=plain)


def in_parts(
    content: Any, names: Mapping[str, str]
) -> tuple[Any, dict[str, str], dict[str, tuple[str, str]]]:
    """Complex arrays as two real ones, and the names of both by that of the whole; other content as it is.

    ``names``, old to new, and the names returned are those after renaming; parts may be renamed one by one.

    >>> found, names, parts = in_parts(Arrays({"z": np.array([1j, 2.0])}), {"z": "psi"})
    >>> found.values["z_im"], names, parts
    (array([1., 0.]), {'z_re': 'psi_re', 'z_im': 'psi_im'}, {'psi': ('psi_re', 'psi_im')})
    """
    found = content.values if isinstance(content, Arrays) else {}
    old = {n: parts_of(n) for n, a in found.items() if is_complex(a)}
    if not old:
        return content, dict(names), {}
    values = {n: a for n, a in found.items() if n not in old}
    for n, (real, imaginary) in old.items():
        values |= {real: np.real(found[n]), imaginary: np.imag(found[n])}
    new = {names.get(n, n): parts_of(names.get(n, n)) for n in old}
    renamed = {n: q for n, q in names.items() if n not in old}
    for n in old.keys() & names.keys():
        renamed |= dict(zip(old[n], new[names[n]], strict=True))
    dims, units = names_in_parts(content.dims, old), names_in_parts(content.units, old)
    return Arrays(values, dims, units, content.refused), renamed, new


def rename(arrays: Arrays, names: Mapping[str, str]) -> Arrays:
    """With other names."""
    known = [*arrays.values, *arrays.refused]
    check_rename(names, known)
    new = {n: names.get(n, n) for n in known}
    return Arrays(
        {new[n]: a for n, a in arrays.values.items()},
        {new[n]: tuple(new.get(d, d) for d in ds) for n, ds in arrays.dims.items()},
        {new[n]: u for n, u in arrays.units.items()},
        {new[n]: why for n, why in arrays.refused.items()},
    )


def refuse_objects(arrays: Arrays, variables: Sequence[str] | None) -> None:
    """Raise where a file holds pickles, or only text and cells, and no names say what to read."""
    pickled = [n for n, why in arrays.refused.items() if "pickle" in why]
    if variables is None and (pickled or (arrays.refused and not arrays.values)):
        name = (pickled or list(arrays.refused))[0]
        raise DataError(
            f"'{name}' cannot be read: {arrays.refused[name]}. Name the arrays to read, as values=['u']."
        )


def columns(arrays: Arrays, coordinates: Sequence[str] | None) -> dict[str, NDArray[Any]] | None:
    """All arrays as columns of one table where they are 1-D of one length; None otherwise."""
    vectors = {n: a for n, a in arrays.values.items() if a.ndim > 0 and a.size > 1}
    lengths = {a.shape for a in vectors.values()}
    if len(lengths) != 1 or len(next(iter(lengths))) != 1 or any(c not in vectors for c in coordinates or ()):
        return None
    return vectors


def assemble(arrays: Arrays, roles: Roles, dims: Mapping[str, Sequence[str]] | None = None) -> xr.Dataset:
    """Label the arrays. Dimensions come from ``dims``, then the file, then the lengths of the 1-D arrays."""
    variables, coordinates, errors = roles.variables, roles.coordinates, roles.errors
    for name in (*(variables or ()), *(coordinates or ()), *errors, *(dims or ())):
        if name in arrays.refused:
            raise DataError(f"'{name}' cannot be read: {arrays.refused[name]}.")
        check_known([name], arrays.values, DataError, "The file has no array '{}'.")
    named = {d for ds in (*(dims or {}).values(), *arrays.dims.values()) for d in ds}
    axes = list(
        coordinates or (n for n, a in arrays.values.items() if a.ndim == 1 and n not in (variables or ()))
    )
    if coordinates is None and named:
        axes = [n for n in axes if n in named] or axes
    chosen = list(variables or (n for n, a in arrays.values.items() if a.ndim > 0 and n not in axes))
    if not chosen:
        shapes = {n: a.shape for n, a in arrays.values.items()}
        raise DataError(
            f"No array is left as a variable beside the coordinates {axes}; the file holds {shapes}."
        )
    lengths = {c: arrays.values[c].size for c in axes}
    attrs = {n: {"units": unit} for n, unit in arrays.units.items()}
    data: dict[str, Any] = {}
    for name in dict.fromkeys((*chosen, *errors)):
        values = arrays.values[name]
        given = tuple((dims or {}).get(name, ())) or arrays.dims.get(name, ())
        own = given or _match(name, values.shape, lengths, coordinates is not None, roles.replicates or ())
        _check_dims(name, values.shape, own, lengths)
        data[name] = own, values, attrs.get(name, {})
    used = {d for own, _, _ in data.values() for d in own}
    coords = {c: (c, arrays.values[c].ravel(), attrs.get(c, {})) for c in axes if c in used}
    return xr.Dataset(data, coords)


def _check_dims(name: str, shape: tuple[int, ...], own: Sequence[str], lengths: Mapping[str, int]) -> None:
    fits = len(own) == len(shape) and all(lengths.get(d, n) == n for d, n in zip(own, shape, strict=True))
    if not fits:
        there = {d: lengths[d] for d in own if d in lengths}
        raise DataError(f"'{name}' has shape {shape} but the dimensions {tuple(own)} of lengths {there}.")


def _match(
    name: str, shape: tuple[int, ...], lengths: Mapping[str, int], ordered: bool, replicates: Sequence[str]
) -> tuple[str, ...]:
    """Names for the dimensions of an array: in the order given where it fits, otherwise the only fit."""
    pool = {**lengths, **{r: 0 for r in replicates if r not in lengths}}
    if ordered and tuple(lengths.values()) == shape:
        return tuple(lengths)
    if len(shape) > 6 or len(pool) > 12:
        ways: list[tuple[str, ...]] = []
    else:
        ways = [
            way
            for way in permutations(pool, len(shape))
            if all(pool[d] in (0, n) for d, n in zip(way, shape, strict=True))
        ]
    exact = [w for w in ways if not any(pool[d] == 0 for d in w)] or ways
    if ordered and len(exact) > 1:
        order = list(lengths)
        exact = [w for w in exact if [d for d in order if d in w] == [d for d in w if d in order]] or exact
    example = f"dims={{'{name}': ({', '.join(repr(c) for c in list(lengths)[: len(shape)])})}}"
    if len(exact) > 1:
        raise DataError(
            f"'{name}' of shape {shape} fits {len(exact)} orders of the coordinates {dict(lengths)}, such as "
            f"{exact[0]} and {exact[1]}; give the order, as {example}."
        )
    if not exact:
        raise DataError(
            f"'{name}' of shape {shape} does not fit the coordinates {dict(lengths)}; name 1-D arrays that "
            f"match its lengths in coordinates, or its dimensions, as {example}."
        )
    return exact[0]
