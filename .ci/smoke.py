"""What must work where only the wheel is installed: import, demo, solve of a table, report; by .ci/wheel."""

import math
import subprocess
import sys
import tempfile
from pathlib import Path

import mollifier as mf


def run(*words: str) -> None:
    """A command of the installed program; its output is shown where it fails."""
    found = subprocess.run([sys.executable, "-m", "mollifier", *words], capture_output=True, text=True)
    if found.returncode:
        sys.exit(f"mollifier {' '.join(words)}: exit code {found.returncode}\n{found.stdout}{found.stderr}")


def table() -> str:
    """A decaying wave as a German logger writes it: semicolons, decimal commas, units in the header."""
    rows = ["x [cm];t [s];u [K]"]
    for i in range(41):
        for j in range(31):
            x, t = i / 10, j / 10
            u = math.exp(-0.1 * t) * math.sin(x) + 0.5 * math.exp(-0.4 * t) * math.cos(2 * x)
            rows.append(f"{x:.2f};{t:.2f};{u:.4f}".replace(".", ","))
    return "\n".join(rows)


def main() -> None:
    """All of it, in a folder of its own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run("demo", "heat", "--quick", "--out", str(folder / "demo"))
        (folder / "rod.csv").write_text(table(), encoding="utf-8")
        problem = folder / "rod.yaml"
        problem.write_text("equation: u_t = D*u_xx\ndata: {file: rod.csv}\nunknowns: {D: {lower: 0}}\n")
        run("check", str(problem))
        run("solve", str(problem), "--out", str(folder / "out"))
        run("report", str(folder / "out"))
        found = mf.load_solution(folder / "out").estimates["D"]
        assert abs(found.value - 0.1) < 0.002, found
        assert (folder / "out" / "report.html").stat().st_size > 10_000
        assert list((folder / "out").glob("*.png"))
    print(f"mollifier {mf.__version__} on Python {sys.version.split()[0]}: {found}")


if __name__ == "__main__":
    main()
