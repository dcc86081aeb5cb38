"""What a model finds on annotated images, whole and occluded, beside what is annotated."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from ppl_cli.data.frame import Frame
from ppl_cli.data.listing import Listing
from ppl_cli.data.occlusion import Occlusion, visible_pixels
from ppl_cli.errors import PPLError, UsageError
from ppl_cli.evaluation.protocols import Sample
from ppl_cli.inference.estimate import Decoded, Estimator, decode_ahead, decode_square, stack_squares
from ppl_cli.inference.refine import Options, refine


@dataclass
class Annotated:
    """A batch of images that could be read: their places in the listing, squares, frames, truth in shares."""

    indices: list[int]
    squares: np.ndarray  # (B, S, S, 3) uint8
    frames: list[Frame]
    truth: np.ndarray  # (B, K, 2)

    def shares(self, keypoints: np.ndarray) -> np.ndarray:
        """(B, N, 2) normalised -> shares of the image side."""
        pairs = zip(self.frames, keypoints, strict=True)
        return np.stack([frame.to_shares(frame.to_pixels(points)) for frame, points in pairs])


class Reader:
    """Reads annotated images in batches, and keeps what is wrong with them for the user: `notes`."""

    def __init__(self, listing: Listing, size: int, resize: str, batch: int, strict: bool, title: str):
        self.listing, self.size, self.resize, self.batch = listing, size, resize, batch
        self.strict, self.title = strict, title
        self.unreadable: list[str] = []
        self.outside: list[str] = []  # keypoints beyond the edge of their image

    def __iter__(self) -> Iterator[Annotated]:
        first = 0
        with tqdm(total=len(self.listing), desc=self.title, unit="image", disable=None, leave=False) as bar:
            for held in decode_ahead(self.decode_one, len(self.listing), self.batch):
                batch = self.readable(held, first)
                if batch.indices:
                    yield batch
                first += len(held)
                bar.update(len(held))
        if len(self.unreadable) == len(self.listing):
            raise PPLError(f"none of the {len(self.listing)} annotated images can be read; the first: {self.unreadable[0]}")

    def decode_one(self, index: int) -> Decoded:
        return decode_square(self.listing.open_image, index, self.size, self.resize)

    def readable(self, held: list[Decoded], first: int) -> Annotated:
        rows, frames, truth = [], [], []
        for row, decoded in enumerate(held):
            name = self.listing.names[first + row]
            if decoded.frame is None:
                if self.strict:
                    raise PPLError(f"{name}: {decoded.problem} (--strict stops at the first unreadable image)")
                self.unreadable.append(f"{name}: {decoded.problem}")
                continue
            size = (decoded.frame.width, decoded.frame.height)
            if self.listing.sizes is not None and self.listing.sizes[first + row] != size:
                said = "x".join(map(str, self.listing.sizes[first + row]))
                raise UsageError(
                    f"{name} has {size[0]}x{size[1]} pixels, its annotation says {said}: annotate images as they are displayed"
                )
            points = self.listing.keypoints_px(first + row, size)
            if ((points < -0.5) | (points > np.array(size) - 0.5)).any():
                self.outside.append(name)
            rows.append(row)
            frames.append(decoded.frame)
            truth.append(decoded.frame.to_shares(points))
        squares = stack_squares([held[row] for row in rows], self.size)
        return Annotated([first + row for row in rows], squares, frames, np.array(truth))

    @property
    def notes(self) -> list[str]:
        lines = []
        if self.unreadable:
            lines.append(
                f"{len(self.unreadable)} annotated images cannot be read and are left out; the first: {self.unreadable[0]}"
            )
        if self.outside:
            lines.append(
                f"{len(self.outside)} images have keypoints beyond their edge, used as they are; the first: {self.outside[0]}"
            )
        return lines


def collect(estimator: Estimator, reader: Reader) -> Sample:
    """Keypoints found on the images as they are."""
    return gather(reader, lambda batch: [estimator(batch.squares)[0]])[0]


def collect_occluded(
    estimator: Estimator, reader: Reader, occlusions: list[Occlusion], options: Options, seed: int
) -> list[list[Sample]]:
    """For every occlusion and every iteration of refinement (0: none), keypoints found on the occluded images."""

    def find(batch: Annotated) -> list[np.ndarray]:
        images = estimator.to_images(batch.squares)
        found: list[np.ndarray] = []
        for occlusion in occlusions:
            hidden = np.concatenate([occlusion.hidden(range(index, index + 1), seed) for index in batch.indices])
            visible = visible_pixels(hidden, reader.size).to(images.device)
            found += list(refine(estimator, images, visible, options).keypoints.cpu().numpy())
        return found

    samples = gather(reader, find)
    steps = options.iterations + 1
    return [samples[at : at + steps] for at in range(0, len(samples), steps)]


def gather(reader: Reader, find: Callable[[Annotated], list[np.ndarray]]) -> list[Sample]:
    """Run `find` over all batches; a sample for each of the arrays (B, N, 2), normalised, that it returns."""
    found: list[list[np.ndarray]] = []
    names: list[str] = []
    truth, sides = [], []
    for batch in reader:
        arrays = [batch.shares(keypoints) for keypoints in find(batch)]
        found = found or [[] for _ in arrays]
        for kept, array in zip(found, arrays, strict=True):
            kept.append(array)
        names += [reader.listing.names[index] for index in batch.indices]
        truth.append(batch.truth)
        sides += [frame.sides for frame in batch.frames]
    everything = np.concatenate(truth), np.array(sides, np.float64)
    samples = [Sample(names, np.concatenate(kept), *everything, reader.listing.keypoint_names) for kept in found]
    for sample in samples:
        check_found(sample)
    return samples


def check_found(sample: Sample) -> None:
    wrong = np.flatnonzero(~np.isfinite(sample.found).all((1, 2)))
    if len(wrong):
        raise PPLError(f"the model finds no finite keypoints on {len(wrong)} images, among them {sample.names[wrong[0]]}")
