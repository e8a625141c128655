"""One run in a folder at a time: a lock that the system releases when its process ends, however it ends."""

from __future__ import annotations

import errno
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from mollifier.io.files import TEMPORARY, OutputError, ensure_folder, reported

_WAIT = 2.0  # seconds: a process that was killed may take a moment to be gone
_STALE = 60.0  # seconds after which a temporary file belongs to no running process
_UNSUPPORTED = {errno.ENOLCK, errno.ENOTSUP, errno.EINVAL, errno.ENOSYS}


class BusyError(OutputError):
    """A folder that another run is using."""


@contextmanager
def locked(folder: str | os.PathLike[str], name: str = "", wait: float = _WAIT) -> Iterator[Path]:
    """Keep other runs out of a folder, which is made if need be; the same thread may lock it again.

    The lock is the operating system's, on the file ``.lock``: it ends with its process, a kill or a power cut
    included, so a file that is left over blocks nobody. A file system without locks goes unprotected.

    ``name`` is what is locked within it, where several kinds of run may share it: the file is then
    ``.NAME.lock``. ``wait`` is the number of seconds to wait for another run. Raises `BusyError` if another
    run holds the lock, with its process, machine and start, and `OutputError` as `ensure_folder` does, or if
    the lock file is a symbolic link.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as out:
    ...     with locked(out):
    ...         [p.name for p in Path(out).iterdir()]
    ...     list(Path(out).iterdir())
    ['.lock']
    []
    """
    place = ensure_folder(folder)
    path = place / (f".{name}.lock" if name else ".lock")
    lock = FileLock(path, is_singleton=True, on_acquired=_sign)
    with reported(path):
        try:
            lock.acquire(timeout=wait)
        except Timeout:
            raise BusyError(_busy(path), place) from None
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
    try:
        _remove_stale(place)
        yield place
    finally:
        if lock.lock_counter == 1:  # while it is held: who waits for it then opens a new file
            with suppress(OSError):
                path.unlink()
        lock.release()


def _sign(handle: int) -> None:
    """Write who holds the lock into its file; on a full disk it holds without."""
    since = datetime.now().astimezone().isoformat(timespec="seconds")
    text = json.dumps({"process": os.getpid(), "machine": socket.gethostname(), "since": since})
    with suppress(OSError):
        if os.fstat(handle).st_nlink > 1:  # another file under this name too: its content is not ours
            return
        os.ftruncate(handle, 0)
        os.write(handle, text.encode())


def _remove_stale(folder: Path) -> None:
    """Remove what killed runs left half-written; not what another program may be writing now."""
    with suppress(OSError):
        for path in folder.glob(".*.tmp*"):
            if TEMPORARY.fullmatch(path.name) and time.time() - path.stat().st_mtime > _STALE:
                path.unlink()


def _busy(path: Path) -> str:
    """Who holds a lock, and what to do."""
    who = "another process"
    with suppress(OSError, ValueError, KeyError, TypeError):
        kept = json.loads(path.read_text(encoding="utf-8"))
        who = f"process {kept['process']} on {kept['machine']}, since {kept['since']}"
    return (
        f"'{path.parent}' is in use by another run ({who}). Wait for it or end it, or give another folder "
        "for this one."
    )
