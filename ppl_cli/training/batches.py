"""What a training step sees: which images, flipped or not, and with which reference image.

Everything random is a function of (seed, step) alone. Resuming needs no stored random state: the step is enough.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch

from ppl_cli.config.sections import Config
from ppl_cli.data.image_set import ImageSet
from ppl_cli.data.references import keep_mask
from ppl_cli.data.units import to_unit
from ppl_cli.data.warp import random_affine, warp_images


class Batch(NamedTuple):
    images: torch.Tensor  # (B, 3, S, S) in [-1, 1]
    references: torch.Tensor  # (B, 3, S, S) in [-1, 1], 0 where hidden


@dataclass(frozen=True)
class Part:
    """The rows first ... first + count - 1 of a step's batch of `whole` rows.

    Processes and gradient accumulation cut batches into parts. Whatever is random is drawn for the whole batch, so that
    an image is changed in the same way however the batch is cut. But what comes from another image (ghosts, covers) comes from
    one of the same part.
    """

    first: int
    count: int
    whole: int

    @property
    def rows(self) -> slice:
        return slice(self.first, self.first + self.count)


def split_batch(batch: int, pieces: int, rank: int = 0, processes: int = 1) -> list[Part]:
    """The parts of process `rank`, each of which holds `batch` rows in `pieces` pieces."""
    size = batch // pieces
    return [Part(rank * batch + piece * size, size, batch * processes) for piece in range(pieces)]


def generator(device: torch.device | str, *key: int | str) -> torch.Generator:
    """A random stream of its own for each key, such as (seed, "mask", step)."""
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest, "little") >> 1)


@lru_cache(maxsize=4)
def shuffled(count: int, seed: int, number: int) -> torch.Tensor:
    """(count,) the order of pass `number` over the images."""
    return torch.randperm(count, generator=generator("cpu", seed, "order", number))


def batch_indices(step: int, batch: int, count: int, seed: int) -> torch.Tensor:
    """(batch,) indices of step `step` in an endless sequence of shuffled passes over `count` images.

    Works for fewer images than a batch, which then holds some of them twice.
    """
    first, last = step * batch, (step + 1) * batch
    passes = range(first // count, (last - 1) // count + 1)
    rows = torch.cat([shuffled(count, seed, number) for number in passes])
    return rows[first - passes[0] * count :][:batch]


def make_batch(images: ImageSet, step: int, config: Config, device: torch.device, part: Part | None = None) -> Batch:
    """Batch number `step`, or a part of it."""
    part = part or Part(0, config.train.batch, config.train.batch)
    indices = batch_indices(step, part.whole, len(images), config.seed)
    pixels = to_unit(images.fetch(indices[part.rows]).to(device, non_blocking=True))
    random = generator(device, config.seed, "augment", step)
    # Images that were turned head along x: flipped so, half of them would head the other way.
    change = augmentation(config, part, random, -1 if images.turns is None else -2)
    pixels = change(pixels)
    hidden = config.reference
    references = pixels * keep_mask(part.whole, hidden.cells, hidden.missing, config.model.image_size, random, part.rows)
    if hidden.kind == "video":
        others = images.other_frames(indices, generator("cpu", config.seed, "frames", step), hidden.near)[part.rows]
        frames = change(to_unit(images.fetch(others).to(device, non_blocking=True)))
        alone = images.pin(others == indices[part.rows]).to(device, non_blocking=True)  # an image among videos
        references = torch.where(alone[:, None, None, None], references, frames)
    return Batch(pixels, references)


def augmentation(config: Config, part: Part, random: torch.Generator, axis: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """One random flip, along `axis`, and warp for each image: a function that applies the same to images and to references."""
    flips = (torch.rand(part.whole, 1, 1, 1, generator=random, device=random.device) < 0.5)[part.rows]
    warp = config.train.warp
    affine = random_affine(part.whole, random, warp)[part.rows] if warp else None

    def change(pixels: torch.Tensor) -> torch.Tensor:
        pixels = torch.where(flips, pixels.flip(axis), pixels) if config.train.flip else pixels
        return pixels if affine is None else warp_images(pixels, affine)

    return change
