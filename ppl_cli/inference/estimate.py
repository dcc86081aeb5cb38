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
from ppl_cli.data.units import to_unit
from ppl_cli.device import Compute
from ppl_cli.errors import UsageError
from ppl_cli.model.core import PosePriorLearner
from ppl_cli.model.encoder import Estimate
from ppl_cli.results.pose import Pose

T = TypeVar("T")
NOT_FINITE = "the model finds no finite keypoints"
CORES = os.cpu_count() or 1
DECODERS = max(1, min(8, CORES - CORES // 2))  # beside a network that computes on the CPU
SHARING, SHARED = Lock(), []  # the numbers of threads that streams have found, the first of them before any was halved
MOST_DECODERS = 32  # beside one that computes elsewhere
LOOKED_AT, LOOK_EVERY = 32, 8  # poses that the memory is asked about: the first, and every eighth of the others


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
                    waiting[-1 - batch].exception()  # frames of videos wait undiminished: of those there shall be few
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


def confidence(attention: torch.Tensor) -> torch.Tensor:
    """attention (B, N, h, w), each map summing to 1 -> (B, N) in [0, 1]: how concentrated it is.

    1 - entropy / log(h w): 1 where all attention lies on one cell, 0 where it is spread evenly. For a spread over k
    equal cells it is 1 - log k / log(h w), so it falls with every cell that shares the attention.
    """
    flat = attention.flatten(2)
    return (1 - torch.special.entr(flat).sum(-1) / np.log(flat.shape[-1])).clamp(0, 1)


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
        return to_unit(pixels.to(device).permute(0, 3, 1, 2))

    @torch.inference_mode()
    def estimate(self, images: torch.Tensor) -> Estimate:
        """images (B, 3, S, S) in [-1, 1]."""
        with self.compute.autocast():
            return self.model.estimate(images, self.prior)

    @torch.inference_mode()
    def recall_distance(self, keypoints: torch.Tensor) -> torch.Tensor:
        """(B,): how far poses (B, N, 2), on the device, are from those recalled for them; normalised, mean of keypoints."""
        away = self.model.recall(keypoints.nan_to_num()).keypoints.float() - keypoints
        return away.norm(dim=-1).mean(-1)

    def __call__(self, squares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(B, S, S, 3) uint8 -> keypoints (B, N, 2), normalised, and confidence (B, N)."""
        estimate = self.estimate(self.to_images(squares))
        return estimate.keypoints.cpu().numpy(), confidence(estimate.attention).cpu().numpy()


@dataclass
class Finder:
    """Finds poses with one look of the network: image -> square -> pose."""

    title: ClassVar[str] = "finding poses"
    shares_cores: ClassVar[bool] = True  # between the network and those who decode

    estimator: Estimator
    resize: Resize  # as the model was trained with
    names: Sequence[str]  # of its keypoints
    typical: float | None  # poses further from the one recalled for them are not explained by the memory; None: nobody knows

    @property
    def size(self) -> int:
        """Side of the network's square."""
        return self.estimator.model.sizes.image_size

    def find(self, held: list[Decoded], first: int = 0) -> list[Pose]:
        """Poses of a batch; `first` is the index of the first image."""
        keypoints, sure = self.estimator(stack_squares(held, self.size))
        explained = self.explain(keypoints, first)
        poses = []
        for row, decoded in enumerate(held):
            if (frame := decoded.frame) is None:
                poses.append(self.no_pose(first + row, decoded.problem))
            elif not np.isfinite(keypoints[row]).all():
                poses.append(self.no_pose(first + row, NOT_FINITE))
            else:
                found, certain = frame.to_pixels(keypoints[row]), sure[row].astype(np.float64)
                known = {"explained": explained.get(row), "names": self.names}
                poses.append(Pose(first + row, frame.width, frame.height, found, certain, **known))
        return poses

    def explain(self, keypoints: np.ndarray, first: int) -> dict[int, bool]:
        """Whether the memory knows some of the poses (B, N, 2), by their rows: a sample says what kind of images these are, and
        on a CPU all would take a sixth of the network's time."""
        rows = [row for row in range(len(keypoints)) if first + row < LOOKED_AT or (first + row) % LOOK_EVERY == 0]
        if self.typical is None or not rows:
            return {}
        away = self.estimator.recall_distance(torch.from_numpy(keypoints[rows]).to(self.estimator.compute.device))
        return dict(zip(rows, (away <= self.typical).tolist(), strict=True))

    def no_pose(self, index: int, problem: str | None) -> Pose:
        nothing = np.full((self.estimator.model.sizes.keypoints, 2), np.nan)
        return Pose(index, None, None, nothing, nothing[:, 0], problem, names=self.names)


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
