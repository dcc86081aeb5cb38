"""Some of a data set's images, evenly chosen, as the network sees them and as people do."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import groupby

import numpy as np
from PIL import Image

from ppl_cli.config.sections import Config
from ppl_cli.data.evenly import choose_evenly
from ppl_cli.data.frame import Fit, Frame
from ppl_cli.data.listing import Listing
from ppl_cli.data.pages import FILM, split_frame
from ppl_cli.errors import PPLError
from ppl_cli.inference.estimate import DECODERS, Decoded, Opened, decode_square
from ppl_cli.text import none_readable, note_left_out

MOST = 128  # images: what is measured on them differs little from what all would say (docs/trust.md)
LARGEST = 320  # pixels of the longer side of a picture to look at


@dataclass(frozen=True)
class Sampled:
    """M images that could be read."""

    names: list[str]
    squares: np.ndarray  # (M, S, S, 3) uint8
    frames: list[Frame]
    pictures: list[Image.Image]  # RGB, as displayed, reduced to at most LARGEST pixels
    groups: list[int] | None  # the video of each, as in Listing
    of: int  # images that there are
    notes: list[str]

    def __len__(self) -> int:
        return len(self.names)

    def place(self, poses: np.ndarray) -> list[np.ndarray]:
        """Poses (M, N, 2), normalised -> (N, 2) each, in pixels of the pictures."""
        triples = zip(self.pictures, self.frames, poses, strict=True)
        return [(frame.to_pixels(pose) + 0.5) * (image.width / frame.width) - 0.5 for image, frame, pose in triples]


def sample_images(listing: Listing, config: Config, most: int = MOST, strict: bool = False) -> Sampled:
    """At most so many images, for a model with this configuration. PPLError if none can be read, or `strict` and one cannot."""
    wanted = choose_evenly(range(len(listing)), most)
    look = partial(look_at, listing, config)
    held: list[tuple[Decoded, Image.Image | None]] = []
    with ThreadPoolExecutor(DECODERS) as pool:
        for of_video, run in groupby(wanted, lambda index: split_frame(listing.names[index]) is not None):
            held += (map if of_video else pool.map)(look, run)  # frames of a video build upon each other
    FILM.close()
    problems = [f"{listing.names[i]}: {one.problem}" for i, (one, _) in zip(wanted, held, strict=True) if one.problem]
    rows = [row for row, (one, _) in enumerate(held) if not one.problem]
    if problems and strict:
        raise PPLError(f"{problems[0]} (--strict stops at the first unreadable image)")
    if not rows:
        raise PPLError(none_readable(problems, "image"))
    return Sampled(
        [listing.names[wanted[row]] for row in rows],
        np.stack([held[row][0].pixels for row in rows]),
        [held[row][0].frame for row in rows],
        [held[row][1] for row in rows],
        None if listing.groups is None else [listing.groups[wanted[row]] for row in rows],
        len(listing),
        [note_left_out(problems, "unreadable image")] if problems else [],
    )


def look_at(listing: Listing, config: Config, index: int) -> tuple[Decoded, Image.Image | None]:
    picture = None

    def open_image(fit: Fit) -> Opened:
        nonlocal picture
        image = listing.open_image(index)
        zoom = min(1, LARGEST / max(image.size))
        picture = image.resize([max(1, round(side * zoom)) for side in image.size], Image.Resampling.BICUBIC, reducing_gap=2)
        return Opened(image)

    return decode_square(open_image, config.model.image_size, config.data.resize), picture
