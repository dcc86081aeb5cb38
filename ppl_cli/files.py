"""Writing files so that a kill or a full disk at any moment leaves the old file or the new one, never half of one; and
reading files whole, up to a size."""

import errno
import os
import re
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex

from ppl_cli.errors import DiskFullError, PPLError, UsageError

FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", None), errno.EFBIG}  # of the disk, of one's share of it, of one file
LEFTOVER = (".writing-", ".tmp")  # how names of temporary files begin and end


def at_home(path: str | os.PathLike) -> Path:
    """With ~ as the user's folder. A name that only begins so stays, where `Path.expanduser` would raise: ~$x.jpg."""
    return Path(os.path.expanduser(path))


@contextmanager
def replacing(path: Path, flush: bool = True) -> Iterator[Path]:
    """Yields a temporary path beside `path`; when the block ends it is flushed and takes the place of `path`.

    Without `flush` the disk is not waited for: a loss of power soon after may leave an empty file.

    PPLError with the system's reason (disk full, no permission) if that fails; `path` is then as it was.
    """
    temporary = path.parent / token_hex(8).join(LEFTOVER)
    try:
        temporary.touch(exist_ok=False)
        yield temporary
        if flush:
            with temporary.open("rb+") as written:  # Windows flushes only what is open for writing
                os.fsync(written.fileno())
        os.replace(temporary, path)
    except OSError as error:
        kind = DiskFullError if error.errno in FULL else PPLError
        raise kind(f"cannot write {path}: {error.strerror or error}; what was there before is intact") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def replace_text(path: Path, text: str) -> None:
    """The file with this text in UTF-8, as `replacing` writes it."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def folder_below(folder: Path, place: Path) -> None:
    """Create the folder of `place`. PPLError if it does not lie in `folder`: a link may lead elsewhere."""
    if not place.parent.resolve().is_relative_to(folder.resolve()):
        raise PPLError(f"{place} lies outside {folder}: a link or .. leads there; nothing is written")
    place.parent.mkdir(parents=True, exist_ok=True)


def is_leftover(name: str) -> bool:
    return name.startswith(LEFTOVER[0]) and name.endswith(LEFTOVER[1])


def remove_leftovers(folder: Path, below: bool = False) -> None:
    """Temporary files of `replacing` that a kill left in `folder`, or also below; nobody else may be writing there."""
    pattern = "*".join(LEFTOVER)
    for file in folder.rglob(pattern) if below else folder.glob(pattern):
        with suppress(OSError):
            file.unlink()


def read_limited(path: Path, most: int) -> bytes:
    """The whole file. UsageError if it cannot be read, is not a regular file or has more than `most` bytes."""
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise UsageError(f"{path} is not a file")
        if found.st_size > most:
            power, unit = (20, "MiB") if most >= 1 << 20 else (10, "KiB")
            raise UsageError(
                f"{path} has {found.st_size >> power} {unit}; ppl reads up to {most >> power} {unit} of such a file"
            )
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:  # a NUL in the name
        raise UsageError(f"cannot read {str(path)!r}: {error}") from error


class RefusedError(Exception):
    """A file holds what is not read for safety; the message says what, without the file's name."""


@contextmanager
def refusing(path: Path, otherwise: str) -> Iterator[None]:
    """What is refused in the block becomes a UsageError that names the file; so does whatever a damaged file raises."""
    try:
        yield
    except PPLError:
        raise
    except RefusedError as error:
        raise UsageError(f"{path} is refused: {error}") from error
    except Exception as error:
        raise UsageError(f"{path} {otherwise} ({type(error).__name__})") from error


def find_earlier(folder: Path, names: Iterable[str], overwrite: bool) -> list[str]:
    """Which of the files `names` an earlier command has left in `folder`. UsageError unless they may be replaced."""
    found = [name for name in names if (folder / name).exists()]
    if found and not overwrite:
        raise UsageError(f"{folder} already holds {found[0]}: choose another --out, or add --overwrite")
    return found


def make_folder(path: Path) -> None:
    """Create an output folder and see that it can be written to. UsageError if not."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except (FileExistsError, NotADirectoryError):
        raise UsageError(f"{path} is a file; --out must be a folder") from None
    except OSError as error:
        raise UsageError(f"cannot write to {path}: {error.strerror}; choose another folder with --out") from error


def latest_folder(place: Path, name: str) -> Path | None:
    """The folder of PLACE/NAME-1, -2, ... with the largest number; None where there is none."""
    matches = [re.fullmatch(rf"{re.escape(name)}-(\d+)", folder.name) for folder in place.glob(f"{name}-*")]
    number = max((int(match[1]) for match in matches if match), default=0)
    return place / f"{name}-{number}" if number else None


def next_free_folder(place: Path, name: str) -> Path:
    """The first of PLACE/NAME-1, -2, ... behind the latest: it is made at once, so that nobody else can take it."""
    make_folder(place)
    latest = latest_folder(place, name)
    number = int(latest.name.rpartition("-")[2]) if latest else 0
    while True:
        number += 1
        folder = place / f"{name}-{number}"
        with suppress(FileExistsError):
            folder.mkdir()
            return folder
