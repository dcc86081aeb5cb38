"""Poses of any number of images, streamed batch by batch: memory does not grow with their number.

    open --decode_ahead--> squares --Finder--> poses

Decoding runs ahead in threads while the network works. Nothing is kept once a batch is handed on.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from threading import Lock
from typing import ClassVar, NamedTuple, TypeVar

import numpy as np
import torch
from PIL import Image

from ppl_cli.data.frame import Fit, Frame, Resize
from ppl_cli.data.images import UnreadableImageError
from ppl_cli.data.listing import Listing
from ppl_cli.data.units import to_unit
from ppl_cli.device import Compute
from ppl_cli.errors import UsageError
from ppl_cli.model.blocks import fold_norms
from ppl_cli.model.calibration import Calibration, read_signs
from ppl_cli.model.core import PosePriorLearner
from ppl_cli.model.encoder import Estimate
from ppl_cli.model.finder import OcclusionFinder
from ppl_cli.prior.links import IDLE_BELOW, link_strengths
from ppl_cli.results.pose import Pose

T = TypeVar("T")
CANNOT_FIND = (
    "method found: this model has not learned to find what hides the object; let it learn that (ppl train --out RUN --resume "
    "--set train.uncover=1000), or choose another method"
)
NOT_FINITE = "the model finds no finite keypoints"
CORES = os.cpu_count() or 1
DECODERS = max(1, min(8, CORES - CORES // 2))  # beside a network that computes on the CPU
SHARING, SHARED = Lock(), []  # thread counts that open streams found when they began; the first is the original one
MOST_DECODERS = 16  # beside one that computes elsewhere: large photographs keep them busy (docs/gpu.md)


class Opened(NamedTuple):
    image: Image.Image  # RGB
    size: tuple[int, int] | None = None  # (width, height) of the original, where `image` may be smaller
    hidden: np.ndarray | None = None  # (H, W) bool: what of the image is, which then has its own size; None: nothing is known


Opener = Callable[[Fit], Opened]  # may make the image smaller, as long as it fits; UnreadableImageError


@dataclass
class Decoded:
    pixels: np.ndarray | None  # (S, S, 3) uint8
    frame: Frame | None
    problem: str | None
    hidden: np.ndarray | None = None  # (S, S) bool; None: nothing is known of what is hidden


def decode_square(opener: Opener, size: int, resize: Resize) -> Decoded:
    """The network's square of what `opener` opens, with a problem where that cannot be used."""
    try:
        fit = partial(Frame, size=size, resize=resize)
        image, own_size, hidden = opener(fit)
        frame = fit(*own_size or image.size)
        if hidden is None:
            return Decoded(frame.apply_image(image), frame, None)
        pixels, covered = frame.apply_occluded(image, hidden)
        if covered[frame.picture].all():
            raise UnreadableImageError(f"nothing of it is visible at the network's {size} pixels")
        return Decoded(pixels, frame, None, covered)
    except UnreadableImageError as error:
        return Decoded(None, None, str(error))


def decode_listed(listing: Listing, size: int, resize: Resize, index: int) -> Decoded:
    return decode_square(lambda fit: Opened(listing.open_image(index)), size, resize)


def decode_ahead(
    decode_one: Callable[[T], Decoded], wanted: Iterable[T], batch: int, threads: int = DECODERS
) -> Iterator[list[Decoded]]:
    """What is `wanted`, decoded, in order and in batches; at most three batches wait."""
    if batch < 1:
        raise UsageError(f"batch: expected 1 image or more, got {batch}")
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[Decoded]] = deque()
        try:
            for one in wanted:
                waiting.append(pool.submit(decode_one, one))
                if len(waiting) > batch:
                    waiting[-1 - batch].exception()  # frames of videos wait at their full size: few of them
                if len(waiting) == 3 * batch:
                    yield [waiting.popleft().result() for _ in range(batch)]
            while waiting:
                yield [waiting.popleft().result() for _ in range(min(batch, len(waiting)))]
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


