"""What a model finds on annotated images, whole and occluded, beside what is annotated."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain

import numpy as np
from tqdm import tqdm

from ppl_cli.data.frame import Frame
from ppl_cli.data.listing import Listing
from ppl_cli.data.occlusion import Occlusion, visible_pixels
from ppl_cli.distributed import ALONE, World
from ppl_cli.errors import PPLError, UsageError
from ppl_cli.evaluation.protocols import Sample
from ppl_cli.inference.estimate import Decoded, Estimator, decode_ahead, decode_listed, stack_squares
from ppl_cli.inference.refine import Options, refine
from ppl_cli.text import counted, none_readable, note_left_out


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
    """Reads annotated images in batches, of several processes each its share; keeps what is wrong with them: `notes`."""

    def __init__(self, listing: Listing, size: int, resize: str, batch: int, strict: bool, title: str, world: World = ALONE):
        self.listing, self.size, self.resize, self.batch, self.world = listing, size, resize, batch, world
        self.strict, self.title = strict, title
        self.unreadable: list[str] = []
        self.outside: list[str] = []  # keypoints beyond the edge of their image

    def __iter__(self) -> Iterator[Annotated]:
        share = self.world.share(len(self.listing))
        first = share.start
        with tqdm(total=len(share), desc=self.title, unit="image", disable=None, leave=False) as bar:
            for held in decode_ahead(partial(decode_listed, self.listing, self.size, self.resize), share, self.batch):
                batch = self.readable(held, first)
                if batch.indices:
                    yield batch
                first += len(held)
                bar.update(len(held))
        self.unreadable, self.outside = (
            list(chain.from_iterable(self.world.from_all(lines))) for lines in (self.unreadable, self.outside)
        )
        if len(self.unreadable) == len(self.listing):
            raise PPLError(none_readable(self.unreadable, "annotated image"))

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
            if self.listing.sizes is not None and self.listing.sizes[first + row] not in (None, size):
                said = self.listing.sizes[first + row]
                turned = said == size[::-1]
                how = "annotate images as they are displayed" if turned else "give images of the size that was annotated"
                raise UsageError(f"{name} has {size[0]}x{size[1]} pixels, its annotation says {said[0]}x{said[1]}: {how}")
            points = self.listing.keypoints_px(first + row, size)
            if (~decoded.frame.inside(points) & ~np.isnan(points).any(-1)).any():
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
            lines.append(note_left_out(self.unreadable, "unreadable annotated image"))
        if self.outside:
            images = counted(len(self.outside), "image")
            lines.append(f"{images} with keypoints beyond the edge, used as they are; the first: {self.outside[0]}")
        return lines


def collect(estimator: Estimator, reader: Reader) -> Sample:
    """Keypoints found on the images as they are."""
    return gather(reader, lambda batch: [estimator(batch.squares)])[0]


def collect_occluded(
    estimator: Estimator, reader: Reader, occlusions: Sequence[Occlusion], options: Options, seed: int
) -> list[list[Sample]]:
    """For every occlusion and every iteration of refinement (0: none), keypoints found on the occluded images."""

    def find(batch: Annotated) -> list[np.ndarray]:
        images = estimator.to_images(batch.squares)
        found: list[np.ndarray] = []
        for occlusion in occlusions:
            hidden = np.stack([occlusion.hidden(index, seed) for index in batch.indices])
            visible = visible_pixels(hidden, reader.size).to(images.device)
            known = None if options.method == "found" else visible
            poses = refine(estimator, images * visible, known, options, frames=batch.frames).keypoints.cpu().numpy()
            if known is None:  # its first look leaves out what it takes for hidden; what `ppl infer` finds is the measure
                poses[0] = estimator.estimate(images * visible).keypoints.cpu().numpy()
            found += list(poses)
        return found

    samples = gather(reader, find)
    steps = options.iterations + 1
    return [samples[at : at + steps] for at in range(0, len(samples), steps)]


def gather(reader: Reader, find: Callable[[Annotated], list[np.ndarray]]) -> list[Sample]:
    """Run `find` over all batches; a sample for each of the arrays (B, N, 2), normalised, that it returns.

    Every process gets the samples of all of them.
    """
    ours = []
    for batch in reader:
        names = [reader.listing.names[index] for index in batch.indices]
        arrays = [batch.shares(keypoints) for keypoints in find(batch)]
        ours.append((names, batch.truth, [frame.sides for frame in batch.frames], arrays))
    names, truth, sides, found = zip(*chain.from_iterable(reader.world.from_all(ours)), strict=True)
    everything = np.concatenate(truth), np.concatenate(sides).astype(np.float64), reader.listing.keypoint_names
    samples = [
        Sample(list(chain.from_iterable(names)), np.concatenate(arrays), *everything) for arrays in zip(*found, strict=True)
    ]
    for sample in samples:
        wrong = np.flatnonzero(~np.isfinite(sample.found).all((1, 2)))
        if len(wrong):
            images = counted(len(wrong), "image")
            raise PPLError(f"the model finds no finite keypoints on {images}, among them {sample.names[wrong[0]]}")
    return samples
