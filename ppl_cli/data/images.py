"""Image files: listing folders and decoding, whatever a folder may hold."""

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from ppl_cli.data.frame import PADDING
from ppl_cli.errors import UsageError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


class UnreadableImageError(Exception):
    """An image that cannot be decoded; the message says why, without the file's name."""


def natural_order(name: str) -> tuple:
    """Sort key in which frame_2 comes before frame_10, whatever the case."""
    return [(0, int(part)) if part.isdecimal() else (1, part.casefold()) for part in re.split(r"(\d+)", name)], name


def walk(folder: Path) -> Iterator[Path]:
    """Image files below `folder`, recursive, in natural order; hidden files and linked folders are skipped."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: natural_order(entry.name))
    except OSError as error:
        raise UsageError(f"cannot list the folder {folder}: {error.strerror}") from error
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from walk(Path(entry.path))
        elif entry.name.lower().endswith(SUFFIXES) and not is_folder(entry):
            yield Path(entry.path)


def is_folder(entry: os.DirEntry) -> bool:
    """Also through a link; a link that leads nowhere or in a circle is no folder, and `decode` will say so."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def list_images(folder: Path) -> list[Path]:
    """All images below a folder. UsageError if it is missing or holds none."""
    if not folder.exists():
        raise UsageError(f"no such folder: {folder}")
    if not folder.is_dir():
        raise UsageError(f"{folder} is a file; a folder of images is expected")
    check_not_empty(folder)
    return list(walk(folder))


def check_not_empty(folder: Path) -> None:
    """UsageError if there is no image below the folder; looks no further than the first."""
    if next(walk(folder), None) is None:
        kinds = " ".join(suffix[1:] for suffix in SUFFIXES)
        raise UsageError(f"no images in {folder} (looked for {kinds}, also in its sub-folders)")


def decode(path: Path) -> Image.Image:
    """The image as displayed (EXIF orientation applied), in RGB; the first frame of an animation.

    Transparent pixels are laid over grey; 16-bit and float greys are scaled to 8 bits. UnreadableImageError says why not.
    """
    try:
        # A named pipe or a device would block for ever.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise UnreadableImageError("not a regular file")
        with Image.open(path) as image:
            image.load()
            return to_rgb(ImageOps.exif_transpose(image))
    except UnreadableImageError:
        raise
    except Image.DecompressionBombError as error:
        raise UnreadableImageError("too large: more pixels than Pillow's safety limit") from error
    except Image.UnidentifiedImageError as error:
        raise UnreadableImageError("not an image, or of an unknown format") from error
    except FileNotFoundError as error:
        raise UnreadableImageError("no such file") from error
    except MemoryError as error:
        raise UnreadableImageError("too large for this machine's memory") from error
    except Exception as error:  # damaged files raise anything from SyntaxError to struct.error
        raise UnreadableImageError(" ".join(f"damaged: {error}".split())) from error


def to_rgb(image: Image.Image) -> Image.Image:
    """Any Pillow mode -> RGB."""
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I") or image.mode == "F":
        return Image.fromarray(grey_to_8_bits(np.asarray(image), image.mode)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        below = Image.new("RGBA", image.size, (*PADDING, 255))
        return Image.alpha_composite(below, image).convert("RGB")
    return image.convert("RGB")


def grey_to_8_bits(values: np.ndarray, mode: str) -> np.ndarray:
    """(H, W) integers or floats -> uint8. 16-bit files use the whole range; floats are taken as [0, 1], or stretched.

    Mode I (32 bits) does not say which range a file uses, so its largest value decides.
    """
    values = np.nan_to_num(values.astype(np.float64))
    low, high = float(values.min()), float(values.max())
    if mode == "F":
        low, high = (0.0, 1.0) if low >= 0 and high <= 1 else (low, high)
    elif mode.startswith("I;16"):
        low, high = 0.0, 65535.0
    else:
        low, high = 0.0, 255.0 if high <= 255 else 65535.0 if high <= 65535 else high
    return np.rint(np.clip((values - low) / max(high - low, 1e-12), 0, 1) * 255).astype(np.uint8)
