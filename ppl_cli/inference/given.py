"""What a caller of the Python API may give as an image, and as what of it is hidden."""

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from ppl_cli.data.depth import DEEP, SAMPLE, Range, choose_range, is_deep
from ppl_cli.data.evenly import choose_evenly
from ppl_cli.data.frame import Fit
from ppl_cli.data.images import UnreadableImageError, decode_to_fit, read_deep, to_rgb, turn_as_displayed
from ppl_cli.data.pages import page_names, split_frame
from ppl_cli.data.videos import is_video, open_video
from ppl_cli.errors import UsageError
from ppl_cli.files import at_home
from ppl_cli.inference.estimate import Opened, Opener
from ppl_cli.inference.occluder import check_some_visible, take_mask
from ppl_cli.results.pose import NOWHERE, Place

ImageLike = str | os.PathLike | Image.Image | np.ndarray  # an array: (H, W, 3) uint8, RGB
HiddenLike = str | os.PathLike | Image.Image | np.ndarray  # an array: (H, W) bool, True where hidden, or uint8, 255 there
Pairs = Iterable[tuple[ImageLike, HiddenLike | None]]  # images, and what of each is hidden


def check_image(image: ImageLike, what: str = "the image") -> ImageLike:
    """The same. UsageError if it is nothing that can be an image; files and Pillow's are looked at when they are opened."""
    if isinstance(image, str | os.PathLike | Image.Image):
        return image
    expected = "a path, a PIL image or an array (height, width, 3) of uint8 in RGB"
    if not isinstance(image, np.ndarray):
        raise UsageError(f"{what}: expected {expected}, got {type(image).__name__}")
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        others = "give grey or RGBA as Image.fromarray(array), several as list(array)"
        raise UsageError(f"{what}: expected {expected}, got an array of shape {image.shape}; {others}")
    if image.dtype != np.uint8:
        raise UsageError(
            f"{what}: expected values of 0 to 255 in uint8, got {image.dtype}; scale them to that first, then astype(np.uint8)"
        )
    return image


def check_hidden(hidden: HiddenLike | None, what: str = "hidden") -> None:
    """UsageError if it is nothing that can say what is hidden; whether it fits its image is seen when that is opened."""
    if hidden is None or isinstance(hidden, str | os.PathLike | Image.Image):
        return
    expected = "a path, a PIL image or an array (height, width) of bool, True where hidden"
    if not isinstance(hidden, np.ndarray):
        raise UsageError(f"{what}: expected {expected}, got {type(hidden).__name__}")
    if hidden.ndim != 2 or hidden.dtype not in (np.bool_, np.uint8):
        raise UsageError(f"{what}: expected {expected}, got shape {hidden.shape} of {hidden.dtype}")


def open_image(image: ImageLike, value_range: Range | None = None, fit: Fit | None = None) -> Opened:
    """The image in RGB, as displayed; `value_range` and `fit` as in `decode_to_fit`. UnreadableImageError says why not."""
    if isinstance(image, np.ndarray):
        return Opened(Image.fromarray(image))
    if not isinstance(image, Image.Image):
        path = at_home(image)
        if path.is_dir():
            raise UnreadableImageError("a folder: model.stream takes all images in it")
        pages = page_names(path.parent, path.name) if path.is_file() else [path.name]
        if len(pages) > 1:
            noun, takes_all = ("frames", "model.stream or model.video") if is_video(path) else ("pages", "model.stream")
            raise UnreadableImageError(
                f"it has {len(pages)} {noun}: take {takes_all} for all of them, or give them one by one, {pages[0]}, "
                f"{pages[1]} and so on"
            )
        return Opened(*decode_to_fit(path, value_range, fit))
    if 0 in image.size:
        raise UnreadableImageError("it has no pixels")
    try:
        image = image.copy()
        turn_as_displayed(image)
        return Opened(to_rgb(image, value_range))
    except Exception as error:  # Pillow reads a file when its pixels are asked for, and damaged ones raise anything
        reason = str(error) or type(error).__name__
        raise UnreadableImageError(" ".join(f"damaged: {reason}".split())) from error


def read_values(image: ImageLike) -> np.ndarray | None:
    """(H, W) values of more than 8 bits, as they are; None if it has none, or cannot be read."""
    if isinstance(image, str | os.PathLike):  # a stream asks for every image, and opening a JPEG for it would cost
        return read_deep(at_home(image)) if DEEP.search(os.fspath(image)) else None
    if not isinstance(image, Image.Image) or not is_deep(image):
        return None
    with suppress(Exception):  # a damaged one is named when it is decoded
        return np.asarray(image)


def find_range(images: Sequence[ImageLike]) -> tuple[Range | None, list[str]]:
    """What is black and white in those of more than 8 bits, found over some of them, and lines for the user."""
    return choose_range(values for values in map(read_values, choose_evenly(images, SAMPLE)) if values is not None)


def find_source(image: ImageLike) -> tuple[Path | None, Place]:
    """The file that it is in, and where in a video, if it is a frame of one."""
    if not isinstance(image, str | os.PathLike):
        return None, NOWHERE
    path = at_home(image)
    if found := split_frame(path.name):
        with suppress(UnreadableImageError):
            times = open_video(path.with_name(found[0])).times
            return path, Place(*found, float(times[found[1]]) if found[1] < len(times) else None)
    return path, NOWHERE


def take(image: HiddenLike) -> HiddenLike:
    """`image` as it is now: decoding comes later, in several threads, when its owner may have closed it or put other pixels in
    its place."""
    if isinstance(image, np.ndarray):
        return image.copy()
    if isinstance(image, Image.Image):
        with suppress(Exception):  # a damaged one is named when it is decoded
            return image.copy()
    return image


def open_all(
    pairs: Pairs, value_range: Range | None, sources: deque[tuple[Path | None, Place, Range | None]]
) -> Iterator[Opener]:
    """A function for each image that opens it, in any thread; `sources` takes what `find_source` says of each, and its range,
    which without `value_range` is its own, as where it is given alone."""
    for pair in pairs:
        own_range = value_range or find_range(pair[:1])[0]
        sources.append((*find_source(pair[0]), own_range))
        yield partial(open_given, pair, own_range)


def open_given(given: tuple[ImageLike, HiddenLike | None], value_range: Range | None, fit: Fit) -> Opened:
    image, hidden = given
    if hidden is None:
        return open_image(image, value_range, fit)
    image = open_image(image, value_range).image
    values = hidden if isinstance(hidden, np.ndarray) else open_mask(hidden)
    values = values.astype(np.uint8) * 255 if values.dtype == np.bool_ else values
    return Opened(image, hidden=check_some_visible(take_mask(values, image)))


def open_mask(mask: str | os.PathLike | Image.Image) -> np.ndarray:
    """(H, W) uint8. UnreadableImageError names the mask, since the image is named as well."""
    try:
        return np.asarray(open_image(mask).image.convert("L"))
    except UnreadableImageError as error:
        raise UnreadableImageError(f"its mask{'' if isinstance(mask, Image.Image) else f' {mask}'}: {error}") from error
