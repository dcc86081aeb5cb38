"""Image files decoded, whatever they hold."""

import ctypes
import os
import re
import stat
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from ppl_cli.data.depth import SAMPLE, Range, choose_range, is_deep, own_range, to_8_bits
from ppl_cli.data.evenly import choose_evenly
from ppl_cli.data.formats import FORMATS, name_type
from ppl_cli.data.frame import PADDING, Fit
from ppl_cli.data.pages import FILM, Film, open_page, split_page
from ppl_cli.data.video_images import find_size, to_image
from ppl_cli.data.videos import Video, is_video, open_video
from ppl_cli.errors import UnreadableImageError
from ppl_cli.text import on_screen

Sized = tuple[Image.Image, tuple[int, int]]  # an image in RGB, perhaps made smaller, and its own (width, height) as displayed
ENOUGH = 8  # so keypoints move by less than 0.04 pixels of the network's square; with 4 by up to 0.08, with 2 by 0.2
BITS, PHOTOMETRIC, PLANES, SIGNED = 258, 262, 284, 339  # tags of TIFF
DARK = 64  # of 255: colours of up to 14 bits in 16


def decode(path: Path, value_range: Range | None = None) -> Image.Image:
    """The image as displayed (EXIF orientation applied), in RGB. `movie.tif#7` is a page of a file; a file its first page.

    Transparent pixels are laid over grey. Greys of more than 8 bits are mapped so that `value_range` is black and white;
    without one, each by itself. UnreadableImageError says why not.
    """
    return decode_to_fit(path, value_range, None)[0]


def decode_to_fit(path: Path, value_range: Range | None, fit: Fit | None) -> Sized:
    """`decode` for an image that only needs to `fit` the network's square: it may come smaller, in less time."""
    file, page = split_page(path)
    if is_video(file):
        frame = FILM.read(open_video(file), page)
        return to_image(frame, fit), find_size(frame)
    with reasons(path), opened(path) as image:
        refuse_misread(image)
        cut = image.mode.startswith("RGB") and any(";16" in str(tile) for tile in getattr(image, "tile", ()))
        shrink = shrink_jpeg(image, fit(*image.size).size) if fit else 1
        image.load()
        if cut:
            refuse_dark_colour(image)
        turn_as_displayed(image)
        size = (image.width * shrink, image.height * shrink)
        return to_rgb(image, value_range), size


