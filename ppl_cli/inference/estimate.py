"""Poses of any number of images, streamed batch by batch: memory does not grow with their number.

Decoding runs ahead in threads while the network works. Nothing is kept once a batch is handed on.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from ppl_cli.data.frame import Frame
from ppl_cli.data.images import UnreadableImageError
from ppl_cli.device import Compute
from ppl_cli.model.core import PosePriorLearner
from ppl_cli.model.encoder import Estimate

CORES = os.cpu_count() or 1
DECODERS = max(1, min(8, CORES - CORES // 2))


@dataclass
class Pose:
    """The result of one image. `keypoints_px` (N, 2) (x, y) in pixels of the image as displayed; NaN if unreadable."""

    index: int  # place in the list of images
    width: int | None
    height: int | None
    keypoints_px: np.ndarray
    confidence: np.ndarray  # (N,) in [0, 1], NaN if unreadable
    problem: str | None = None  # why the image could not be read
    refined: "Refined | None" = None


@dataclass
class Refined:
    """What refinement adds to a pose. T is the number of iterations; the first pose is that of the image as it is."""

    keypoints_px: np.ndarray  # (T + 1, N, 2)
    confidence: np.ndarray  # (T + 1, N)
    used: int  # iterations that the image took
    visible: np.ndarray  # (T + 1, N) bool: within the picture and not where it is hidden
    moved_px: np.ndarray  # (N,) from the first pose to the last
    explained: bool | None  # whether the memory knows such a pose; None where the model does not say
    whole: bool = False  # nothing of the image is hidden, though it was said where things are


@dataclass
class Decoded:
    pixels: np.ndarray | None  # (S, S, 3) uint8
    frame: Frame | None
    problem: str | None
    hidden: np.ndarray | None = None  # (S, S) bool; None: nothing is known of what is hidden


def confidence(attention: torch.Tensor) -> torch.Tensor:
    """attention (B, N, h, w), each map summing to 1 -> (B, N) in [0, 1]: how concentrated it is.

    1 - entropy / log(h w): 1 where all attention lies on one cell, 0 where it is spread evenly. For a spread over k
    equal cells it is 1 - log k / log(h w), so it falls with every cell that shares the attention.
    """
    flat = attention.flatten(2)
    return (1 - torch.special.entr(flat).sum(-1) / np.log(flat.shape[-1])).clamp(0, 1)


def decode_square(open_image: Callable[[int], Image.Image], index: int, size: int, resize: str) -> Decoded:
    try:
        image = open_image(index)
    except UnreadableImageError as error:
        return Decoded(None, None, str(error))
    frame = Frame(*image.size, size, resize)
    return Decoded(frame.apply_image(image), frame, None)


def decode_ahead(decode_one: Callable[[int], Decoded], wanted: range, batch: int) -> Iterator[list[Decoded]]:
    """Batches of the decoded images `wanted`, in order; at most two batches wait."""
    with ThreadPoolExecutor(DECODERS) as pool:
        waiting: deque[Future[Decoded]] = deque()
        held: list[Decoded] = []
        try:
            for index in range(wanted.start, wanted.stop + 2 * batch):
                if index < wanted.stop:
                    waiting.append(pool.submit(decode_one, index))
                if waiting and (len(waiting) > 2 * batch or index >= wanted.stop):
                    held.append(waiting.popleft().result())
                if len(held) == batch or (held and not waiting):
                    yield held
                    held = []
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


@contextmanager
def half_of_the_cores() -> Iterator[None]:
    """Decoding an image takes about as long as the network needs for it: on a CPU each gets half of the cores.

    Measured on 2 cores: 1,061 images a second; 807 where both take both (README, Speed).
    """
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, before // 2))
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Estimator:
    """A trained model on its device. The keypoint prior is distilled once, not for every batch."""

    def __init__(self, model: PosePriorLearner, compute: Compute):
        self.model = compute.place(model).eval()
        self.compute = compute
        with torch.no_grad():
            self.prior = self.model.distil_prior()

    def to_images(self, squares: np.ndarray) -> torch.Tensor:
        """(B, S, S, 3) uint8 -> (B, 3, S, S) in [-1, 1], on the device."""
        pixels, device = torch.from_numpy(squares), self.compute.device
        if device.type == "cuda":  # from pinned memory the copy waits for nothing, and nothing waits for it
            pixels = pixels.pin_memory().to(device, non_blocking=True)
        pixels = pixels.to(device).permute(0, 3, 1, 2)
        return pixels.float().div(127.5).sub(1)

    @torch.inference_mode()
    def estimate(self, images: torch.Tensor) -> Estimate:
        """images (B, 3, S, S) in [-1, 1]."""
        with self.compute.autocast():
            return self.model.encoder(images, self.prior)

    def __call__(self, squares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(B, S, S, 3) uint8 -> keypoints (B, N, 2), normalised, and confidence (B, N)."""
        estimate = self.estimate(self.to_images(squares))
        return estimate.keypoints.cpu().numpy(), confidence(estimate.attention).cpu().numpy()


def estimate_poses(
    estimator: Estimator,
    open_image: Callable[[int], Image.Image],
    wanted: range,
    resize: str,
    batch: int,
) -> Iterator[Pose]:
    """One `Pose` for each of the images `wanted`, in order. `open_image(i)` gives RGB or raises UnreadableImageError."""
    first, size = wanted.start, estimator.model.sizes.image_size

    def decode_one(index: int) -> Decoded:
        return decode_square(open_image, index, size, resize)

    # A thread of its own for the network: while it computes a batch, the one before is written.
    with half_of_the_cores(), ThreadPoolExecutor(1) as network:
        before: Future[list[Pose]] | None = None
        for held in decode_ahead(decode_one, wanted, batch):
            running = network.submit(lambda held, first: list(poses_of_batch(estimator, held, first)), held, first)
            first += len(held)
            if before is not None:
                yield from before.result()
            before = running
        if before is not None:
            yield from before.result()


def stack_squares(held: list[Decoded], size: int) -> np.ndarray:
    """(B, S, S, 3) uint8; grey where an image could not be read."""
    squares = np.full((len(held), size, size, 3), 128, dtype=np.uint8)
    for row, decoded in enumerate(held):
        if decoded.pixels is not None:
            squares[row] = decoded.pixels
    return squares


def poses_of_batch(estimator: Estimator, held: list[Decoded], first: int) -> Iterator[Pose]:
    keypoints, sure = estimator(stack_squares(held, estimator.model.sizes.image_size))
    for row, decoded in enumerate(held):
        if decoded.frame is None:
            yield no_pose(first + row, decoded.problem, estimator)
        else:
            frame = decoded.frame
            yield Pose(first + row, frame.width, frame.height, frame.to_pixels(keypoints[row]), sure[row].astype(np.float64))


def no_pose(index: int, problem: str | None, estimator: Estimator) -> Pose:
    nothing = np.full((estimator.model.sizes.keypoints, 2), np.nan)
    return Pose(index, None, None, nothing, nothing[:, 0], problem)
