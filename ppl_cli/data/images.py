"""Image files: listing folders and decoding, whatever a folder may hold."""

import ctypes
import os
import re
import stat
import warnings
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from ppl_cli.data.frame import PADDING
from ppl_cli.errors import UsageError
from ppl_cli.text import on_screen

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
KINDS = " ".join(suffix[1:] for suffix in SUFFIXES)
BLOCK = 1 << 20  # pixels scaled at a time
END = "\0\0"  # no file name holds it

# What Pillow may open: more of its formats run other programs (EPS) or read rarely tested code.
FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF")


class UnreadableImageError(Exception):
    """An image that cannot be decoded; the message says why, without the file's name."""


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


def walk(folder: Path) -> Iterator[Path]:
    """Image files below `folder`, as `image_names` lists them."""
    return (folder / name for name in image_names(folder))


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


def list_images(folder: Path) -> list[Path]:
    """The same as paths, which take several times the memory."""
    return [folder / name for name in list_names(folder)]


def decode(path: Path) -> Image.Image:
    """The image as displayed (EXIF orientation applied), in RGB; the first frame of an animation.

    Transparent pixels are laid over grey; 16-bit and float greys are scaled to 8 bits. UnreadableImageError says why not.
    """
    try:
        # A named pipe or a device would block for ever.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise UnreadableImageError("not a regular file")
        with Image.open(path, formats=FORMATS) as image:
            if 0 in image.size:
                raise UnreadableImageError("it has no pixels")
            image.load()
            turn_as_displayed(image)
            return to_rgb(image)
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
        if isinstance(error, OSError) and error.strerror:
            raise UnreadableImageError(f"cannot be read: {error.strerror}") from error
        raise UnreadableImageError(on_screen(" ".join(f"damaged: {error}".split()))[:200]) from error


def turn_as_displayed(image: Image.Image) -> None:
    """In place: a copy of a large photograph takes as much memory again. EXIF may hold anything, and the pixels be sound."""
    try:
        ImageOps.exif_transpose(image, in_place=True)
    except MemoryError:
        raise
    except Exception:
        pass


def quiet_decoders() -> None:
    """What is wrong with an image reaches the user once, in skipped.csv, and not as a flood of warnings."""
    warnings.filterwarnings("ignore", module=r"PIL\.")
    with suppress(AttributeError, OSError):  # where Pillow's libtiff can be reached
        library = ctypes.CDLL(Image.core.__file__)
        library.TIFFSetErrorHandler(None)
        library.TIFFSetWarningHandler(None)


quiet_decoders()


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
    if mode == "F":
        finite = values[np.isfinite(values)]
        low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
        low, high = (0.0, 1.0) if low >= 0 and high <= 1 else (low, high)
    else:
        highest = 65535.0 if mode.startswith("I;16") else float(values.max())
        low, high = 0.0, 255.0 if highest <= 255 else max(highest, 65535.0)
    grey = np.empty(values.size, np.uint8)
    for at in range(0, values.size, BLOCK):  # or a large image would take eight times its memory
        with np.errstate(invalid="ignore"):  # NaN
            share = (values.reshape(-1)[at : at + BLOCK].astype(np.float64) - low) / max(high - low, 1e-12)
        grey[at : at + BLOCK] = np.rint(np.nan_to_num(share, posinf=1).clip(0, 1) * 255)
    return grey.reshape(values.shape)
