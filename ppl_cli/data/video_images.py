"""A decoded frame of a video as an image, in exact colours."""

from math import atan2, degrees
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from ppl_cli.data.frame import Fit

if TYPE_CHECKING:
    from av import VideoFrame

# Of colours: SWS_BILINEAR | SWS_FULL_CHR_H_INT | SWS_ACCURATE_RND. By default FFmpeg makes pictures half a grey level darker,
# which moved keypoints by 0.7 pixels of 256 in dark frames (mirror_mouse); so they move by 0.3, which is compression.
EXACT = 0x2 | 0x2000 | 0x40000


def to_image(frame: "VideoFrame", fit: Fit | None = None) -> Image.Image:
    """The frame in RGB, as displayed; with `fit` as small as it becomes in the network's square, where that is smaller."""
    return Image.fromarray(to_pixels(frame, fit))


def to_pixels(frame: "VideoFrame", fit: Fit | None = None) -> np.ndarray:
    """`to_image` as (H, W, 3) uint8."""
    turns, mirrored = find_turns(frame)
    width, height = fit(*find_size(frame)).inner if fit else find_size(frame)
    width, height = (height, width) if turns % 2 else (width, height)
    keep = frame.interlaced_frame or width > frame.width or height > frame.height  # FFmpeg would scale each field by itself
    shape = {} if keep else {"width": width, "height": height}
    # By default FFmpeg starts threads for every frame, which takes six times as long for one of 192 pixels.
    shown = np.rot90(frame.to_ndarray(format="rgb24", interpolation=EXACT, threads=1, **shape), turns)
    return np.fliplr(shown) if mirrored else shown


def find_size(frame: "VideoFrame") -> tuple[int, int]:
    """(width, height) as displayed."""
    return (frame.height, frame.width) if find_turns(frame)[0] % 2 else (frame.width, frame.height)


def find_turns(frame: "VideoFrame") -> tuple[int, bool]:
    """How often it is turned by 90 degrees against the clock to be displayed, and whether it is then mirrored left to right."""
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return 0, False
    (a, b), (c, d) = np.frombuffer(matrix, np.int32).reshape(3, 3)[:2, :2].tolist()
    mirrored = a * d < b * c
    return round(-degrees(atan2(b, -a if mirrored else a)) / 90) % 4, mirrored
