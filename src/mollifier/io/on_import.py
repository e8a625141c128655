"""Modules of ours that follow a package of others: imported right after it, whoever imports that."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import PathFinder
from typing import Any


def follow(package: str, module: str) -> None:
    """Import a module as soon as a package is there, and the package no earlier than somebody asks for it.

    So ``import mollifier`` stays light, and xarray knows the accessor whichever of the two comes first.
    """
    if package in sys.modules:
        import_module(module)
    else:
        sys.meta_path.insert(0, _Follower(package, module))


class _Follower(MetaPathFinder):
    """Finds the package as Python does, and has the module imported after it."""

    def __init__(self, package: str, module: str) -> None:
        self.package, self.module = package, module

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        """The package's own spec; None for all others."""
        if fullname != self.package:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            loader: Any = spec.loader
            execute = loader.exec_module

            def exec_module(package: Any) -> None:
                if self in sys.meta_path:  # until now: others look for the package without importing it
                    sys.meta_path.remove(self)
                execute(package)
                import_module(self.module)

            loader.exec_module = exec_module
        return spec
