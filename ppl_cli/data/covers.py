"""Parts of images covered at random, by shapes and in colours of all kinds: what hides an object may look like anything.

From them a network learns to tell covers from what belongs to an image (training/uncover.py), and the encoder to find
keypoints behind them (training/step.py).
"""

import math

import torch
import torch.nn.functional as F

from ppl_cli.data.light import change_light, random_light
from ppl_cli.data.warp import random_affine, warp_images

GRIDS = (8, 16, 32)  # cells along a side
BLOBS = 3  # at most, in an image
FAR = 3.0  # strength of a warp that brings other parts of an image where the own ones were


def random_covers(batch: int, size: int, generator: torch.Generator) -> torch.Tensor:
    """(batch, 1, size, size), 1 where covered: cells of a grid, turned rectangles and ellipses, bars, or nothing."""
    device = generator.device

    def between(low: float, high: float, *shape: int) -> torch.Tensor:
        return low + (high - low) * torch.rand(batch, *shape, generator=generator, device=device)

    x = torch.linspace(-1, 1, size, device=device)
    y = x[:, None]
    share = between(0.03, 0.4, 1, 1, 1)
    cells = choose([F.interpolate((between(0, 1, 1, n, n) < share).float(), size=(size, size)) for n in GRIDS], generator)

    angle = between(0, math.pi, BLOBS, 1, 1)
    right, down = x - between(-1, 1, BLOBS, 1, 1), y - between(-1, 1, BLOBS, 1, 1)
    along = (right * angle.cos() + down * angle.sin()) / between(0.05, 0.55, BLOBS, 1, 1)
    across = (down * angle.cos() - right * angle.sin()) / between(0.05, 0.55, BLOBS, 1, 1)
    inside = torch.where(between(0, 1, BLOBS, 1, 1) < 0.5, torch.maximum(along.abs(), across.abs()), along.hypot(across)) < 1
    there = torch.arange(BLOBS, device=device)[:, None, None] < between(1, BLOBS + 1, 1, 1, 1).floor()
    blobs = (inside & there).any(1, keepdim=True).float()

    angle = between(0, math.pi, 1, 1, 1)
    place = x * angle.cos() + y * angle.sin() + between(0, 1, 1, 1, 1)
    bars = (place.remainder(between(0.2, 0.8, 1, 1, 1)) < between(0.04, 0.16, 1, 1, 1)).float()
    return choose([torch.zeros_like(blobs), cells, blobs, blobs, bars], generator)


def random_fills(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """What covers `images` (B, 3, S, S), of the same shape and in [-1, 1]: one colour, smooth ones, noise, or another image."""
    batch, _, size, _ = images.shape
    device = generator.device

    def noise(channels: int, cells: int) -> torch.Tensor:
        values = 2 * torch.rand(batch, channels, cells, cells, generator=generator, device=device) - 1
        return F.interpolate(values, size=(size, size), mode="bicubic", align_corners=False).clamp(-1, 1)

    others = images.roll(1, 0)
    elsewhere = warp_images(others, random_affine(batch, generator, FAR))
    upside_down = change_light(others.flip(-2), random_light(batch, generator)).clamp(-1, 1)
    colour, grey = noise(3, 1), noise(1, 1).expand_as(images)
    textured = 0.6 * noise(3, size // 4) + 0.4 * colour
    kinds = [colour, grey, grey.sign(), noise(3, 3), textured, noise(3, size), elsewhere, upside_down]
    return choose(kinds, generator)


def random_colours(batch: int, generator: torch.Generator) -> torch.Tensor:
    """(batch, 3, 1, 1) in [-1, 1], half of them grey. A quarter is NaN: no colour, but another image."""
    values = 2 * torch.rand(batch, 3, 1, 1, generator=generator, device=generator.device) - 1
    grey = values[:, :1].expand_as(values)
    return choose([grey, grey, values, torch.full_like(values, torch.nan)], generator)


def hide(images: torch.Tensor, covers: torch.Tensor, colours: torch.Tensor) -> torch.Tensor:
    """images (B, 3, S, S) under covers (B, 1, S, S) in the colours of `random_colours`, or of the next image, upside down."""
    fills = torch.where(colours.isnan(), images.roll(1, 0).flip(-2), colours)
    return torch.lerp(images, fills, covers)


def choose(kinds: list[torch.Tensor], generator: torch.Generator) -> torch.Tensor:
    """Each row of a batch from one of the kinds, each (B, ...)."""
    rows = torch.arange(len(kinds[0]), device=generator.device)
    return torch.stack(kinds)[torch.randint(len(kinds), rows.shape, generator=generator, device=rows.device), rows]
