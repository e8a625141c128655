"""Shared by tests and by examples in docstrings and pages."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mollifier.io.registry import Registry


@pytest.fixture(autouse=True)
def _registries(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test or an example registers is gone after it."""
    register, added = Registry.register, []

    def kept(registry: Registry, name: str, entry: object) -> None:
        register(registry, name, entry)
        added.append((registry, name))

    monkeypatch.setattr(Registry, "register", kept)
    yield
    for registry, name in added:
        registry._entries.pop(name, None)
