"""The formats of microscope files, each recognised by content: tables of localisations, and images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from mollifier.data.readers.tiff import Image
from mollifier.errors import DataError
from mollifier.io.files import require_file
from mollifier.io.registry import Registry

_BEGINNING = 4096


@dataclass(frozen=True)
class LocalizationTable:
    """A table of localisations whose columns have no roles yet."""

    names: Sequence[str] | None  #: Of the columns; None for a file without a header.
    width: int  #: Number of columns.
    #: Role -> index of its column, to role -> values, shape (rows,). Only ``channel`` may be text.
    load: Callable[[Mapping[str, int]], dict[str, NDArray[Any]]]
    kind: str  #: The program or the format that wrote the file.
    #: Unit of each column that is stated apart from its name; "" where there is none.
    below: Sequence[str] = ()
    #: Role -> unit that the format or its metadata state.
    units: Mapping[str, str] = field(default_factory=dict)
    unit: str = "nm"  #: Of lengths without another.
    #: Of the camera: nm, and (width, height) in pixels; None where they are not stated.
    pixel_size: float | None = None
    field_px: tuple[float, float] | None = None

    @classmethod
    def of(cls, columns: Mapping[str, NDArray[Any]], kind: str, **stated: Any) -> LocalizationTable:
        """A table of columns in memory, shape (rows,) each, with other attributes as stated."""
        every = list(columns.values())
        return cls(list(columns), len(every), lambda i: {r: every[k] for r, k in i.items()}, kind, **stated)


@dataclass(frozen=True)
class Format:
    """How files of one format are recognised and opened."""

    #: Whether a path with these first bytes (none of a folder) is of this format.
    recognises: Callable[[Path, bytes], bool]
    #: Opens it; one of the two. Whatever it raises becomes a `DataError` that names the file.
    table: Callable[[Path], LocalizationTable] | None = None
    image: Callable[[Path], Image] | None = None


# The last that recognises a file reads it, plugins before all others; text is whatever is nothing else.
FORMATS: Registry[Format] = Registry(
    "microscope file format",
    {
        **{
            n: f"mollifier.chromatin.formats.tables:{n.upper()}"
            for n in ("text", "arrays", "smlm", "picasso")
        },
        **{n: f"mollifier.chromatin.formats.images:{n.upper()}" for n in ("vendors", "ome_zarr", "tiff")},
    },
)


def format_of(path: Path) -> Format:
    """The format of a file, or of a folder that is one image; `DataError` if there is none."""
    beginning = b""
    if not path.is_dir():
        require_file(path)
        with path.open("rb") as stream:
            beginning = stream.read(_BEGINNING)
    for entry in reversed(list(FORMATS.values())):
        if entry.recognises(path, beginning):
            return entry
    require_file(path)  # a folder, which only images can be
    raise DataError(f"'{path}' has no known format.")


def open_table(path: Path) -> LocalizationTable:
    """The table of localisations in a file; `DataError` if it is an image, or cannot be read."""
    opened = format_of(path).table
    if opened is None:
        raise DataError(f"'{path}' is an image; a table of localisations or vertices was expected.")
    with _readable(path, "Export it as CSV."):
        return opened(path)


def open_image(path: Path) -> Image:
    """The image in a file; `DataError` if it is a table, or cannot be read."""
    opened = format_of(path).image
    if opened is None:
        raise DataError(f"'{path}' is no image: TIFF, OME-Zarr, ND2, CZI or LIF was expected.")
    with _readable(path, "Save it as OME-TIFF."):
        return opened(path)


@contextmanager
def _readable(path: Path, remedy: str) -> Iterator[None]:
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        # The libraries of these formats fail in as many ways on a damaged file.
        raise DataError(f"'{path}' cannot be read ({error!r}); it may be damaged. {remedy}") from error
