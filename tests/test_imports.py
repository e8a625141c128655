"""The rooms: imports point downward only, and importing the package is light."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import mollifier

PACKAGE = Path(mollifier.__file__).parent

# From the ground up. A room imports from rooms below it, not from its neighbours on the same line.
FLOORS = [
    ["errors"],
    ["orders", "files", "plain_yaml", "settings"],
    ["grid", "lock"],
    ["kernels", "linear", "matern"],
    ["stencils", "convolve", "splines"],
    ["operators"],
    ["jet"],
    ["measured", "width"],
    ["precision"],
    ["layer"],
    ["networks"],
    ["derivatives"],
    ["data"],
    ["equations", "pointwise"],
    ["unknowns"],
    ["readings"],
    ["scaling"],
    ["problem"],
    ["identifiability", "collocation"],
    ["slopes"],
    ["information"],
    ["check"],
    ["solution"],
    ["uncertainty"],
    ["engines"],
    ["compare"],
    ["intervals"],
    ["validation"],
    ["bench"],
    ["report"],
    ["apps"],
    ["config", "console", "demos", "progress"],
    ["options", "runs"],
    ["bench_tables"],
    ["answer_cli", "bench_cli", "chromatin_cli"],
    ["cli"],
    ["__main__"],
]
# The public contract gives a noun a few verbs of rooms above it: imported when called, inside a function.
VERBS = {
    ("problem", "check"),
    ("solution", "validation"),
    ("solution", "engines"),
    ("solution", "report"),
    ("solution", "uncertainty"),
}
FLOOR = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}


def modules() -> dict[str, Path]:
    """Dotted name below the package -> file, the package's own front door left out."""
    files = {p: p.relative_to(PACKAGE).with_suffix("").parts for p in sorted(PACKAGE.rglob("*.py"))}
    names = {p: parts[:-1] if parts[-1] == "__init__" else parts for p, parts in files.items()}
    return {".".join(parts): p for p, parts in names.items() if parts}


def imported(name: str, path: Path, inside_functions: bool = True) -> set[str]:
    """Modules below the package that a file imports, except for the sake of types only."""
    known, found = modules(), set()
    left_out = ast.If if inside_functions else (ast.If, ast.FunctionDef, ast.AsyncFunctionDef)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = {
        id(inner)
        for outer in ast.walk(tree)
        if isinstance(outer, left_out)
        and (not isinstance(outer, ast.If) or "TYPE_CHECKING" in ast.dump(outer.test))
        for inner in ast.walk(outer)
    }
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = ["mollifier", *filter(None, package.split("."))]
                base = ".".join([*above[: len(above) + 1 - node.level], *filter(None, [base])])
            # A submodule taken from its package is that module, not the package's front door.
            inner = {f"{base}.{a.name}" for a in node.names}
            modular = {i for i in inner if i.removeprefix("mollifier.") in known}
            found |= modular | (set() if modular == inner else {base})
    return {f.removeprefix("mollifier.") for f in found} & set(known)


def test_every_room_has_its_floor():
    rooms = {name.split(".")[0] for name in modules()}
    assert rooms <= set(FLOOR), f"give {sorted(rooms - set(FLOOR))} a place in the order of the rooms"


@pytest.mark.parametrize("name", modules())
def test_imports_point_downward(name):
    room, path = name.split(".")[0], modules()[name]
    above = {r for r in FLOOR if FLOOR[r] >= FLOOR.get(room, len(FLOORS)) and r != room}
    always = {o for o in imported(name, path, inside_functions=False) if o.split(".")[0] in above}
    assert not always, f"mollifier.{name} imports {sorted(always)}, which does not lie below it"
    ever = {o for o in imported(name, path) if o.split(".")[0] in above}
    verbs = {o for o in ever if (room, o.split(".")[0]) in VERBS}
    assert ever == verbs, f"mollifier.{name} imports {sorted(ever - verbs)}, which does not lie below it"


def test_there_are_no_cycles():
    """Not inside a package either, where floors say nothing."""
    remaining = {
        name: imported(name, path, inside_functions=False) - {name} for name, path in modules().items()
    }
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


@pytest.mark.parametrize("room", ["measured", "operators", "jet"])
def test_the_ground_floor_needs_no_torch(room):
    code = f"import sys, mollifier.{room}; assert not {{'torch', 'xarray', 'sympy'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", [n for n in mollifier.__all__ if n != "__version__"])
def test_every_public_name_is_there(name):
    home = mollifier._HOME[name]
    if not (PACKAGE / f"{home}.py").exists() and not (PACKAGE / home / "__init__.py").exists():
        pytest.skip(f"mollifier.{home} is not written yet")
    module = importlib.import_module(f"mollifier.{home}")
    if module.__name__ == "mollifier.engines" and not module.__doc__:
        pytest.skip("mollifier.engines is not written yet")
    assert getattr(mollifier, name) is getattr(module, name)


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Gird'"):
        _ = mollifier.Gird
