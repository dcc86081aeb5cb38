"""Pixels of more than 8 bits: which of their values are black and which white.

One rule for a whole set, found over a sample of it and kept with the model: were each image stretched by itself, frames of
one recording could not be compared, and one hot pixel would change a picture.
"""

import re
from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image

from ppl_cli.data.evenly import choose_evenly

DEEP = re.compile(r"\.(tiff?|a?png)(#\d+)?$", re.IGNORECASE)
SAMPLE = 64  # images looked at
BITS = (8, 10, 12, 14, 16)
HOT = 1e-4  # share of an image's pixels that may lie beyond either end
BLOCK = 1 << 20  # pixels scaled at a time

Range = tuple[float, float]  # (black, white)


def is_deep(image: Image.Image) -> bool:
    return image.mode.startswith("I") or image.mode == "F"


def choose_range(samples: Iterable[np.ndarray]) -> tuple[Range | None, list[str]]:
    """The range of a set, from the values (H, W) of some of its deep images, and lines for the user; None if there are none.

    Whole numbers from 0 on: the smallest usual bit depth that holds them. Others: [0, 1] if all lie in it, else from the
    lowest to the highest. Hot and dead pixels do not count.
    """
    lows, highs, whole = [], [], True
    for values in samples:
        values = values[np.isfinite(values)]
        if values.size:
            low, high = np.quantile(values, (HOT, 1 - HOT), method="nearest").tolist()
            lows.append(low)
            highs.append(high)
            whole &= values.dtype.kind in "iu" or bool((values == np.rint(values)).all())
    if not lows:
        return None, []
    low, high = min(lows), max(highs)
    fitting = [2**bits - 1 for bits in BITS if high < 2**bits]
    if whole and low >= 0 and fitting:
        low, high = 0, fitting[0]
    elif low >= 0 and high <= 1:
        low, high = 0, 1
    elif low == high:
        high = low + 1
    count, their = (f"{len(highs)} sampled images have", "their") if len(highs) > 1 else ("1 sampled image has", "its")
    brightest = f"{min(highs):g}" if min(highs) == max(highs) else f"{min(highs):g} to {max(highs):g}"
    differ = "; these differ widely: give the images of each camera a folder of their own"
    note = (
        f"{count} more than 8 bits, {their} brightest value being {brightest}: in all such images {low:g} is "
        f"read as black and {high:g} as white (data.range=[{low:g}, {high:g}]){differ if max(highs) > 3 * min(highs) else ''}"
    )
    return (float(low), float(high)), [note]


def sample_deep(names: Sequence[str]) -> list[int]:
    """Which of the images of these names to look at: some of those whose type can have more than 8 bits, else of all."""
    able = [index for index, name in enumerate(names) if DEEP.search(name)]
    return choose_evenly(able or range(len(names)), SAMPLE)


def to_8_bits(values: np.ndarray, value_range: Range) -> np.ndarray:
    """(H, W) integers or floats -> uint8: black to 0, white to 255. NaN is black."""
    low, high = value_range
    grey = np.empty(values.size, np.uint8)
    flat = values.reshape(-1)
    for at in range(0, values.size, BLOCK):  # or a large image would take eight times its memory
        with np.errstate(invalid="ignore"):  # NaN
            share = (flat[at : at + BLOCK].astype(np.float64) - low) / max(high - low, 1e-12)
        grey[at : at + BLOCK] = np.rint(np.nan_to_num(share, posinf=1, neginf=0).clip(0, 1) * 255)
    return grey.reshape(values.shape)


def own_range(values: np.ndarray, mode: str) -> Range:
    """The range of an image that belongs to no set: 16-bit files use the whole range; floats are taken as [0, 1], or stretched.

    Mode I (32 bits) does not say which range a file uses, so its largest value decides.
    """
    if mode == "F":
        finite = values[np.isfinite(values)]
        low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
        return (0.0, 1.0) if low >= 0 and high <= 1 else (low, high)
    highest = 65535.0 if mode.startswith("I;16") else float(values.max())
    return 0.0, 255.0 if highest <= 255 else max(highest, 65535.0)
