"""Locks on folders; how they meet a solve and a kill is in ``tests/cli/test_nothing_lost.py``."""

import os
import threading

import pytest

from mollifier.io.files import OutputError
from mollifier.io.lock import BusyError, locked


def test_lock_symlink_keeps_its_target(tmp_path):
    """A lock file that is a symbolic link is refused, and the file that it names keeps its text."""
    target, folder = tmp_path / "kept.txt", tmp_path / "out"
    target.write_text("precious")
    folder.mkdir()
    (folder / ".lock").symlink_to(target)
    with pytest.raises(OutputError, match="It is a symbolic link"), locked(folder, wait=0):
        pass
    assert target.read_text() == "precious"


def test_lock_hard_link_keeps_its_target(tmp_path):
    """A lock file that is a second name of another file holds, and nothing is written into it."""
    target, folder = tmp_path / "kept.txt", tmp_path / "out"
    target.write_text("precious")
    folder.mkdir()
    os.link(target, folder / ".lock")
    with locked(folder):
        pass
    assert target.read_text() == "precious"


def test_lock_makes_its_folder(tmp_path):
    with locked(tmp_path / "out" / "run") as folder:
        assert folder.is_dir()
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="A file of that name is in the way"), locked(tmp_path / "file"):
        pass


def test_lock_is_of_one_thread(tmp_path):
    """Another thread of the process is refused while the same one may lock again."""
    refused = []

    def other():
        try:
            with locked(tmp_path, wait=0):
                pass
        except BusyError as error:
            refused.append(str(error))

    with locked(tmp_path), locked(tmp_path / "."):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        assert (tmp_path / ".lock").exists()
    assert f"process {os.getpid()} on" in refused[0]
    assert not (tmp_path / ".lock").exists()
