"""A folder -> the names of its images and of the frames of its videos, in natural order, whatever else the folder may hold."""

import os
import re
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ppl_cli.data.formats import HEIF, INSTALL_HEIF, KINDS, READ
from ppl_cli.data.pages import page_names
from ppl_cli.data.videos import is_video
from ppl_cli.errors import UsageError
from ppl_cli.text import counted

JUNK_FOLDERS = ("__macosx", "@eadir", ".ipynb_checkpoints", ".thumbnails")  # folders of other programs, in small letters
JUNK_FOLDERS += ("$recycle.bin", "system volume information", "lost+found")  # of drives; not everyone may list them
OWN = {  # what ppl draws -> the files beside it of which one tells so
    **dict.fromkeys(("curves.png", "samples", "try"), ("training.pt", "model.safetensors")),
    **dict.fromkeys(("overlay", "strips", "gifs"), ("skipped.csv", ".unfinished")),
    **dict.fromkeys(("distribution.png", "cases.png", "occlusion.png"), ("eval.json",)),
    **dict.fromkeys(("skeleton.png", "links.png", "prototypes.png", "banks.png", "evolution.gif"), ("prior.npz",)),
}
LABELLED = "_labeled"  # ends the name of DeepLabCut's copy of a folder

END = "\0\0"  # no file name holds it


def natural_order(name: str) -> str:
    """Sort key in which frame_2 comes before frame_10, whatever the case; a million names can afford it.

    A number is preceded by its length, and the name itself comes last, after `END`.
    """
    return re.sub(r"\d+", sortable_number, name.casefold()) + END + name


def sortable_number(digits: re.Match) -> str:
    number = str(int(digits[0]))
    return f"\0{chr(len(number))}{number}"


@dataclass
class Others:
    """What a folder holds beside its images."""

    types: Counter[str] = field(default_factory=Counter)  # files, by their suffix without the dot
    copies: Counter[str] = field(default_factory=Counter)  # images that other programs left there, by their folder
    own: Counter[str] = field(default_factory=Counter)  # images that ppl wrote, by the folder of its results
    lost: int = 0  # links that lead nowhere


def image_names(
    folder: Path, without: Collection[str] = (), others: Others | None = None, videos: bool = True
) -> Iterator[str]:
    """Images below `folder`: their names relative to it, with "/" between, recursive, in natural order.

    A file of several pages is that many images, and so is a video, unless `videos` are left out: then none is opened.
    Linked folders are followed, and each folder counts once. Hidden files, what other programs leave behind, what ppl draws
    beside its results, and the folders `without` are skipped. `others` counts what else there is.
    """
    others = Others() if others is None else others
    reached = {identity for place in without if (identity := identify_folder(place))}
    real_root = os.path.realpath(folder)
    if identify_folder(folder) in reached:
        return
    reached.add(identify_folder(folder))
    open_folders = [("", sorted_entries(str(folder), others))]
    while open_folders:
        above, entries = open_folders[-1]
        if not entries:
            open_folders.pop()
            continue
        name = above + entries.pop().rpartition(END)[2]
        place = os.path.join(folder, name)
        if not videos and is_video(name):
            others.types[os.path.splitext(name)[1].lower()[1:]] += 1
        elif not name.endswith("/"):
            yield from page_names(folder, name)
        elif not (os.path.islink(place[:-1]) and is_met_anyway(os.path.realpath(place), real_root)):
            identity = identify_folder(place)
            if identity not in reached:
                reached.add(identity)
                open_folders.append((name, sorted_entries(place, others)))


def identify_folder(place: Path | str) -> tuple[int, int] | None:
    """The same for a folder however it is reached."""
    try:
        found = os.stat(place)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def is_met_anyway(target: str, root: str) -> bool:
    """Whether a link to `target` leads back above where it started, or to what is listed below `root` without it."""
    if os.path.join(root, "").startswith(os.path.join(target, "")):
        return True
    inner = os.path.relpath(target, root).split(os.sep) if target.startswith(os.path.join(root, "")) else [".."]
    return not any(part.startswith(".") or part.lower() in JUNK_FOLDERS for part in inner)


