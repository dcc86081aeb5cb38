"""The pose of an image, as it is found, kept, written and given to the user."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ppl_cli.drawing.strips import Column


@dataclass
class Refined:
    """What refinement adds to a pose. T is the number of iterations; pose 0 is that of the image as it is."""

    keypoints: np.ndarray  # (T + 1, N, 2) (x, y) in pixels of the image, as in `Pose`
    confidence: np.ndarray  # (T + 1, N)
    used: int  # iterations that the image took
    visible: np.ndarray  # (T + 1, N) bool: within the picture and not where it is hidden
    moved_px: np.ndarray  # (N,) from the first pose to the last
    whole: bool = False  # nothing of the image is hidden, though it was said where things are
    columns: "list[Column] | None" = None  # what each iteration saw and drew, where pictures are wanted


@dataclass
class Pose:
    """The pose found in one image.

    `keypoints` (N, 2): (x, y) in pixels of the image as displayed (EXIF orientation applied), x to the right, y down, origin
    at the centre of the top left pixel; one may lie beyond the edge. NaN, as `confidence`, where the image could not be used.
    """

    index: int  # place of the image among those given
    width: int | None  # of the image; None if it could not be used
    height: int | None
    keypoints: np.ndarray
    confidence: np.ndarray  # (N,) in [0, 1]
    problem: str | None = None  # why the image could not be used, or not wholly
    refined: Refined | None = None
    explained: bool | None = None  # whether the memory knows such a pose; None: the model does not say, or was not asked
    names: Sequence[str] = ()  # (N,) of the keypoints; empty in poses read from a journal
