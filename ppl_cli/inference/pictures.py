"""Pictures beside the results: every pose over its image, and how refinement went."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from threading import Lock

import numpy as np

from ppl_cli.data.depth import Range
from ppl_cli.data.formats import READ
from ppl_cli.data.pages import split_frame
from ppl_cli.drawing.strips import save_gif, save_strip
from ppl_cli.errors import DiskFullError, PPLError, UnreadableImageError
from ppl_cli.files import folder_below
from ppl_cli.inference.overlays import Overlay, is_jpeg
from ppl_cli.results.pose import Pose

LEAST_SURE = 0.2  # keypoints of less confidence are drawn hollow: those that a fifth of training keypoints are like


class Pictures:
    """overlay/NAME where `overlays` are wanted; strips/NAME.png and gifs/NAME.gif of poses that have columns.

    In the sub-folders of the input. The image's own suffix stays, so a.jpg and a.tif both fit; JPEG files have overlays in
    JPEG, all others in PNG. Videos get overlays of their own
    (films.py), in which keypoints have a `trail` of so many earlier positions. A picture that cannot be written must not cost
    the results: such are counted. `links` (N, N) of all keypoints; `kept`: which of them poses have, where not all.
    """

    def __init__(self, folder: Path, links: np.ndarray, overlays: bool, trail: int = 0, kept: Sequence[int] | None = None):
        self.folder, self.links, self.overlays, self.trail, self.kept = folder, links, overlays, trail, kept
        self.undrawn, self.first_undrawn, self.counting = 0, "", Lock()
        self.draw_overlay: Callable[[Overlay], None] = Overlay.draw

    def draw(self, name: str, image: Path, value_range: Range | None, pose: Pose) -> None:
        """Draws one picture, in any thread; `image` is read again. DiskFullError: the next one would fail too."""
        if self.overlays and pose.width is not None and split_frame(name) is None:
            read = partial(Overlay, name, image, value_range, (pose.width, pose.height))
            drawn = self.in_all_places(pose)
            marks = self.links, is_doubtful(drawn), is_inferred(drawn)
            self.draw_one(
                f"overlay/{name_overlay(name)}", lambda place: self.draw_overlay(read(drawn.keypoints, *marks, place))
            )
        if pose.refined is not None and pose.refined.columns is not None:
            columns, pose.refined.columns = pose.refined.columns, None
            self.draw_one(f"strips/{name_png(name)}", lambda place: save_strip(place, columns, self.links))
            self.draw_one(f"gifs/{name}.gif", lambda place: save_gif(place, columns, self.links))

    def in_all_places(self, pose: Pose) -> Pose:
        """The pose with NaN for keypoints that are left out, so that the others keep their numbers and colours."""
        if self.kept is None:
            return pose
        places = np.full((len(self.links), 2), np.nan)
        sure, refined = places[:, 0].copy(), pose.refined
        places[self.kept], sure[self.kept] = pose.keypoints, pose.confidence
        if refined is not None:
            visible = np.ones((len(refined.visible), len(places)), bool)
            visible[:, self.kept] = refined.visible
            refined = replace(refined, visible=visible)
        return replace(pose, keypoints=places, confidence=sure, refined=refined)

    def draw_one(self, name: str, draw: Callable[[Path], None]) -> None:
        with self.forgiving():
            folder_below(self.folder, self.folder / name)
            draw(self.folder / name)

    @contextmanager
    def forgiving(self) -> Iterator[None]:
        """What cannot be written in the block is counted, unless there is no space left."""
        try:
            yield
        except DiskFullError:
            raise
        except (OSError, PPLError, UnreadableImageError) as error:
            with self.counting:
                self.undrawn, self.first_undrawn = self.undrawn + 1, self.first_undrawn or " ".join(str(error).split())


def name_overlay(name: str) -> str:
    return name if is_jpeg(name) else name_png(name)


def name_png(name: str) -> str:
    """a.png keeps its name. a.tif becomes a.tif.png; were there an image of that name, it would become a.tif.png.png."""
    stem, _, suffix = name.lower().rpartition(".")
    return name if suffix == "png" and not any(kind in PurePosixPath(stem).name for kind in READ) else f"{name}.png"


def is_doubtful(pose: Pose) -> np.ndarray:
    """(N,) which keypoints are drawn hollow: those of little confidence, and those beyond the edge, where nothing is seen."""
    beyond = (pose.keypoints < -0.5) | (pose.keypoints > np.array([pose.width, pose.height]) - 0.5)
    return beyond.any(-1) | (pose.confidence < LEAST_SURE)


def is_inferred(pose: Pose) -> np.ndarray | None:
    """(N,) which keypoints are drawn as crosses: those of a refined pose that cannot be seen in the image."""
    return None if pose.refined is None else ~pose.refined.visible[-1]