def sorted_entries(folder: str, others: Others) -> list[str]:
    """Images and, with "/" at the end, sub-folders of one folder as keys of their natural order, the first one last."""
    keys = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                name = entry.name
                if name in OWN and is_own(entry):
                    others.own[os.path.basename(os.path.abspath(folder))] += count_images(entry.path)
                elif is_folder(entry):
                    if is_junk(entry):
                        others.copies[name] += count_images(entry.path)
                    elif not name.startswith("."):
                        keys.append(natural_order(name) + "/")
                elif name.startswith("."):
                    others.copies["._*"] += name.startswith("._") and name.lower().endswith(READ)
                elif name.lower().endswith(READ):
                    keys.append(natural_order(name))
                elif entry.is_symlink() and not os.path.exists(entry.path):
                    others.lost += 1
                else:
                    others.types[os.path.splitext(name)[1].lower()[1:]] += 1
    except OSError as error:
        raise UsageError(f"cannot list the folder {folder}: {error.strerror}") from error
    keys.sort(reverse=True)
    return keys


def is_junk(folder: os.DirEntry) -> bool:
    """Whether another program made this folder for itself, or drew labels into a copy of the folder beside it."""
    copied = folder.name.endswith(LABELLED) and os.path.isdir(folder.path.removesuffix(LABELLED))
    return copied or folder.name.lower() in JUNK_FOLDERS


def is_own(entry: os.DirEntry) -> bool:
    """Whether ppl drew it, of a name in `OWN`: a name alone may be that of anybody's data."""
    return any(os.path.exists(os.path.join(os.path.dirname(entry.path), sign)) for sign in OWN[entry.name])


def is_folder(entry: os.DirEntry) -> bool:
    """Also through a link. One that leads nowhere or in a circle is no folder, and `decode` will say so."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def count_images(place: str) -> int:
    """How many images lie in a folder; a file is one."""
    return sum(name.lower().endswith(READ) for _, _, names in os.walk(place) for name in names) + os.path.isfile(place)


def note_others(others: Others) -> list[str]:
    """Lines for the user on what is left out."""
    notes = []
    if types := describe_types(others):
        notes.append(f"files that are not images or videos are left out: {types} (it reads {KINDS}){how_to_read(others)}")
    return notes + note_copies(others)


def note_copies(others: Others) -> list[str]:
    makers = {"other programs keep (labelled, copied, thumbnails, deleted)": +others.copies, "ppl wrote": +others.own}
    return [f"images that {maker} are left out: {describe_places(places)}" for maker, places in makers.items() if places]


def describe_places(images: Counter[str]) -> str:
    most = images.most_common(5)
    rest = images.total() - sum(n for _, n in most)
    return ", ".join([f"{n} in {name}" for name, n in most] + [f"{rest} elsewhere"] * (rest > 0))


def describe_types(others: Others) -> str:
    known = Counter({suffix: n for suffix, n in others.types.items() if re.fullmatch("[a-z0-9]{1,5}", suffix)})
    types = [f"{n} {suffix}" for suffix, n in known.most_common(5)]
    rest = others.types.total() - sum(n for _, n in known.most_common(5))
    types += [f"{rest} of other types"] if rest else []
    types += [f"{others.lost} link{'s' * (others.lost > 1)} that lead{'s' * (others.lost == 1)} nowhere"] if others.lost else []
    return ", ".join(types)


def how_to_read(others: Others) -> str:
    """How to go on with files of some types."""
    return f"; {INSTALL_HEIF} reads HEIC and AVIF" if any(others.types[suffix] for suffix in HEIF) else ""


def list_names(folder: Path, others: Others | None = None, videos: bool = True) -> list[str]:
    """All `image_names` below a folder. UsageError if it is missing or holds none; it counts what is there instead."""
    if not folder.exists():
        raise UsageError(f"no such folder: {folder}")
    if not folder.is_dir():
        raise UsageError(f"{folder} is a file; expected a folder of images")
    others = Others() if others is None else others
    names = list(image_names(folder, others=others, videos=videos))
    if not names:
        copies = (f"{counted(n, 'image')} in {name}" for name, n in (others.copies + others.own).items())
        held = ", ".join(filter(None, [describe_types(others), *copies]))
        there = f"it holds {held}" if held else "it is empty"
        raise UsageError(f"no images in {folder}: {there}; ppl reads {KINDS}, also in sub-folders{how_to_read(others)}")
    return names
