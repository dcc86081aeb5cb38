"""Videos with the poses drawn over them, written while these come in.

A video is decoded once more for it. Nothing of a half one is kept: a run that goes on draws the video anew in which it was
stopped, from the poses in its journal.
"""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from ppl_cli.data.pages import split_frame, split_page
from ppl_cli.data.video_images import to_pixels
from ppl_cli.data.videos import Reader, Video, is_video, open_video
from ppl_cli.drawing.overlay import SMALLEST, draw_over
from ppl_cli.drawing.video import writing_video
from ppl_cli.errors import PPLError, UnreadableImageError, UsageError
from ppl_cli.files import folder_below
from ppl_cli.inference.pictures import Pictures, is_doubtful, is_inferred
from ppl_cli.results.pose import Pose


def check_trail(trail: int) -> None:
    """UsageError if it is no number of earlier positions."""
    if type(trail) is not int or trail < 0:
        raise UsageError(f"trail: expected a whole number of 0 or more, got {trail!r}")


@contextmanager
def drawing_video(place: Path, video: Video, links: np.ndarray, trail: int = 0) -> Iterator[Callable[[int, Pose], None]]:
    """Yields a function that draws a pose over a frame of `video`, by its number, and adds it to the video at `place`, which
    has the same size and times.

    `links` (N, N) weights; `trail`: how many earlier positions of every keypoint are drawn too. A frame that cannot be decoded
    is left out, so the one before it stays. PPLError if the video cannot be written.
    """
    check_trail(trail)
    size, earlier = (video.width, video.height), deque(maxlen=trail)
    numbered = max(size) >= SMALLEST  # in smaller ones numbers would hide each other and the animal
    with Reader(video) as reader, writing_video(place, size, video.tick, video.rate) as add:

        def draw(number: int, pose: Pose) -> None:
            try:
                picture = np.array(to_pixels(reader.read(number)), order="C")
            except UnreadableImageError:
                return
            draw_over(picture, pose.keypoints, links, numbered, is_doubtful(pose), is_inferred(pose), earlier)
            earlier.append(pose.keypoints)
            if picture.shape[1::-1] != size:  # the stream has changed its size
                picture = np.array(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))
            add(picture, int(video.stamps[number]))

        yield draw


def name_drawn(name: str) -> str:
    """a.mp4 keeps its name. a.avi becomes a.avi.mp4; were there a video of that name, it would become a.avi.mp4.mp4."""
    stem, _, suffix = name.rpartition(".")
    return name if suffix.lower() == "mp4" and not is_video(stem) else f"{name}.mp4"


class Films:
    """overlay/NAME.mp4 for every video that poses were found in, where `pictures` are to have overlays.

    Poses come in order, video after video. One that cannot be drawn must not cost the results: it is counted in `pictures`.
    """

    def __init__(self, pictures: Pictures):
        self.pictures = pictures
        self.name, self.number = None, 0  # of the video whose poses are coming, and of its last frame that came
        self.begun: set[str] = set()
        self.due = False  # its drawing begins with the first frame that has a pose
        self.film, self.draw = ExitStack(), None  # its drawing, unless there is none to do

    def __enter__(self) -> "Films":
        return self

    def __exit__(self, *error) -> None:
        with self.pictures.forgiving():
            self.film.__exit__(*error)

    def add(self, name: str, path: Path, pose: Pose) -> None:
        """`name` and `path` of the image; DiskFullError if there is no space left."""
        video, number = split_frame(name) or (None, None)
        if video != self.name or (video is not None and number <= self.number):
            with self.pictures.forgiving():
                self.film.close()
            self.name, self.draw, self.due = video, None, video is not None and self.pictures.overlays
        self.number = number
        if pose.width is None:
            return
        if self.due:
            self.due = False
            self.attempt(self.begin, video, split_page(path)[0])
        if self.draw is not None:
            self.attempt(self.draw, number, self.pictures.in_all_places(pose))

    def begin(self, name: str, path: Path) -> None:
        if name in self.begun:
            raise PPLError(f"{name}: only its first frames are drawn, since the others do not come next, in order")
        self.begun.add(name)
        place = self.pictures.folder / "overlay" / name_drawn(name)
        folder_below(self.pictures.folder, place)
        if not place.exists():  # else it is complete: the run went on
            drawing = drawing_video(place, open_video(path), self.pictures.links, self.pictures.trail)
            self.draw = self.film.enter_context(drawing)

    def attempt(self, action: Callable[..., None], *arguments: object) -> None:
        """What fails is given up."""
        with self.pictures.forgiving():
            try:
                action(*arguments)
            except BaseException as error:
                self.draw = None
                self.film.__exit__(type(error), error, error.__traceback__)
                raise
