"""Registries and plugins."""

import os
import sys

import pytest

from mollifier.errors import ConfigurationError
from mollifier.io import plugins
from mollifier.io.registry import Registry


@pytest.fixture(autouse=True)
def _no_plugins(monkeypatch):
    monkeypatch.setenv(plugins.VARIABLE, "")
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith("mollifier_plugin_"):
            del sys.modules[name]


def test_registry_lookup_imports_the_named_attribute():
    roots = Registry("root", {"square": "math:sqrt"})
    assert roots["square"](16.0) == 4.0
    assert "square" in roots
    assert "cubic" not in roots
    assert dict(roots).keys() == {"square"}


def test_registry_refuses_a_name_that_is_taken():
    numbers = Registry("number", {"one": 1})
    numbers.register("one", 1)
    with pytest.raises(ConfigurationError, match="The number 'one' is already registered"):
        numbers.register("one", 2)


def test_plugin_file_registers_before_a_lookup(tmp_path):
    """A plugin that was listed in the environment is loaded by the first lookup, and once only."""
    sys.modules["registry_of_the_test"] = numbers = type(sys)("registry_of_the_test")
    numbers.NUMBERS = Registry("number", {"one": 1})
    path = tmp_path / "two.py"
    path.write_text("from registry_of_the_test import NUMBERS\nNUMBERS.register('two', 2)\n")
    try:
        plugins.add_plugins([str(path)])
        assert os.environ[plugins.VARIABLE] == str(path)
        assert tuple(numbers.NUMBERS) == ("one", "two")
        plugins.load_plugins()
    finally:
        del sys.modules["registry_of_the_test"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "there is no such file"),
        ("1/0", "ZeroDivisionError: division by zero"),
        ("import no_such_module_at_all", "No module named 'no_such_module_at_all'"),
    ],
)
def test_plugin_that_cannot_be_loaded_is_named(tmp_path, text, message):
    path = tmp_path / f"broken{abs(hash(message))}.py"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigurationError, match=message) as error:
        plugins.add_plugins([str(path)])
    assert str(path) in str(error.value)
    with pytest.raises(ConfigurationError):
        plugins.load_plugins()
