"""The table of contents of a TIFF file: where its pages begin and how their pixels are stored, without decoding one."""

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

REDUCED, OLD_REDUCED = 254, 255  # tags: a smaller copy or a mask of another page
BITS, CHANNELS, NUMBERS = 258, 277, 339
NUMBER_KINDS = {1: "unsigned integer", 2: "signed integer", 3: "float", 5: "complex integer", 6: "complex float"}
MOST_TAGS, MOST_PAGES = 4096, 1 << 20


class Page(NamedTuple):
    offset: int
    tags: dict[int, int]  # the first value of each tag of whole numbers

    @property
    def is_copy(self) -> bool:
        """A thumbnail, a level of a pyramid, a transparency mask."""
        return bool(self.tags.get(REDUCED, 0) & 0b101) or self.tags.get(OLD_REDUCED) == 2


class Form(NamedTuple):
    order: Literal["little", "big"]
    wide: bool  # BigTIFF: 64-bit offsets

    def whole(self, content: bytes) -> int:
        return int.from_bytes(content, self.order)


# The first four bytes of a file -> how its numbers are written.
FORMS = {
    b"II*\0": Form("little", False),
    b"MM\0*": Form("big", False),
    b"II+\0": Form("little", True),
    b"MM\0+": Form("big", True),
}


def read_pages(file: BinaryIO) -> Iterator[Page]:
    """Its pages in order, as far as the chain of them is sound; nothing if the file is no TIFF."""
    begin = file.read(16)
    form = FORMS.get(begin[:4])
    if form is None:
        return
    left = file.seek(0, os.SEEK_END)  # bytes: sound directories do not overlap, and those of an attack would take for ever
    step, count_bytes, tag_bytes = (8, 8, 20) if form.wide else (4, 2, 12)
    offset, seen = form.whole(begin[8:16] if form.wide else begin[4:8]), set()
    while offset and offset not in seen and len(seen) < MOST_PAGES:
        seen.add(offset)
        file.seek(offset)
        count = form.whole(file.read(count_bytes))
        content = file.read(count * tag_bytes + step) if 0 < count <= MOST_TAGS else b""
        left -= len(content)
        if not content or len(content) < count * tag_bytes + step or left < 0:
            return
        entries = [content[at : at + tag_bytes] for at in range(0, count * tag_bytes, tag_bytes)]
        yield Page(offset, dict(read_tag(file, form, entry) for entry in entries))
        offset = form.whole(content[-step:])


def read_tag(file: BinaryIO, form: Form, entry: bytes) -> tuple[int, int]:
    """(tag, its first value), 0 for what is no whole number."""
    tag, kind = form.whole(entry[:2]), form.whole(entry[2:4])
    size = {3: 2, 4: 4}.get(kind, 0)
    step = 8 if form.wide else 4
    if tag in (BITS, NUMBERS) and size * form.whole(entry[4 : 4 + step]) > step:  # the values lie elsewhere
        file.seek(form.whole(entry[-step:]))
        return tag, form.whole(file.read(size))
    return tag, form.whole(entry[4 + step : 4 + step + size])


class FromPage(io.BufferedReader):
    """The file as if the page at `offset` were its first: a reader then finds it at once, however many come before."""

    def __init__(self, path: Path, offset: int):
        super().__init__(io.FileIO(path))
        begin = super().read(16)
        form = FORMS[begin[:4]]
        at = 8 if form.wide else 4  # where the offset of the first page stands; it has as many bytes
        self.begin = begin[:at] + offset.to_bytes(at, form.order)
        self.seek(0)

    def read(self, size: int | None = -1) -> bytes:
        at = self.tell()
        content = super().read(size)
        return self.begin[at : at + len(content)] + content[max(len(self.begin) - at, 0) :]


def describe_pixels(page: Page) -> str:
    """What one pixel holds, such as `5 channels of 16 bits (unsigned integer)`."""
    channels, kind = page.tags.get(CHANNELS, 1), NUMBER_KINDS.get(page.tags.get(NUMBERS, 1), "unknown kind")
    return f"{channels} channel{'s' if channels != 1 else ''} of {page.tags.get(BITS, 1)} bits ({kind})"
