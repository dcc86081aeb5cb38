"""Random affine changes of an image, for learning that keypoints move as the image does."""

import math

import torch
import torch.nn.functional as F

ROTATION, SCALE, SHIFT = 0.4, 0.2, 0.15  # largest: radians, relative, in units of half the image


def random_affine(batch: int, generator: torch.Generator, strength: float = 1.0, rotate: bool = False) -> torch.Tensor:
    """(batch, 2, 3) maps from (x, y, 1) in the WARPED image to (x, y) in the original, both in [-1, 1].

    `rotate`: turned by any angle, whatever the `strength` of the rest.
    """
    noise = torch.rand(4, batch, generator=generator, device=generator.device) * 2 - 1
    angle, scale, x, y = (strength * noise).unbind()
    angle, scale = math.pi * noise[0] if rotate else ROTATION * angle, 1 + scale * SCALE
    cos, sin = scale * angle.cos(), scale * angle.sin()
    return torch.stack((cos, -sin, x * SHIFT, sin, cos, y * SHIFT), -1).unflatten(-1, (2, 3))


def warp_images(images: torch.Tensor, affine: torch.Tensor) -> torch.Tensor:
    """images (B, 3, S, S), affine as above -> (B, 3, S, S); what lies outside the image is its mirror image."""
    # align_corners: -1 and +1 are the centres of the first and last pixel, our convention everywhere.
    grid = F.affine_grid(affine.to(images.dtype), list(images.shape), align_corners=True)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=True)
