"""One writer for a folder: a lock that the system takes back when the process ends, however it ends."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from ppl_cli.errors import PPLError

FILE = ".lock"


class TakenError(PPLError):
    """Another process holds the lock."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds `folder` for this process. TakenError if another one writes there.

    The file `.lock` is removed at the end; one that a killed process left behind stands in nobody's way.
    """
    path = folder / FILE
    file = open_locked(path)
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink()  # before it is released, so that whoever waits for it cannot take a file that is about to go
        file.close()


def open_locked(path: Path) -> IO[bytes]:
    while True:
        try:
            file = path.open("a+b")
        except OSError as error:
            raise PPLError(f"cannot write to {path.parent}: {error.strerror}") from error
        if not try_lock(file):
            file.seek(0)
            owner = file.read(20).decode("ascii", "replace").strip()
            file.close()
            raise TakenError(
                f"another ppl is writing to {path.parent}" + (f" (process {owner})" if owner else "") + ": wait until it has "
                "ended, or choose another folder with --out"
            )
        with suppress(OSError):
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                file.truncate(0)
                file.write(str(os.getpid()).encode())
                file.flush()
                return file
        file.close()  # its last owner has just removed it: lock the one that everyone sees


def try_lock(file: IO[bytes]) -> bool:
    """False if another process, or another open file of this one, holds it. Released when the file is closed.

    True too where a file system knows no locks: then nothing is held, as without this file.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        file.seek(1 << 20)  # beyond what is written: a locked byte cannot be read there
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
