"""The pose of an image, as it is found, kept, written and given to the user."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

from ppl_cli.data.depth import Range
from ppl_cli.data.images import decode
from ppl_cli.errors import PPLError, UnreadableImageError

if TYPE_CHECKING:
    from ppl_cli.drawing.strips import Column


@dataclass
class Refined:
    """What refinement adds to a pose. T is the number of iterations; pose 0 is that of the image, with grey where it is
    hidden."""

    keypoints: np.ndarray  # (T + 1, N, 2) (x, y) in pixels of the image, as in `Pose`
    confidence: np.ndarray  # (T + 1, N)
    used: int  # iterations that the image took
    visible: np.ndarray  # (T + 1, N) bool: within the picture and not where it is hidden
    moved_px: np.ndarray  # (N,) from the first pose to the last
    whole: bool = False  # nothing of the image is hidden, though it was said where things are
    columns: "list[Column] | None" = None  # what each iteration saw and drew, where pictures are wanted


class Place(NamedTuple):
    """Where an image is in a video."""

    video: str | None = None  # its name in the results; None: it is no frame of one
    frame: int | None = None  # counted from 0; None, as the time, where the video cannot be opened
    time: float | None = None  # seconds of the stream's clock


NOWHERE = Place()


@dataclass(eq=False)  # arrays have no single answer to ==
class Pose:
    """The pose found in one image.

    `keypoints` (N, 2): (x, y) in pixels of the image as displayed (EXIF orientation applied), x to the right, y down, origin
    at the centre of the top left pixel; one may lie beyond the edge. NaN, as `confidence`, where the image could not be used;
    `confidence` also where the model is not calibrated.
    """

    index: int  # place of the image among those given
    width: int | None  # of the image; None if it could not be used
    height: int | None
    keypoints: np.ndarray
    confidence: np.ndarray  # (N,) in [0, 1]
    problem: str | None = None  # why the image could not be used, or not wholly
    refined: Refined | None = None
    explained: bool | None = None  # whether the image is like those of training; None: the model is not calibrated
    names: Sequence[str] = ()  # (N,) of the keypoints; empty in poses read from a journal
    place: Place = NOWHERE
    source: Path | None = None  # the file, page or frame, where `image` can be opened
    range: Range | None = None  # black and white of an image of more than 8 bits

    @property
    def image(self) -> Image.Image:
        """The image in RGB, as displayed; decoded anew. PPLError where that is no file or cannot be read."""
        if self.source is None:
            raise PPLError("image: this pose does not know its file, since it was not found in a folder or a video")
        try:
            return decode(self.source, self.range)
        except UnreadableImageError as error:
            raise PPLError(f"{self.source}: {error}") from error

    @property
    def frame(self) -> int | None:
        """Number of the frame in its video, from 0."""
        return self.place.frame

    @property
    def time(self) -> float | None:
        """The frame's time in seconds of its video's clock."""
        return self.place.time
