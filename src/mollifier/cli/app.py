"""The command line: parse, call, print.

Exit codes: 0 an answer; 1 none (the data cannot answer, the unknowns are undetermined, the loss became
non-finite; of a comparison: no engine converged, or two disagree); 2 bad input, usage or output;
3 a fault of the program; 130 interrupted.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from mollifier.cli.chromatin import chromatin
from mollifier.cli.first_file import init
from mollifier.cli.options import (
    EPILOG,
    Address,
    Figures,
    Jobs,
    MaskOutliers,
    NoFigures,
    Out,
    Resume,
    command,
    listed,
    option,
)
from mollifier.cli.plan import plan
from mollifier.cli.results import export, report, validate
from mollifier.cli.terminal import NO_ANSWER, Terminal, reported
from mollifier.errors import ConfigurationError, check_known

if TYPE_CHECKING:
    from mollifier.problem.problem_file import ProblemFile

_COLOURS = {"info": "", "warning": "yellow", "error": "red"}


# The order of the help: that in which a newcomer meets them. Commands that are not named here come last.
_ORDER = ("init", "check", "solve", "validate", "report", "compare", "export", "demo")


class _Commands(TyperGroup):
    """Commands, some of two words."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Names of the commands, in the order of the help."""
        return sorted(self.commands, key=lambda n: _ORDER.index(n) if n in _ORDER else len(_ORDER))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """As typer's, with the first two words as one where that is a command."""
        two = " ".join(args[:2])
        return super().resolve_command(ctx, [two, *args[2:]] if two in self.commands else args)


app = typer.Typer(
    cls=_Commands,
    name="mollifier",
    help="Find the unknowns of a differential equation from a measured field. Begin with a demo, or with "
    "init DATA, which writes a problem file for check and solve.",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


_command = partial(command, app, "mollifier")
_command("init wells.csv --out wells.yaml", "it is written", "")(init)
_command("validate out/burgers", "the answer holds", "it does not")(validate)
_command("report out/burgers --out burgers.html", "it is written", "")(report)
_command("export out/burgers --to burgers.nc", "it is written", "")(export)
_command(
    "chromatin cells/*.csv --groups groups.csv --out out/study", "a map of rates", "no map in any nucleus"
)(chromatin)
_command(
    "chromatin plan --cells 10 --replicates 4 --sd-cells 0.15 --sd-replicates 0.1",
    "a power",
    "",
    "chromatin plan",
)(plan)

File = Annotated[Path, typer.Argument(metavar="PROBLEM.yaml", help="The problem file.")]
Overrides = Annotated[
    list[str] | None,
    option(
        "Override a key of the problem file, as training.steps=2000. Repeatable.", "KEY=VALUE", flags="--set"
    ),
]
Seed = Annotated[int | None, option("Seed of the random numbers.", min=0, flags="--seed")]


# Once in a process: what later calls of it leave in cycles is collected.
_keep_imports = cache(gc.freeze)


def _loaded(
    problem: Path, overrides: list[str] | None, keys: Mapping[str, object], engine: str | None = None
) -> ProblemFile:
    """A problem file with keys overridden, of ``keys`` those that are not None; ``engine`` may run."""
    gc.disable()  # what imports make stays: to visit it again and again takes a tenth of a short run
    try:
        from mollifier.engines.settings import load_problem

        given = [f"{key}={value}" for key, value in keys.items() if value is not None]
        return load_problem(problem, [*(overrides or []), *given], engine)
    finally:
        _keep_imports()
        gc.enable()


def _version(chosen: bool) -> None:
    if chosen:
        from mollifier._version import __version__

        print(f"mollifier {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, option("Print the version.", callback=_version, is_eager=True, flags="--version")
    ] = False,
    plugins: Annotated[
        list[str] | None,
        option(
            "Python code that registers kernels, readers, networks, functions or engines. Repeatable; "
            "MOLLIFIER_PLUGINS lists more.",
            "FILE_OR_MODULE",
            flags="--plugin",
        ),
    ] = None,
) -> None:
    if plugins:
        from mollifier.io.plugins import add_plugins

        with reported(Terminal.of()):
            add_plugins(plugins)


@_command("solve examples/burgers.yaml --out out/burgers")
def solve(
    terminal: Terminal,
    problem: File,
    engine: Annotated[
        str | None,
        option(
            "auto, weak, joint, network or a plugin's; overrides the file's.", "NAME", flags="--engine -e"
        ),
    ] = None,
    overrides: Overrides = None,
    out: Out = Path("out"),
    seed: Seed = None,
    resume: Resume = False,
    intervals: Annotated[
        str | None,
        option("Standard errors: own (the engine's), bootstrap or ensemble; overrides the file's.", "KIND"),
    ] = None,
    each: Annotated[
        str | None, option("Solve separately for every value of this column or dimension.", "NAME")
    ] = None,
    jobs: Jobs = 1,
    executor: Address = None,
    mask_outliers: MaskOutliers = False,
    figures: Figures = None,
) -> int:
    """Solve the problem in a file: estimates with standard errors, fields, figures.

    Values of --each, repeats of --intervals and blocks of data run on --jobs processes or on an --executor.
    Ctrl-C stops after the current step and keeps what was found; --resume continues from there.
    """
    keys = {
        "engine": engine,
        "intervals.kind": intervals,
        "intervals.processes": jobs if jobs > 1 and each is None else None,
        "data.mask_outliers": mask_outliers or None,
        "seed": seed,
    }
    file = _loaded(problem, overrides, keys)
    from mollifier.cli.delivery import deliver, exit_code
    from mollifier.cli.run import run
    from mollifier.cli.sweep import sweep
    from mollifier.io.executors import executor_at
    from mollifier.io.lock import locked

    with locked(out) as folder:
        if each is not None:
            return sweep(terminal, file, each, folder, resume, bool(figures), jobs, executor)
        with executor_at(executor, folder / "jobs", terminal.note) as where:
            solution = run(terminal, file, folder, resume, executor=where)
        deliver(terminal, solution, folder, figures is not False)
    return exit_code(solution)


