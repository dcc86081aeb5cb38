"""What a data set says about its images, before one of them is decoded."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from ppl_cli.data.depth import Range, sample_deep
from ppl_cli.data.images import decode, find_range

Part = Literal["train", "fit", "test"]  # to learn from; annotated, to fit a linear map on; annotated, to measure on


@dataclass
class Listing:
    """`open_image(i)` gives the RGB image as displayed, or raises UnreadableImageError.

    `groups[i]` is the video of image i (frames of one video follow each other). `keypoints` (M, K, 2) are annotations,
    (x, y), NaN where missing: in pixels of the image, or, with `unit` "side", as shares of width and height, 0 and 1
    being its edges. `sizes` are (width, height) where the annotations say them, to be checked. `notes` are lines for the user.
    """

    names: list[str]
    open_image: Callable[[int], Image.Image]
    groups: list[int] | None = None
    keypoints: np.ndarray | None = None
    unit: Literal["px", "side"] = "px"
    keypoint_names: list[str] = field(default_factory=list)  # k0, k1, ... where the data set does not name them
    sizes: list[tuple[int, int] | None] | None = None
    notes: list[str] = field(default_factory=list)
    source: str | None = None  # the annotation file, or which part of the data set this is
    root: Path | None = None  # what the names are relative to, where they are those of files
    range: Range | None = None  # black and white of images of more than 8 bits, the same for the whole set

    def __post_init__(self) -> None:
        if self.keypoints is not None and not self.keypoint_names:
            self.keypoint_names = [f"k{k}" for k in range(self.keypoints.shape[1])]
        if repeated := [name for name, count in Counter(self.keypoint_names).items() if count > 1]:
            self.keypoint_names = number_repeated(self.keypoint_names)
            self.notes = [*self.notes, f"several keypoints are called {repeated[0]}: the second is {repeated[0]}-2 here"]

    def __len__(self) -> int:
        return len(self.names)

    def take(self, indices: list[int]) -> "Listing":
        """The same data set with these images only."""

        def pick(values: list | None) -> list | None:
            return None if values is None else [values[index] for index in indices]

        def open_image(index: int) -> Image.Image:
            self.range = taken.range
            return self.open_image(indices[index])

        taken = replace(
            self,
            names=pick(self.names),
            open_image=open_image,
            groups=pick(self.groups),
            keypoints=None if self.keypoints is None else self.keypoints[indices],
            sizes=pick(self.sizes),
            notes=list(self.notes),
        )
        return taken

    def sort_keypoints(self, names: list[str]) -> None:
        """The listing in the order of `names`, where they are the same ones in another order."""
        if self.keypoint_names != names and sorted(self.keypoint_names) == sorted(names) and len(set(names)) == len(names):
            order = [self.keypoint_names.index(name) for name in names]
            self.keypoints, self.keypoint_names = self.keypoints[:, order], names

    def choose_range(self, given: Range | None) -> None:
        """`given`, or what is found over the images."""
        self.range = given
        if given is None and self.root is not None:
            self.range, notes = find_range([self.root / self.names[index] for index in sample_deep(self.names)])
            self.notes += notes

    def keypoints_px(self, index: int, size: tuple[int, int]) -> np.ndarray:
        """(K, 2) in pixels of image `index`, whose (width, height) is `size`."""
        points = self.keypoints[index].astype(np.float64)
        return points if self.unit == "px" else points * size - 0.5


def list_files(root: Path, names: list[str], **more) -> Listing:
    """Images in files below `root`, by their names relative to it: one string is all that is held of an image."""
    listing = Listing(names, lambda index: decode(root / names[index], listing.range), root=root, **more)
    return listing


def number_repeated(names: Sequence[str]) -> list[str]:
    """nose, ear, nose -> nose, ear, nose-2."""
    before = [names[:index].count(name) for index, name in enumerate(names)]
    return [f"{name}-{count + 1}" if count else name for name, count in zip(names, before, strict=True)]


def fingerprint_names(names: Sequence[str], folders: Iterable[str] = ()) -> str:
    """How many images and, in few characters, which, in which order and in which `folders`: equal only for the same ones."""
    digest = hashlib.blake2b(digest_size=8)
    for name in chain(folders, names):
        digest.update(name.encode("utf-8", "surrogateescape") + b"\0")
    return f"{len(names)} images, {digest.hexdigest()}"
