"""``dataset.mollifier`` and ``array.mollifier``: what xarray's objects get from this package."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import xarray as xr


@xr.register_dataset_accessor("mollifier")
@xr.register_dataarray_accessor("mollifier")
class Accessor:
    """Derivatives of variables, and the dataset as observations.

    >>> import numpy as np, mollifier
    >>> x, t = np.linspace(0, 1, 60), np.datetime64("2020-01-01", "s") + np.arange(20)
    >>> data = xr.Dataset({"u": (("t", "x"), np.outer(np.ones(20), x**2))}, {"x": x, "t": t})
    >>> found = data.mollifier.differentiate("u_xx")
    >>> found.dims, bool(abs(found - 2).max() < 1e-9), found.t.dtype.kind
    (('t', 'x'), True, 'M')
    >>> data.mollifier.observations(noise=0.01).coordinates
    ('t', 'x')
    """

    def __init__(self, data: xr.Dataset | xr.DataArray) -> None:
        named = isinstance(data, xr.Dataset)
        self._dataset: Any = data if named else data.to_dataset(name=data.name or "u")

    def differentiate(self, order: str | Sequence[str], radius: Any = None, **options: Any) -> Any:
        """A derivative by its name, ``"u_xx"``, or a dataset of several.

        Parameters
        ----------
        order
            The name of a variable with a run of dimensions, or several names.
        radius
            As for `mollifier.differentiate`; along dates it is in seconds. By default that which balances
            noise and smoothing along the axes of the derivative (`mollifier.data.radii.best_radius`), with
            the noise estimated from the data; the attribute ``radius`` states it. With "adaptive" it varies
            over places along these axes, by the same noise.
        options
            As for `mollifier.differentiate`.

        Raises
        ------
        DataError
            If there is no such variable, values are missing, or are too few to estimate the noise.
        GridError
            As `mollifier.differentiate`.
        """
        from mollifier.data.building import with_axes
        from mollifier.data.radii import axes_of, best_radius
        from mollifier.errors import DataError, check_known
        from mollifier.mollify.adaptive import ADAPTIVE
        from mollifier.mollify.differentiate import differentiate
        from mollifier.mollify.orders import Derivative

        if not isinstance(order, str):
            found = [self.differentiate(one, radius, **options) for one in order]
            return xr.merge(found, join="outer", compat="no_conflicts")
        derivative = Derivative.parse(order, map(str, self._dataset.dims))
        field = derivative.field
        known = map(str, self._dataset.data_vars)
        check_known(field, known, DataError, f"'{order}': the dataset has no variable '{field}'.")
        indexes = {d: i for d, i in self._dataset[field].indexes.items() if len(i) > 1}
        turned = {d: slice(None, None, -1) for d, i in indexes.items() if i.is_monotonic_decreasing}
        array = self._dataset[field].isel(turned)
        numbers = with_axes(array.to_dataset(name=field), {})
        chosen = radius
        if radius is None:
            stencil = {k: v for k, v in options.items() if k != "boundary"}
            sd = self.observations().noise_sd(field)
            chosen = best_radius(numbers[field], derivative, sd, **stencil)
        elif radius == ADAPTIVE:
            chosen = dict.fromkeys(axes_of(numbers[field], derivative), ADAPTIVE)
            options = {"noise": self.observations().noise_sd(field)} | options
        found = differentiate(numbers[field], order=order, radius=chosen, **options)
        if radius is None:
            found.attrs["radius"] = ", ".join(f"{c} = {r:.4g}" for c, r in chosen.items())
        at = {d: numbers.indexes[d].get_indexer(found[d]) for d in found.dims if d in array.coords}
        return found.assign_coords({d: array[d][i] for d, i in at.items()}).isel(turned)

    def observations(self, noise: Any = None, **options: Any) -> Any:
        """The dataset as `mollifier.Observations`; arguments as for its method ``from_dataset``."""
        from mollifier.data.observations import Observations

        return Observations.from_dataset(self._dataset, noise, **options)
