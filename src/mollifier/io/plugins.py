"""Plugins: Python files or modules of a user that add entries to the registries."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Iterable
from pathlib import Path

from mollifier.errors import ConfigurationError

#: Environment variable that lists plugins, separated as in PATH; processes that are started inherit it.
VARIABLE = "MOLLIFIER_PLUGINS"

_loaded: set[str] = set()


def add_plugins(names: Iterable[str]) -> None:
    """Load plugins (Python files or names of modules) here and in every process that this one starts.

    Raises `ConfigurationError` if one is missing, or its code fails.
    """
    listed = [n for n in os.environ.get(VARIABLE, "").split(os.pathsep) if n]
    full = (str(Path(n).absolute()) if n.endswith(".py") else n for n in names)
    os.environ[VARIABLE] = os.pathsep.join(dict.fromkeys([*listed, *full]))
    load_plugins()


def load_plugins() -> None:
    """Load what `VARIABLE` lists, each plugin once, as `add_plugins`; called before a registry is read."""
    for name in filter(None, os.environ.get(VARIABLE, "").split(os.pathsep)):
        if name in _loaded:
            continue
        _loaded.add(name)  # first, since a plugin may read a registry itself
        try:
            _load(name)
        except Exception as error:
            _loaded.discard(name)
            kind = "" if isinstance(error, ConfigurationError) else f"{type(error).__name__}: "
            text = f"{kind}{error}"
            raise ConfigurationError(
                f"The plugin '{name}' could not be loaded: {text.rstrip('.')}. Give the path of a Python "
                f"file or the name of a module, by --plugin or {VARIABLE}."
            ) from error


def _load(name: str) -> None:
    """Import a module, or a file under a module name made of its stem, so that its classes can be pickled."""
    if not name.endswith(".py"):
        importlib.import_module(name)
        return
    path = Path(name)
    if not path.is_file():
        raise ConfigurationError("there is no such file")
    module_name = f"mollifier_plugin_{path.stem}"
    if module_name in sys.modules:
        raise ConfigurationError(f"another plugin is named {path.name}; rename one of them")
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise ConfigurationError("it is no Python file")
    sys.modules[module_name] = module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[module_name]
        raise
