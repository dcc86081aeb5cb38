"""Images as they must not be: made by seeded mutation of small good ones, in every format that ppl reads.

python -m tests.corpus FOLDER COUNT [SEED] writes some to look at.
"""

import io
import random
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

SUFFIX = {"JPEG": "jpg", "PNG": "png", "BMP": "bmp", "WEBP": "webp", "TIFF": "tiff"}
HUGE = (0xFFFFFFFF, 0x7FFFFFFF, 0x10000, 100_000, 0xFFFF, 0)
MODES = {
    "JPEG": ("RGB", "L", "CMYK"),
    "PNG": ("RGB", "RGBA", "L", "LA", "P", "1", "I;16"),
    "BMP": ("RGB", "L", "P", "1", "RGBA"),
    "WEBP": ("RGB", "RGBA"),
    "TIFF": ("RGB", "RGBA", "L", "LA", "P", "1", "I;16", "I", "F", "CMYK", "LAB"),
}


def picture(mode: str, draw: random.Random) -> Image.Image:
    width, height = draw.choice([(17, 11), (24, 24), (1, 9), (40, 3)])
    pixels = np.random.default_rng(draw.randrange(2**32)).integers(0, 256, (height, width, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    if mode == "LAB":
        return Image.frombytes("LAB", image.size, pixels.tobytes())
    if mode == "I;16":
        return Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    if mode in ("I", "F"):
        return image.convert("L").convert(mode)
    return image.convert("RGBA").convert(mode) if mode in ("LA", "RGBA") else image.convert(mode)


def good(form: str, draw: random.Random) -> bytes:
    """One image file: any mode, sometimes animated, with several pages, with EXIF, an ICC profile, other compression."""
    image = picture(draw.choice(MODES[form]), draw)
    more: dict[str, object] = {}
    if draw.random() < 0.4:
        exif = Image.Exif()
        exif[0x0112] = draw.choice([0, 1, 3, 6, 8, 9, 65535])
        exif[0x010E] = "x" * draw.choice([0, 1, 300])
        more["exif"] = exif
    if draw.random() < 0.4:
        more["icc_profile"] = draw.randbytes(draw.choice([1, 40, 3000]))
    if form in ("PNG", "WEBP", "TIFF") and draw.random() < 0.3:
        more |= {"save_all": True, "append_images": [image.transpose(Image.Transpose.ROTATE_180)]}
    if form == "TIFF":
        more["compression"] = draw.choice([None, None, "tiff_lzw", "tiff_adobe_deflate", "packbits"])
        if more["compression"]:
            more.pop("exif", None)  # libtiff writes no odd orientation
    if form == "JPEG":
        more |= {"progressive": draw.random() < 0.3, "quality": draw.choice([30, 95])}
    if form == "PNG" and image.mode in ("P", "L", "RGB") and draw.random() < 0.3:
        more["transparency"] = (1, 2, 3) if image.mode == "RGB" else 7
    content = io.BytesIO()
    image.save(content, form, **{key: value for key, value in more.items() if value is not None})
    return content.getvalue()


def cut(data: bytearray, draw: random.Random) -> None:
    del data[draw.randrange(len(data)) :]


def flip_bits(data: bytearray, draw: random.Random) -> None:
    for _ in range(draw.choice([1, 3, 30])):
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)


def edit_header(data: bytearray, draw: random.Random) -> None:
    for _ in range(draw.choice([1, 4])):
        data[draw.randrange(min(len(data), 64))] = draw.choice([0, 1, 127, 128, 255])


def huge_number(data: bytearray, draw: random.Random) -> None:
    """Anywhere in the file, where it may be a length, an offset, a width or a count."""
    form = draw.choice(["<I", ">I", "<H", ">H"])
    at = draw.randrange(max(1, min(len(data), 400) - 4))
    value = draw.choice(HUGE) % 256 ** struct.calcsize(form)
    data[at : at + struct.calcsize(form)] = struct.pack(form, value)


def shuffle_parts(data: bytearray, draw: random.Random) -> None:
    a, b = sorted(draw.randrange(len(data)) for _ in range(2))
    part = data[a:b]
    del data[a:b]
    at = draw.randrange(len(data) + 1)
    data[at:at] = part * draw.choice([1, 2, 5])


def append(data: bytearray, draw: random.Random) -> None:
    data += draw.choice([draw.randbytes(500), bytes(500), bytes(data)])


MUTATIONS = (cut, flip_bits, edit_header, huge_number, shuffle_parts, append)


def png(width: int, height: int, depth: int = 8, colour: int = 2, rows: bytes = b"\0" * 64) -> bytes:
    """A PNG with right check sums that declares whatever is asked for."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def declared(draw: random.Random) -> bytes:
    """Sizes that the content does not keep, up to far beyond any memory, and none at all."""
    sides = (0, 1, 7, 3000, 100_000, 2**31 - 1, 2**32 - 1)
    return png(draw.choice(sides), draw.choice(sides), draw.choice([1, 8, 16, 3]), draw.choice([0, 2, 3, 4, 6, 9]))


def malformed(seed: int) -> tuple[str, bytes]:
    """(suffix, content) of one bad image, the same for the same seed."""
    draw = random.Random(seed)
    form = list(SUFFIX)[seed % len(SUFFIX)]
    suffix = SUFFIX[draw.choice(list(SUFFIX))] if draw.random() < 0.1 else SUFFIX[form]
    kind = draw.random()
    if kind < 0.04:
        return suffix, draw.choice([b"", b"\0", b"GIF89a", b"%!PS-Adobe-3.0\nshowpage\n", draw.randbytes(300)])
    if kind < 0.12:
        return suffix, declared(draw)
    data = bytearray(good(form, draw))
    for _ in range(draw.choice([0, 1, 1, 2, 3])):
        if data:
            draw.choice(MUTATIONS)(data, draw)
    return suffix, bytes(data)


def write_corpus(folder: Path, count: int, seed: int = 0) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for number in range(count):
        suffix, content = malformed(seed + number)
        files.append(folder / f"{seed + number}.{suffix}")
        files[-1].write_bytes(content)
    return files


if __name__ == "__main__":
    write_corpus(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 0)
