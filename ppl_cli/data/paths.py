"""From the name that an annotation file gives an image to the file on this machine."""

import os
import re
import unicodedata
from functools import cached_property, lru_cache
from pathlib import Path
from urllib.parse import unquote

from ppl_cli.data.names import image_names, is_folder
from ppl_cli.data.pages import split_page
from ppl_cli.errors import UsageError
from ppl_cli.text import counted, on_screen


def normalise(name: str) -> str:
    """One spelling of a path: "/" between its parts, no empty and no "." part, Unicode composed (NFC)."""
    text = unicodedata.normalize("NFC", name.replace("\\", "/"))
    start = "/" if text.startswith("/") else ""
    return start + "/".join(part for part in text.split("/") if part not in ("", "."))


def list_folders(place: Path) -> list[Path]:
    """The folders that lie in `place`, beside what may be many thousands of files."""
    if not place.is_dir():
        return []
    with os.scandir(place) as entries:
        return sorted(Path(entry.path) for entry in entries if is_folder(entry))


class ImageFinder:
    """Finds the images that the annotation file `source` of the data set `root` names.

    A name may be relative to the data set, to `source`, to `images` (the folder that the user names) or to images/SUBSET,
    where the file is called ..._SUBSET.json. It may also be a path of another machine, whose last parts lie below the
    data set.
    """

    def __init__(self, source: Path, root: Path, images: str | None = None):
        self.source, self.root = source, root
        named = [find_folder(root, images)] if images else []
        self.place = named[0] if named else root  # what lies elsewhere is looked for below it
        beside = source.parent
        subsets = [
            folder
            for place in (root / "images", root)
            for folder in list_folders(place)
            if re.search(rf"(^|[_.-]){re.escape(folder.name)}$", source.stem, re.IGNORECASE)
        ]
        self.moved: list[tuple[str, str]] = []  # names of images that lie elsewhere, and where
        self.places = list(dict.fromkeys([*named, root, beside, *subsets, root / "images"]))
        self.places_of_bare = list(dict.fromkeys([*named, beside, *subsets, root, root / "images"]))

    def find(self, names: list[str]) -> list[Path]:
        """The files; for one that is nowhere, where it would have to lie. UsageError if it could be several.

        Only where no image of a foreign folder lies where its name says are the others looked for by the last parts of
        their paths: else test/1.png, which is missing, would be taken for train/1.png.
        """
        found = [self.find_directly(name) for name in names]
        here = {folder_part(name) for name, path in zip(names, found, strict=True) if path}
        return [
            path or (None if folder_part(name) in here else self.find_by_last_parts(name)) or self.place / normalise(name)
            for name, path in zip(names, found, strict=True)
        ]

    def find_directly(self, name: str) -> Path | None:
        plain = normalise(name)
        for place in self.places if "/" in plain else self.places_of_bare:
            for spelling in dict.fromkeys((name, plain, unquote(plain))):
                if is_image_file(path := os.path.join(place, spelling)):
                    return Path(path)
        return None

    def find_by_last_parts(self, name: str) -> Path | None:
        """Two parts must agree of a path with folders, one of a path that leads elsewhere; DATA's own name counts."""
        parts = normalise(name).split("/")
        files = self.files_by_name.get(self.fold(parts[-1]), [])
        agreeing = [count_common_tail(parts, [self.place.resolve().name, *normalise(file).split("/")]) for file in files]
        best = [file for file, count in zip(files, agreeing, strict=True) if count == max(agreeing)]
        if not best or (max(agreeing) == 1 < len(parts) and not leads_away(parts)):
            return None
        if len(best) > 1:
            raise UsageError(
                f"{self.source}: the image {normalise(name)} could be {best[0]} or {best[1]}; say where it lies with "
                "--images FOLDER"
            )
        self.moved.append((name, best[0]))
        return self.place / best[0]

    @property
    def notes(self) -> list[str]:
        if not self.moved:
            return []
        name, file = self.moved[0]
        return [
            f"{self.source}: {counted(len(self.moved), 'image')} found by the last parts of the path (the first: "
            f"{on_screen(name)} is {file})"
        ]

    @cached_property
    def files_by_name(self) -> dict[str, list[str]]:
        """Last part of a path -> images below the folder, relative to it."""
        found: dict[str, list[str]] = {}
        for file in image_names(self.place, videos=False) if self.place.is_dir() else ():
            found.setdefault(self.fold(normalise(file).rsplit("/", 1)[-1]), []).append(file)
        return found

    def identify(self, path: Path) -> str:
        """Equal for two paths that lead to the same image."""
        return f"{real_folder(os.path.dirname(path))}/{self.fold(normalise(path.name))}"

    def name(self, path: Path) -> str:
        """The path relative to the data set, with "/" between its parts; on another drive as it is."""
        if path.is_relative_to(self.root):
            return path.relative_to(self.root).as_posix()
        try:
            return Path(os.path.relpath(path, self.root)).as_posix()
        except ValueError:
            return path.as_posix()

    def fold(self, name: str) -> str:
        return name.casefold() if self.folds_case else name

    @cached_property
    def folds_case(self) -> bool:
        """Whether a.jpg and A.JPG are one file here."""
        try:
            return os.path.samefile(self.source, self.source.with_name(self.source.name.swapcase()))
        except OSError:
            return False


def find_folder(root: Path, images: str) -> Path:
    """The folder that --images names: below the data set, or as the shell completes it."""
    for folder in (root / images, Path(images)):
        if folder.is_dir():
            return folder
    raise UsageError(f"--images {images}: no such folder, neither in {root} nor here")


def is_image_file(path: str | Path) -> bool:
    """Also of a page: movie.tif#7."""
    return os.path.isfile(path) or ("#" in os.path.basename(path) and split_page(Path(path))[0].is_file())


def swap_folder(file: Path, ours: str, theirs: str) -> Path:
    """a/OURS/b/1.jpg -> a/THEIRS/b/1.jpg: the last folder of this name; the file itself where none is called so."""
    folders = list(file.parent.parts)
    if ours in folders:
        folders[len(folders) - 1 - folders[::-1].index(ours)] = theirs
    return Path(*folders, file.name)


def folder_part(name: str) -> str:
    return normalise(name).rpartition("/")[0]


def leads_away(parts: list[str]) -> bool:
    """Whether a path is absolute on this or another system, /home/..., C:/..., https://..., or begins with `..`."""
    return parts[0] in ("", "..") or parts[0].endswith(":")


def count_common_tail(ours: list[str], theirs: list[str]) -> int:
    pairs = zip(reversed(ours), reversed(theirs), strict=False)
    return next((count for count, (a, b) in enumerate(pairs) if a != b), min(len(ours), len(theirs)))


@lru_cache(maxsize=4096)
def real_folder(folder: str) -> str:
    return os.path.realpath(folder)
