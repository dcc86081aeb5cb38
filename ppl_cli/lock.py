"""One writer for a folder: a lock that the system takes back when the process ends, however it ends."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from filelock import lock_descriptor

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
        if os.name == "nt":  # removes no open file
            with suppress(OSError):
                path.unlink()


def open_locked(path: Path) -> IO[bytes]:
    while True:
        try:
            file = path.open("a+b")
        except OSError as error:
            raise PPLError(f"cannot write to {path.parent}: {error.strerror}") from error
        if not try_lock(file):
            owner = b""
            with file, suppress(OSError):  # Windows lets nobody else read what is locked
                file.seek(0)
                owner = file.read(20).strip()
            process = f" (process {owner.decode('ascii', 'replace')})" if owner else ""
            advice = "wait until it has ended, or choose another folder with --out"
            raise TakenError(f"another ppl is writing to {path.parent}{process}: {advice}")
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
        return lock_descriptor(file.fileno(), blocking=False)
    except OSError:
        return True
