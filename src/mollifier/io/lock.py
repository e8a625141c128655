"""One run in a folder at a time: a lock that the system takes back when its process ends, however it ends."""

from __future__ import annotations

import errno
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from mollifier.io.files import TEMPORARY, OutputError, reported

try:
    import fcntl
except ImportError:  # Windows: nothing is locked
    fcntl = None

_WAIT, _LOOK = 2.0, 0.05  # seconds: a process that was killed may take a moment to be gone
_STALE = 60.0  # seconds after which a temporary file is nobody's
_UNSUPPORTED = {errno.ENOLCK, errno.ENOTSUP, errno.EINVAL, errno.ENOSYS}

# What this process holds: path -> thread, and how often it was taken.
_held: dict[str, tuple[int, int]] = {}
_guard = threading.Lock()


class BusyError(OutputError):
    """A folder in which another run is going on."""


@contextmanager
def locked(folder: str | os.PathLike[str], name: str = "", wait: float = _WAIT) -> Iterator[Path]:
    """Keep other runs out of a folder; the same thread may take it again.

    The lock is the system's (``flock``) on the file ``.lock``: it ends with its process, a kill or a power
    cut included, so that what is left of the file stops nobody. File systems that know no locks have none.

    Parameters
    ----------
    folder
        Must exist.
    name
        What is locked within the folder, where several kinds of run may share it: the file is ``.NAME.lock``.
    wait
        Seconds that another run is waited for.

    Raises
    ------
    BusyError
        If another run holds it, with its process, machine and start.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as out:
    ...     with locked(out):
    ...         [p.name for p in Path(out).iterdir()]
    ...     list(Path(out).iterdir())
    ['.lock']
    []
    """
    path = Path(folder) / (f".{name}.lock" if name else ".lock")
    key, me, until = str(path.resolve()), threading.get_ident(), time.monotonic() + wait
    handle = -1
    while True:
        with _guard:
            owner, count = _held.get(key, (me, 0))
            mine = owner == me
            if mine and not count:
                handle = _take(path)
            if mine and (count or handle >= 0):
                _held[key] = (me, count + 1)
                break
        if time.monotonic() >= until:
            raise BusyError(_busy(path), path.parent)
        time.sleep(_LOOK)
    try:
        yield Path(folder)
    finally:
        with _guard:
            owner, count = _held.pop(key)
            if count > 1:
                _held[key] = (owner, count - 1)
            else:
                with suppress(OSError):
                    path.unlink()
                os.close(handle)


def _take(path: Path) -> int:
    """A handle that holds the lock; -1 where another process does."""
    with reported(path):
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        if fcntl is not None:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # The one before takes its file away as it ends: what was locked may be no file here any more.
        if not os.path.samestat(os.fstat(handle), os.stat(path)):
            raise BlockingIOError
    except (BlockingIOError, FileNotFoundError):
        os.close(handle)
        return -1
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            os.close(handle)
            raise
    _clear(path.parent)
    since = datetime.now().astimezone().isoformat(timespec="seconds")
    with suppress(OSError):  # a full disk: the lock holds without a name on it
        os.ftruncate(handle, 0)
        text = json.dumps({"process": os.getpid(), "machine": socket.gethostname(), "since": since})
        os.write(handle, text.encode())
    return handle


def _clear(folder: Path) -> None:
    """Take away what killed runs left half-written; not what another program may be writing now."""
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
        f"Another run is going on in '{path.parent}' ({who}). Wait for it or end it, or give another folder "
        "for this one."
    )
