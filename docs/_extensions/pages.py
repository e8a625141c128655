"""For pages that type commands: an extension of IPython, loaded by ``%load_ext pages``."""

from __future__ import annotations

import os
import subprocess
import tempfile


def load_ipython_extension(shell) -> None:
    """Work in an empty folder; ``%%bash`` prints what its commands print, and fails as they do."""
    os.chdir(tempfile.mkdtemp())
    for name in ("FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE"):
        os.environ.pop(name, None)
    shell.register_magic_function(_bash, "cell", "bash")


def _bash(line: str, cell: str) -> None:
    done = subprocess.run(["bash", "-eo", "pipefail", "-c", cell], capture_output=True, text=True)
    print(done.stdout.rstrip())
    if done.returncode:
        raise RuntimeError(f"{cell}\nended with {done.returncode}:\n{done.stderr}")
