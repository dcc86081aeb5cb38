"""How `ppl infer` and `ppl refine`, and `Predictor`, go about their work."""

from dataclasses import dataclass
from typing import TypedDict

from ppl_cli.data.excerpt import WHOLE, Excerpt
from ppl_cli.errors import UsageError
from ppl_cli.inference.films import check_trail
from ppl_cli.inference.refine import Method

BATCH = 32


@dataclass(frozen=True)
class Details:
    """How a folder of results is made."""

    batch: int = BATCH  # images per pass of the network
    strict: bool = False  # stop at the first image that cannot be used
    overlay: bool = False  # also draw every pose over its image, or make a video of them
    trail: int = 0  # on a drawn video: so many earlier positions of every keypoint
    gif: bool = False  # refinement: also an animation and a strip of the iterations
    all_iterations: bool = False  # refinement: rows of every iteration in keypoints.csv
    excerpt: Excerpt = WHOLE  # which frames of videos
    useful: bool = False  # leave out idle keypoints

    def __post_init__(self) -> None:
        check_trail(self.trail)
        if self.trail and not self.overlay:
            raise UsageError("--trail is drawn in the videos of --overlay: add it")


USUAL = Details()


class HowToRefine(TypedDict, total=False):
    """Options of `Predictor.refine`, for programs that check types."""

    iterations: int
    method: Method | None
    until_px: float | None
