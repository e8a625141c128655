"""Registries: what can be chosen by name, one line an entry, open to plugins."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Generic, TypeVar, cast

from mollifier.errors import ConfigurationError, check_known
from mollifier.io.plugins import load_plugins

Entry = TypeVar("Entry")


class Registry(Mapping[str, Entry], Generic[Entry]):
    """Name -> entry, in the order of registration; a mapping whose lookups name the nearest entry.

    Plugins (`mollifier.io.plugins`) are loaded before the first lookup, so that what they register is found.

    ``kind`` is what an entry is, for messages: "kernel". An entry may be given as its place,
    "module:attribute", to be imported at the first lookup. A lookup raises `ConfigurationError` if there is
    no entry of this name, `register` if the name is taken.

    >>> shapes = Registry("shape", {"square": lambda a: a * a, "root": "math:sqrt"})
    >>> shapes.register("cube", lambda a: a**3)
    >>> [*shapes], shapes["root"](9.0), shapes["cube"](2)
    (['square', 'root', 'cube'], 3.0, 8)
    >>> shapes["cub"]
    Traceback (most recent call last):
    mollifier.errors.ConfigurationError: There is no shape 'cub'. Did you mean 'cube'?
    """

    def __init__(self, kind: str, entries: Mapping[str, Entry | str]) -> None:
        self.kind = kind
        self._entries: dict[str, Entry | str] = dict(entries)

    def register(self, name: str, entry: Entry | str) -> None:
        """Add an entry, or where it is, as "module:attribute"."""
        if name in self._entries and self._entries[name] is not entry:
            raise ConfigurationError(f"The {self.kind} '{name}' is already registered; choose another name.")
        self._entries[name] = entry

    def loaded(self) -> dict[str, Entry]:
        """The entries that need no import, those of plugins among them."""
        load_plugins()
        return {n: e for n, e in self._entries.items() if not isinstance(e, str)}

    def __getitem__(self, name: str) -> Entry:
        load_plugins()
        check_known(name, self._entries, ConfigurationError, f"There is no {self.kind} '{{}}'.")
        entry = self._entries[name]
        if isinstance(entry, str):
            module, _, attribute = entry.partition(":")
            entry = self._entries[name] = cast(Entry, getattr(import_module(module), attribute))
        return entry

    def __contains__(self, name: object) -> bool:
        load_plugins()
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        load_plugins()
        return iter(tuple(self._entries))

    def __len__(self) -> int:
        load_plugins()
        return len(self._entries)
