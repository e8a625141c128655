"""Files that package the project agree with one another."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
# Names of conda-forge where they differ from those of Python.
CONDA = {"torch": "pytorch", "matplotlib": "matplotlib-base"}


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    """The table `project` of pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_conda_recipe_has_the_dependencies(project: dict[str, Any]) -> None:
    """The same packages with the same floors."""
    recipe = yaml.safe_load((ROOT / "conda" / "recipe.yaml").read_text(encoding="utf-8"))
    wanted = {f"python {project['requires-python']}"}
    for line in project["dependencies"]:
        name, floor = line.lower().split(">=")
        wanted.add(f"{CONDA.get(name, name)} >={floor}")
    assert {*recipe["requirements"]["run"]} == wanted
    assert recipe["context"]["version"] == project["version"]


def test_classifiers_name_the_tested_versions(project: dict[str, Any]) -> None:
    """3.11 to 3.14; the workflow has the first and the last, on three systems."""
    versions = [c.rsplit(" ", 1)[1] for c in project["classifiers"] if re.search(r":: 3\.\d+$", c)]
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "test.yaml").read_text(encoding="utf-8"))
    matrix = workflow["jobs"]["systems"]["strategy"]["matrix"]
    assert matrix["python"] == [versions[0], versions[-1]] == ["3.11", "3.14"]
    assert {name.split("-")[0] for name in matrix["os"]} == {"ubuntu", "macos", "windows"}


def test_floors_can_be_pinned(project: dict[str, Any]) -> None:
    """`.ci/wheel lowest` reads each dependency as a name and a floor."""
    assert all(re.fullmatch(r"[\w-]+>=[\d.]+", line) for line in project["dependencies"])


def test_released_readme_has_absolute_links() -> None:
    """Pictures and pages of the README lead to the repository, other links stay."""
    spec = importlib.util.spec_from_file_location("addresses", ROOT / ".ci" / "addresses.py")
    assert spec is not None
    assert spec.loader is not None
    addresses = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(addresses)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    released = addresses.absolute(readme, "https://h/o/n", "v1")
    assert "(https://h/o/n/raw/v1/docs/images/heat.png)" in released
    assert not re.search(r"\]\((?!https?://)", released)
    assert (
        tomllib.loads(addresses.urls("https://h/o/n", "v1"))["project"]["urls"]["Source"] == "https://h/o/n"
    )