@_command("check examples/burgers.yaml", "good or doubtful", "it cannot be answered")
def check(
    terminal: Terminal,
    problem: File,
    overrides: Overrides = None,
    mask_outliers: MaskOutliers = False,
    save: Annotated[
        Path | None,
        option(
            "Write check.json here, and maps of how well the data determine each unknown field.", "FOLDER"
        ),
    ] = None,
) -> int:
    """Say, in seconds, whether the data can answer: noise, resolution, scales, identifiability, cost.

    The verdict is "good", "doubtful" or "cannot be answered", with what to change.
    """
    file = _loaded(problem, overrides, {"data.mask_outliers": mask_outliers or None})
    from mollifier.diagnostics.check.check import check as find

    found = find(file.problem(), file.settings)
    for finding in found.findings:
        terminal.say(str(finding), _COLOURS[finding.level])
    terminal.say("")
    terminal.say(f"Verdict: {found.verdict}. {found.summary}", "bold" if found.ok else "bold red")
    if save is not None:
        from mollifier.reporting.check_maps import save_check

        for path in save_check(found, save):
            terminal.say(f"wrote {path}")
    terminal.give(found.to_dict())
    return 0 if found.ok else NO_ANSWER


@_command(
    "compare examples/conductivity.yaml --engines joint,network --out out/compare",
    "an engine converged and no two disagree",
    "none converged or two disagree",
)
def compare(
    terminal: Terminal,
    problem: File,
    engines: Annotated[
        str | None, option("Engines, comma-separated; all by default.", "NAMES", flags="--engines -e")
    ] = None,
    overrides: Overrides = None,
    out: Out = Path("out"),
    seed: Seed = None,
    resume: Resume = False,
    no_figures: NoFigures = False,
) -> int:
    """Solve one problem by several engines: estimates, misfit on held-out data, time, memory, agreement.

    "nested" and "taylor" are the network engine with its derivatives by autodiff. Every engine is given the
    same part of the data (the key held_out is the share kept from them) and runs in a separate process.
    An engine that cannot solve the problem says why and stops no other. Two engines disagree where a number
    differs by more than 3 combined standard errors, or a field by more than 2 in the mean square.

    Ctrl-C ends the engine that runs and keeps what was finished; --resume continues from there.
    """
    file = _loaded(problem, overrides, {"seed": seed}, "auto")
    from mollifier.cli.compare import compare_engines
    from mollifier.io.lock import locked

    with locked(out) as folder:
        return compare_engines(terminal, file, listed(engines), folder, not no_figures, resume)


@_command("demo heat --out out/heat")
def demo(
    terminal: Terminal,
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Name of a demo; without it all are listed.")
    ] = None,
    out: Annotated[
        Path | None, option("Folder for the results; out/NAME by default.", "FOLDER", flags="--out -o")
    ] = None,
    seed: Annotated[int, option("Seed of the noise and of the solve.", min=0)] = 0,
    quick: Annotated[bool, option("A smaller problem.")] = False,
    no_figures: NoFigures = False,
) -> int:
    """Make a problem whose answer is known, solve it, and compare."""
    from mollifier.cli.delivery import deliver, exit_code
    from mollifier.cli.demos.registry import DEMOS
    from mollifier.cli.progress import Follower
    from mollifier.io.lock import locked

    if name is None:
        return _list(terminal, DEMOS)
    check_known(name, DEMOS, ConfigurationError, "There is no demo '{}'.")
    with locked(out or Path("out") / name) as folder:
        with Follower(terminal.err, terminal.silent) as follow:
            solution, truth, errors = DEMOS[name](folder=folder, rng=seed, progress=follow, quick=quick)
        deliver(terminal, solution, folder, not no_figures, truth, errors)
    return exit_code(solution)


def _list(terminal: Terminal, demos: Mapping[str, Callable[..., Any]]) -> int:
    about = {n: (f.__doc__ or "").strip().split("\n")[0] for n, f in demos.items()}
    for n, text in about.items():
        terminal.say(f"{n:<16}{text}".rstrip())
    terminal.give(about)
    return 0


def main() -> None:
    """Entry of the command ``mollifier``."""
    app(prog_name="mollifier")


if __name__ == "__main__":
    sys.exit(main())
