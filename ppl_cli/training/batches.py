"""What a training step sees: which images, flipped or not, and with which reference image.

Everything random is a function of (seed, step) alone. Resuming needs no stored random state: the step is enough.
"""

import hashlib
from collections.abc import Callable
from typing import NamedTuple

import torch

from ppl_cli.config import Config
from ppl_cli.data.image_set import ImageSet
from ppl_cli.data.references import keep_mask
from ppl_cli.data.warp import random_affine, random_rotation, warp_images
from ppl_cli.training.schedule import missing_share

OCCLUDER_CELLS = (32, 8)  # small and large holes take turns
GAIN, TINT, OFFSET = 0.5, 0.3, 0.4  # largest changes of colour: relative, relative per channel, of [-1, 1]


class Batch(NamedTuple):
    images: torch.Tensor  # (B, 3, S, S) in [-1, 1]
    inputs: torch.Tensor  # (B, 3, S, S) what the encoder sees of them: other colours (train.colour), holes (train.occlude)
    references: torch.Tensor  # (B, 3, S, S) in [-1, 1], 0 where hidden


def generator(device: torch.device | str, *key: int | str) -> torch.Generator:
    """A random stream of its own for each key, such as (seed, "mask", step)."""
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest, "little") >> 1)


def batch_indices(step: int, batch: int, count: int, seed: int) -> torch.Tensor:
    """(batch,) indices of step `step` in an endless row of shuffled passes over `count` images.

    Works for fewer images than a batch, which then holds some of them twice.
    """
    first, last = step * batch, (step + 1) * batch
    passes = range(first // count, (last - 1) // count + 1)
    rows = torch.cat([torch.randperm(count, generator=generator("cpu", seed, "order", number)) for number in passes])
    return rows[first - passes[0] * count :][:batch]


def to_unit(pixels: torch.Tensor) -> torch.Tensor:
    """uint8 0..255 -> float [-1, 1]."""
    return pixels.float().div_(127.5).sub_(1).contiguous(memory_format=torch.channels_last)


def make_batch(
    images: ImageSet, step: int, config: Config, device: torch.device, strict: bool = False, count: int | None = None
) -> Batch:
    """Batch number `step`, of `count` images (default train.batch)."""
    indices = batch_indices(step, count or config.train.batch, len(images), config.seed)
    pixels = to_unit(images.fetch(indices, strict).to(device, non_blocking=True))
    random = generator(device, config.seed, "augment", step)
    change = augmentation(config, len(indices), random)
    pixels = change(pixels)
    if config.reference.kind == "video":
        others = images.other_frames(indices, generator("cpu", config.seed, "frames", step))
        references = change(to_unit(images.fetch(others, strict).to(device, non_blocking=True)))
    else:
        cells, missing = mask_cells(config, step), missing_share(config, step)
        references = pixels * keep_mask(len(indices), cells, missing, config.model.image_size, random)
    return Batch(pixels, occlude(recolour(pixels, config, step), config, step), references)


def mask_cells(config: Config, step: int) -> int:
    cells = config.reference.cells
    if not config.reference.vary_cells:
        return cells
    return min((cells, max(cells // 2, 1), 2 * cells)[step % 3], config.model.image_size)


def recolour(pixels: torch.Tensor, config: Config, step: int) -> torch.Tensor:
    """Another brightness, contrast and tint for each image, up to `train.colour`."""
    strength = config.train.colour
    if not strength:
        return pixels
    random = generator(pixels.device, config.seed, "colour", step)
    noise = strength * (2 * torch.rand(5, len(pixels), generator=random, device=pixels.device) - 1)
    gain = (1 + GAIN * noise[0]) * (1 + TINT * noise[1:4])  # (3, B)
    return (pixels * gain.T[:, :, None, None] + OFFSET * noise[4, :, None, None, None]).clamp(-1, 1)


def occlude(pixels: torch.Tensor, config: Config, step: int) -> torch.Tensor:
    """Holes in every other image, of a random share up to `train.occlude`."""
    if not config.train.occlude:
        return pixels
    random = generator(pixels.device, config.seed, "occlude", step)
    share = config.train.occlude * torch.rand(len(pixels), 1, 1, 1, generator=random, device=pixels.device)
    share[1::2] = 0
    cells = OCCLUDER_CELLS[step % len(OCCLUDER_CELLS)]
    return pixels * keep_mask(len(pixels), cells, share, config.model.image_size, random)


def augmentation(config: Config, batch: int, random: torch.Generator) -> Callable[[torch.Tensor], torch.Tensor]:
    """One random flip and warp per image: a function that applies the same to images and to their references."""
    flips = torch.rand(batch, 1, 1, 1, generator=random, device=random.device) < 0.5
    affine = random_affine(batch, random, config.train.warp) if config.train.warp else None
    if config.train.rotate:
        affine = random_rotation(batch, random, config.train.rotate, affine)

    def change(pixels: torch.Tensor) -> torch.Tensor:
        pixels = torch.where(flips, pixels.flip(-1), pixels) if config.train.flip else pixels
        return pixels if affine is None else warp_images(pixels, affine)

    return change
