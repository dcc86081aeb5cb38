"""How pictures become files: PNG, JPEG, animations."""

import struct
import warnings
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from ppl_cli.files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LAST_FRAME = 2500  # milliseconds


def save_png(path: Path, picture: "Image.Image | Figure", flush: bool = True) -> None:
    """A picture of Pillow, as RGB, or a figure of matplotlib at 110 dots per inch. PPLError if it cannot be written.

    Without `flush` nobody waits for the disk, which takes ten times as long as writing: for pictures that are soon drawn again.
    """
    with replacing(path, flush=flush) as temporary:
        if isinstance(picture, Image.Image):
            temporary.write_bytes(encode_png(np.asarray(picture.convert("RGB"))))
        else:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Glyph")  # a letter of a name that the font lacks is a box in the picture
                picture.savefig(temporary, format="png", dpi=110)


def save_jpeg(path: Path, picture: Image.Image) -> None:
    """For pictures drawn over a JPEG, in a tenth of the time that PNG takes; small dots keep their colours. Nobody waits for
    the disk. PPLError if it cannot be written."""
    with replacing(path, flush=False) as temporary:
        picture.convert("RGB").save(temporary, "JPEG", quality=92, subsampling="4:4:4")


def encode_png(pixels: np.ndarray) -> bytes:
    """(H, W, 3) uint8 -> a PNG in which every row is its difference to the one above, compressed little.

    Pillow tries five kinds of difference for each row, which takes twice as long for files as large.
    """
    height, width, _ = pixels.shape
    rows = np.zeros((height, 1 + 3 * width), np.uint8)
    rows[:, 0] = 2  # the kind: "up"
    rows[:, 1:] = pixels.reshape(height, -1)
    rows[1:, 1:] -= pixels.reshape(height, -1)[:-1]
    header = struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)  # 8 bits, RGB
    chunks = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows, 1)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def save_animation(path: Path, frames: list[Image.Image], milliseconds: int) -> None:
    """An animation without end. Every frame stays for `milliseconds`, the last one longer."""
    # Few colours of much grey: of the palettes that Pillow can make, this one keeps those of keypoints.
    frames = [frame.quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE) for frame in frames]
    durations = [milliseconds] * (len(frames) - 1) + [LAST_FRAME]
    with replacing(path) as temporary:
        frames[0].save(temporary, "GIF", save_all=True, append_images=frames[1:], duration=durations, loop=0)