@contextmanager
def half_of_the_cores() -> Iterator[None]:
    """Decoding an image takes about as long as the network needs for it: on a CPU each gets half of the cores.

    Measured on 2 cores: 1,061 images a second; 807 where both take both (docs/performance.md).
    """
    with SHARING:
        SHARED.append(torch.get_num_threads())
        torch.set_num_threads(max(1, SHARED[0] // 2))
    try:
        yield
    finally:
        with SHARING:  # the last of several streams gives all cores back
            threads = SHARED[0]
            SHARED.pop()
            if not SHARED:
                torch.set_num_threads(threads)


def stack_squares(held: list[Decoded], size: int) -> np.ndarray:
    """(B, S, S, 3) uint8; grey where an image could not be read."""
    squares = np.full((len(held), size, size, 3), 128, dtype=np.uint8)
    for row, decoded in enumerate(held):
        if decoded.pixels is not None:
            squares[row] = decoded.pixels
    return squares


class Look(NamedTuple):
    """What is found in a batch of images."""

    keypoints: torch.Tensor  # (B, N, 2) normalised
    confidence: torch.Tensor  # (B, N) in [0, 1]; NaN where the model is not calibrated
    strangeness: torch.Tensor  # (B,) relative to the limit that 99 % of training images stay below; NaN where not calibrated
    recalled: torch.Tensor  # (B, N, 2) the pose as the memory knows it


class Estimator:
    """A trained model on its device. The keypoint prior is distilled, and norms are folded, once, not for every batch."""

    def __init__(
        self,
        model: PosePriorLearner,
        compute: Compute,
        calibration: Calibration | None = None,
        occlusions: OcclusionFinder | None = None,
    ):
        self.model = compute.place(model).eval()
        self.compute = compute
        self.encoder = fold_norms(self.model.encoder)
        with torch.no_grad():
            self.prior = self.model.distil_prior()
            strengths = torch.from_numpy(link_strengths(self.model.link_weights().cpu().numpy())).float()
            # An idle keypoint may see what it always has seen, and yet tells nothing of the object.
            self.worth = torch.where(strengths < IDLE_BELOW, strengths, 1).to(compute.device)
        self.calibration = calibration and Calibration(*(part.to(compute.device) for part in calibration))
        self.occlusions = occlusions and compute.place(occlusions).eval()

    def to_images(self, squares: np.ndarray) -> torch.Tensor:
        """(B, S, S, 3) uint8 -> (B, 3, S, S) in [-1, 1], on the device."""
        pixels, device = torch.from_numpy(squares), self.compute.device
        if device.type == "cuda":  # from pinned memory the copy waits for nothing, and nothing waits for it
            pixels = pixels.pin_memory().to(device, non_blocking=True)
        return to_unit(pixels.to(device).permute(0, 3, 1, 2))

    @torch.inference_mode()
    def estimate(self, images: torch.Tensor) -> Estimate:
        """images (B, 3, S, S) in [-1, 1]."""
        with self.compute.autocast():
            return self.encoder(images, self.prior)

    @torch.inference_mode()
    def look(self, images: torch.Tensor) -> Look:
        """images (B, 3, S, S) in [-1, 1] -> keypoints, and what can be said of them without labels."""
        estimate = self.estimate(images)
        keypoints = estimate.keypoints.float()
        recalled = self.model.recall(keypoints.nan_to_num()).keypoints.float()
        if self.calibration is None:
            nothing = torch.full_like(keypoints[..., 0], torch.nan)
            return Look(keypoints, nothing, nothing[:, 0], recalled)
        confidence, strangeness = self.calibration.judge(read_signs(estimate, recalled))
        return Look(keypoints, confidence * self.worth, strangeness / self.calibration.limit, recalled)

    @torch.inference_mode()
    def find_visible(self, images: torch.Tensor, frames: Sequence[Frame | None] = ()) -> torch.Tensor:
        """images (B, 3, S, S) in [-1, 1] -> (B, 1, S, S), 0 where something seems to hide the object, else 1.

        `frames` say where in its square each picture lies: padding, which would look like a cover, hides nothing, and the
        mirror image of the picture is looked at in its place. UsageError if the model has not learned to see covers.
        """
        if self.occlusions is None:
            raise UsageError(CANNOT_FIND)
        pictures, padding = images.clone(), torch.zeros_like(images[:, :1], dtype=torch.bool)
        for row, frame in enumerate(frames):
            if frame is not None and frame.inner != (frame.size, frame.size):
                rows, columns = frame.mirrored
                pictures[row] = images[row][:, rows[:, None], columns]
                padding[row] = True
                padding[row, 0][frame.picture] = False
        return self.occlusions.find_visible(pictures).masked_fill(padding, 1)

    def __call__(self, squares: np.ndarray) -> np.ndarray:
        """(B, S, S, 3) uint8 -> keypoints (B, N, 2), normalised."""
        return self.estimate(self.to_images(squares)).keypoints.cpu().numpy()


@dataclass
class Finder:
    """Finds poses with one look of the network: image -> square -> pose."""

    title: ClassVar[str] = "finding poses"
    shares_cores: ClassVar[bool] = True  # between the network and those who decode

    estimator: Estimator
    resize: Resize  # as the model was trained with
    names: Sequence[str]  # of the keypoints that are wanted
    kept: Sequence[int]  # their numbers

    @property
    def size(self) -> int:
        """Side of the network's square."""
        return self.estimator.model.sizes.image_size

    def find(self, held: list[Decoded], first: int = 0) -> list[Pose]:
        """Poses of a batch; `first` is the index of the first image."""
        look = self.estimator.look(self.estimator.to_images(stack_squares(held, self.size)))
        keypoints, confidence, strangeness = (part.cpu().numpy() for part in look[:3])
        finite = np.isfinite(keypoints).all((1, 2))
        keypoints, confidence = keypoints[:, self.kept], confidence[:, self.kept].astype(np.float64)
        poses = []
        for row, decoded in enumerate(held):
            if (frame := decoded.frame) is None:
                poses.append(self.no_pose(first + row, decoded.problem))
            elif not finite[row]:
                poses.append(self.no_pose(first + row, NOT_FINITE))
            else:
                found, explained = frame.to_pixels(keypoints[row]), is_explained(strangeness[row])
                sizes = frame.width, frame.height
                poses.append(Pose(first + row, *sizes, found, confidence[row], explained=explained, names=self.names))
        return poses

    def no_pose(self, index: int, problem: str | None) -> Pose:
        nothing = np.full((len(self.kept), 2), np.nan)
        return Pose(index, None, None, nothing, nothing[:, 0], problem, names=self.names)


def is_explained(strangeness: float) -> bool | None:
    """None where the model is not calibrated."""
    return None if np.isnan(strangeness) else bool(strangeness <= 1)


def stream_poses(finder: Finder, openers: Iterable[Opener], batch: int, first: int = 0) -> Iterator[list[Pose]]:
    """Poses, in order and in batches, of what each of `openers` opens in a thread of its own; `first`: index of the first."""
    on_cpu = finder.estimator.compute.device.type == "cpu"
    threads = DECODERS if on_cpu else min(CORES, MOST_DECODERS)

    def decode_one(opener: Opener) -> Decoded:
        return decode_square(opener, finder.size, finder.resize)

    # A thread of its own for the network: while it computes a batch, the one before is drawn and written.
    with half_of_the_cores() if finder.shares_cores else nullcontext(), ThreadPoolExecutor(1) as network:
        before: Future[list[Pose]] | None = None
        for held in decode_ahead(decode_one, openers, batch, threads):
            running = network.submit(finder.find, held, first)
            first += len(held)
            if before is not None:
                yield before.result()
            before = running
        if before is not None:
            yield before.result()