def shrink_jpeg(image: Image.Image, side: int) -> int:
    """Have a JPEG decoded at a half, a quarter or an eighth where that leaves `ENOUGH` times `side`; returns by how much."""
    width, height = image.size
    for shrink in (8, 4, 2):
        if not (width % shrink or height % shrink) and min(width, height) >= ENOUGH * shrink * side:
            image.draft(None, (width // shrink, height // shrink))  # nothing happens where it is no JPEG
            break
    return width // image.width


def fetch(path: Path, film: Film, value_range: Range | None = None) -> Callable[[Fit | None], Sized]:
    """`decode_to_fit` for another thread to call."""
    file, page = split_page(path)
    if not is_video(file):
        return partial(decode_to_fit, path, value_range)
    try:
        return fetch_frame(open_video(file), page, film)
    except UnreadableImageError as error:
        return partial(fail, error)


def fetch_frame(video: Video, number: int | None, film: Film) -> Callable[[Fit | None], Sized]:
    """Frames of a video build upon each other, so one is decoded now by `film`, and made an image in another thread."""
    try:
        frame = film.read(video, number)
    except UnreadableImageError as error:
        return partial(fail, error)
    return lambda fit: (to_image(frame, fit), find_size(frame))


def fail(error: UnreadableImageError, *_) -> None:
    raise error


def refuse_misread(image: Image.Image) -> None:
    """Pillow reads uncompressed planes of 16 bits as if they had 8, and -1 as 255."""
    bits, tags = bits_of(image), getattr(image, "tag_v2", {})
    if tags.get(PLANES) == 2 and bits > 8 and any(tile[0] == "raw" for tile in image.tile):
        raise UnreadableImageError("its colours of more than 8 bits lie in separate planes: save each pixel's together")
    if bits == 8 and tags.get(SIGNED, (1,))[0] == 2:
        raise UnreadableImageError("its values of 8 bits have a sign: save them without, or with 16 bits")


def bits_of(image: Image.Image) -> int:
    """Of a value, as TIFF says; 0 of other files."""
    return max(getattr(image, "tag_v2", {}).get(BITS, (0,)))


def deep_values(image: Image.Image) -> np.ndarray:
    """(H, W) as TIFF means them, which Pillow does not heed: numbers of 32 bits without a sign, and white at 0."""
    values, bits, tags = np.asarray(image), bits_of(image), getattr(image, "tag_v2", {})
    if values.dtype == np.int32 and bits == 32 and tags.get(SIGNED, (1,))[0] == 1:
        values = values.view(np.uint32)
    if tags.get(PHOTOMETRIC) == 0 and (values.dtype.kind == "u" or 0 < bits < 32):
        values = 2**bits - 1 - values
    return values


def refuse_dark_colour(image: Image.Image) -> None:
    """Of colours of 16 bits Pillow keeps the upper 8: little is left of the 10 to 14 that cameras fill."""
    brightest = max(high for _, high in image.getextrema()[:3])
    if brightest < DARK:
        raise UnreadableImageError(
            f"its colours have 16 bits and use only the lowest values, up to about {256 * brightest + 255} of 65,535, of which "
            "ppl sees next to nothing (the upper 8 bits): save it in grey, or scaled to 8 bits a colour"
        )


def find_range(paths: Sequence[Path]) -> tuple[Range | None, list[str]]:
    """What `decode` shall take as black and white in all these images, found over some of them, and lines for the user.

    None where no image has more than 8 bits.
    """
    return choose_range(values for values in map(read_deep, choose_evenly(paths, SAMPLE)) if values is not None)


def read_deep(path: Path) -> np.ndarray | None:
    """(H, W) values as they are in the file; None if it has 8 bits or cannot be read, which `decode` will say."""
    if is_video(split_page(path)[0]):  # 10 bits become 8 as its colours become RGB
        return None
    try:
        with reasons(path), opened(path) as image:
            return deep_values(image) if is_deep(image) else None
    except UnreadableImageError:
        return None


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """The open image: its header is read, and of an animation the frame is chosen."""
    file, page = split_page(path)
    # A named pipe or a device would block for ever.
    if not stat.S_ISREG(os.stat(file).st_mode):
        raise UnreadableImageError("not a regular file")
    with Image.open(file, formats=FORMATS) if page is None else open_page(file, page) as image:
        if 0 in image.size:
            raise UnreadableImageError("it has no pixels")
        yield image


@contextmanager
def reasons(path: Path) -> Iterator[None]:
    """Whatever goes wrong becomes an UnreadableImageError with the reason."""
    try:
        yield
    except UnreadableImageError:
        raise
    except Image.DecompressionBombError as error:
        found = re.search(r"\((\d+) pixels\)", str(error))
        size = f"{int(found[1]):,} pixels" if found else "too many pixels"
        limit = f"{2 * Image.MAX_IMAGE_PIXELS:,}"
        raise UnreadableImageError(f"too large: {size}, ppl reads up to {limit}; scale it down or cut it up") from error
    except Image.UnidentifiedImageError as error:
        kind = name_type(split_page(path)[0])
        said = f"not an image that ppl reads but {kind}" if kind else "not an image, or of an unknown format"
        raise UnreadableImageError(said) from error
    except FileNotFoundError as error:
        said = "a link to a file that is not there" if split_page(path)[0].is_symlink() else "no such file"
        raise UnreadableImageError(said) from error
    except EOFError as error:
        raise UnreadableImageError("no such page in the file, or it is damaged") from error
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


def to_rgb(image: Image.Image, value_range: Range | None = None) -> Image.Image:
    """Any Pillow mode -> RGB."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if is_deep(image):
        values = deep_values(image)
        return Image.fromarray(to_8_bits(values, value_range or own_range(values, image.mode))).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        below = Image.new("RGBA", image.size, (*PADDING, 255))
        return Image.alpha_composite(below, image).convert("RGB")
    return image.convert("RGB")
