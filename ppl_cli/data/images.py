"""Image files decoded, whatever they hold."""

import ctypes
import os
import stat
import warnings
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from ppl_cli.data.frame import PADDING
from ppl_cli.text import on_screen

BLOCK = 1 << 20  # pixels scaled at a time

# What Pillow may open: more of its formats run other programs (EPS) or read rarely tested code.
FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF")


class UnreadableImageError(Exception):
    """An image that cannot be decoded; the message says why, without the file's name."""


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
