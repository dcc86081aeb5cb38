"""A folder -> the names of its images, in natural order, whatever else the folder may hold."""

import os
import re
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path

from ppl_cli.errors import UsageError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
KINDS = " ".join(suffix[1:] for suffix in SUFFIXES)
END = "\0\0"  # no file name holds it


def natural_order(name: str) -> str:
    """Sort key in which frame_2 comes before frame_10, whatever the case; a million names can afford it.

    A number is preceded by its length, and the name itself comes last, after `END`.
    """
    return re.sub(r"\d+", sortable_number, name.casefold()) + END + name


def sortable_number(digits: re.Match) -> str:
    number = str(int(digits[0]))
    return f"\0{chr(len(number))}{number}"


def image_names(folder: Path, without: Collection[str] = (), others: Counter[str] | None = None) -> Iterator[str]:
    """Image files below `folder`: their names relative to it, with "/" between, recursive, in natural order.

    Hidden files, linked folders and the folders `without` (absolute paths) are skipped. Files of other types are counted
    in `others` by their suffix.
    """
    if os.path.abspath(folder) in without:
        return
    open_folders = [("", sorted_entries(str(folder), others))]
    while open_folders:
        above, entries = open_folders[-1]
        if not entries:
            open_folders.pop()
            continue
        name = above + entries.pop().rpartition(END)[2]
        if not name.endswith("/"):
            yield name
        elif os.path.abspath(place := os.path.join(folder, name)) not in without:
            open_folders.append((name, sorted_entries(place, others)))


def sorted_entries(folder: str, others: Counter[str] | None) -> list[str]:
    """Images and, with "/" at the end, sub-folders of one folder as keys of their natural order, the first one last."""
    keys = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    keys.append(natural_order(entry.name) + "/")
                elif entry.name.lower().endswith(SUFFIXES) and not is_folder(entry):
                    keys.append(natural_order(entry.name))
                elif others is not None and not is_folder(entry):
                    others[os.path.splitext(entry.name)[1].lower()[1:]] += 1
    except OSError as error:
        raise UsageError(f"cannot list the folder {folder}: {error.strerror}") from error
    keys.sort(reverse=True)
    return keys


def is_folder(entry: os.DirEntry) -> bool:
    """Also through a link; a link that leads nowhere or in a circle is no folder, and `decode` will say so."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def note_others(others: Counter[str]) -> list[str]:
    """One line for the user on the files of other types, or none."""
    known = Counter({suffix: n for suffix, n in others.items() if re.fullmatch("[a-z0-9]{1,5}", suffix)})
    types = [f"{n} {suffix}" for suffix, n in known.most_common(5)]
    rest = others.total() - sum(n for _, n in known.most_common(5))
    types += [f"{rest} of other types"] if rest else []
    return [f"files that are no images to ppl are left out: {', '.join(types)} (it reads {KINDS})"] if types else []


def list_names(folder: Path, others: Counter[str] | None = None) -> list[str]:
    """All `image_names` below a folder. UsageError if it is missing or holds none."""
    if not folder.exists():
        raise UsageError(f"no such folder: {folder}")
    if not folder.is_dir():
        raise UsageError(f"{folder} is a file; a folder of images is expected")
    names = list(image_names(folder, others=others))
    if not names:
        raise UsageError(f"no images in {folder} (looked for {KINDS}, also in its sub-folders)")
    return names
