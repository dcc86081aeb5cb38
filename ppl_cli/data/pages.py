"""Files of several pages or frames: each is an image of its own, `movie.tif#7`, counted from 0 as the frames of videos are.

TIFF stacks, animated GIF, PNG and WEBP; and videos (videos.py), of which even a single frame has a number. Pages are counted
in the file as it is, not by what its header claims, and none is decoded for it. A file of one page keeps its plain name.
"""

import os
import re
import stat
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from PIL import Image

from ppl_cli.data.formats import FORMATS
from ppl_cli.data.tiff import FORMS, FromPage, read_pages
from ppl_cli.data.videos import VIDEO_SUFFIXES, Reader, Video, is_video, open_video
from ppl_cli.errors import UnreadableImageError
from ppl_cli.text import counted

if TYPE_CHECKING:
    from av import VideoFrame

SUFFIXES = (".tif", ".tiff", ".gif", ".png", ".apng", ".webp")
PAGED = re.compile(rf"(.+(?:{'|'.join(map(re.escape, SUFFIXES + VIDEO_SUFFIXES))}))#(\d{{1,9}})", re.IGNORECASE | re.DOTALL)


def page_names(folder: Path | str, name: str) -> list[str]:
    """The images of the file `name` in `folder`: itself, or its pages."""
    if is_video(name):
        try:
            return [f"{name}#{frame}" for frame in range(len(open_video(os.path.join(folder, name))))]
        except UnreadableImageError:  # said again when it is decoded
            return [name]
    if not name.lower().endswith(SUFFIXES):
        return [name]
    count = count_pages(os.path.join(folder, name))
    return [name] if count < 2 else [f"{name}#{page}" for page in range(count)]


def has_pages(path: Path) -> bool:
    """Whether the file stands for several images."""
    return len(page_names(path.parent, path.name)) > 1


def split_frame(name: str) -> tuple[str, int] | None:
    """("a/clip.mp4", 7) of a/clip.mp4#7; None if it is not the name of a video's frame."""
    found = PAGED.fullmatch(name)
    return (found[1], int(found[2])) if found and is_video(found[1]) else None


def choose_noun(names: Sequence[str]) -> str:
    """What images of these names are called."""
    return "frame" if names and all(split_frame(name) or is_video(name) for name in names) else "image"


def split_page(path: Path) -> tuple[Path, int | None]:
    """(file, page); the page is None where the path is that of a whole file."""
    found = PAGED.fullmatch(path.name)
    if found is None or path.exists():
        return path, None
    return path.with_name(found[1]), int(found[2])


def count_pages(path: Path | str) -> int:
    """At least 1: what is wrong with a file is said when it is decoded."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # a named pipe would block for ever
            return 1
        with open(path, "rb") as file:
            begin = file.read(30)
            file.seek(0)
            if begin[:4] in FORMS:
                return max(1, sum(not page.is_copy for page in read_pages(file)))
            if begin.startswith(b"\x89PNG\r\n\x1a\n"):
                return max(1, count_png(file))
            animated = begin[8:16] == b"WEBPVP8X" and begin[20] & 0b10
            if begin.startswith(b"GIF8") or animated:
                with Image.open(file, formats=("GIF", "WEBP")) as image:
                    return image.n_frames
    except Exception:  # damaged files raise anything
        pass
    return 1


def count_png(file: BinaryIO) -> int:
    """Frames of an animated PNG; a picture before its animation, for programs that show none, is one of them."""
    file.seek(8)
    animated, frames = False, 0
    while len(head := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        animated |= kind == b"acTL"
        if kind == b"IDAT" and not animated:
            return 1
        frames += kind == b"fcTL" or (kind == b"IDAT" and frames == 0)
        file.seek(length + 4, os.SEEK_CUR)
    return frames


@lru_cache(maxsize=64)
def tiff_offsets(path: Path, size: int, changed: int) -> list[int]:
    """Where each page begins; `size` and `changed` (time of the last change) tell a file from an earlier one there."""
    with path.open("rb") as file:
        return [page.offset for page in read_pages(file) if not page.is_copy]


class Reel(threading.local):
    """The animation that this thread read last: a frame builds upon those before it, so going on is cheap."""

    key: object = None
    image: Image.Image | None = None

    def seek(self, path: Path, key: object, page: int) -> Image.Image:
        if key != self.key or page < self.image.tell():  # Pillow cannot rewind every kind
            self.close()
            self.image, self.key = Image.open(path, formats=FORMATS), key
        try:
            self.image.seek(page)
            return self.image.copy()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        image, self.image, self.key = self.image, None, None
        if image is not None:
            image.close()


class Film(threading.local):
    """The video that a thread read last: its next frame is cheap. Whoever reads on two places of one needs two of them."""

    reader: Reader | None = None

    def read(self, video: Video, number: int | None) -> "VideoFrame":
        if number is None:
            raise UnreadableImageError(f"a video of {counted(len(video), 'frame')}: name one, the first is {video.path.name}#0")
        if self.reader is None or self.reader.video is not video:
            self.close()
            self.reader = Reader(video)
        return self.reader.read(number)

    def close(self) -> None:
        if self.reader is not None:
            self.reader.close()
        self.reader = None


REEL, FILM = Reel(), Film()


@contextmanager
def open_page(path: Path, page: int) -> Iterator[Image.Image]:
    """One page of a file as Pillow opens it; of an animation, as it is shown. EOFError if there is no such page."""
    found = os.stat(path)
    with path.open("rb") as file:
        is_tiff = file.read(4) in FORMS
    if not is_tiff:
        yield REEL.seek(path, (path, found.st_size, found.st_mtime_ns), page)
        return
    offsets = tiff_offsets(path, found.st_size, found.st_mtime_ns)
    if page >= len(offsets):
        raise EOFError
    with FromPage(path, offsets[page]) as file, Image.open(file, formats=("TIFF",)) as image:
        yield image
