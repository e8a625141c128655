"""The rooms: imports point downward only, and importing the package is light."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import mollifier

PACKAGE = Path(mollifier.__file__).parent


def modules() -> dict[str, Path]:
    """Dotted name below the package -> file, the package's own front door left out."""
    files = {p: p.relative_to(PACKAGE).with_suffix("").parts for p in sorted(PACKAGE.rglob("*.py"))}
    names = {p: parts[:-1] if parts[-1] == "__init__" else parts for p, parts in files.items()}
    return {".".join(parts): p for p, parts in names.items() if parts}


def imported(name: str, path: Path) -> set[str]:
    """Modules below the package that a file imports: at its head, inside functions, for types only."""
    known, found = modules(), set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"mollifier.{name} has a relative import; write the whole name"
            # A submodule taken from its package is that module, not the package's front door.
            inner = {f"{node.module}.{a.name}" for a in node.names}
            modular = {i for i in inner if i.removeprefix("mollifier.") in known}
            found |= modular | (set() if modular == inner else {node.module or ""})
    return {f.removeprefix("mollifier.") for f in found} & set(known)


def test_there_are_no_cycles():
    """Lazy and type-only imports count, and so do those inside a room."""
    remaining = {name: imported(name, path) - {name} for name, path in modules().items()}
    while free := [name for name, needs in remaining.items() if not needs & set(remaining)]:
        for name in free:
            del remaining[name]
    assert not remaining, f"these import one another: {sorted(remaining)}"


def test_importing_the_package_is_light():
    code = (
        "import sys, mollifier\n"
        "heavy = {'torch', 'xarray', 'sympy', 'scipy', 'numpy', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "mollifier.Grid(mollifier.Axis('x', 0.0, 1.0, 8)), mollifier.BSpline(3)\n"
        "heavy = {'torch', 'xarray', 'sympy', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("room", ["differentiate", "operators", "orders"])
def test_the_ground_floor_needs_no_torch(room):
    code = (
        f"import sys, mollifier.mollify.{room}; assert not {{'torch', 'xarray', 'sympy'}} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", [n for n in mollifier.__all__ if n != "__version__"])
def test_every_public_name_is_there(name):
    module = importlib.import_module(f"mollifier.{mollifier._HOME[name]}")
    assert getattr(mollifier, name) is getattr(module, name)


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Gird'"):
        _ = mollifier.Gird
