"""Random changes of an image, for learning that keypoints move as the image does: affine ones, and smooth bends.

Bends tell where in the image a keypoint lies. Where an image is turned, moved or scaled as a whole, a point beside a paw moves
as the paw does; where it is bent, only points on the paw do.
"""

import math

import torch
import torch.nn.functional as F

ROTATION, SCALE, SHIFT = 0.4, 0.2, 0.15  # largest: radians, relative, in units of half the image
WAVES, SHORTEST, LONGEST = 3, 0.8, 2.8  # that bend each coordinate; their lengths, in units of half the image


def random_affine(batch: int, generator: torch.Generator, strength: float = 1.0, rotate: bool = False) -> torch.Tensor:
    """(batch, 2, 3) maps from (x, y, 1) in the WARPED image to (x, y) in the original, both in [-1, 1].

    `rotate`: turned by any angle, whatever the `strength` of the rest.
    """
    noise = torch.rand(4, batch, generator=generator, device=generator.device) * 2 - 1
    angle, scale, x, y = (strength * noise).unbind()
    angle, scale = math.pi * noise[0] if rotate else ROTATION * angle, 1 + scale * SCALE
    cos, sin = scale * angle.cos(), scale * angle.sin()
    return torch.stack((cos, -sin, x * SHIFT, sin, cos, y * SHIFT), -1).unflatten(-1, (2, 3))


def random_bends(batch: int, strength: float, generator: torch.Generator) -> torch.Tensor:
    """(batch, WAVES, 2, 4): wave vector (x, y), phase and height of the waves that are added to each coordinate.

    One wave stretches by at most `strength` / sqrt(WAVES), all together rarely by more than `strength`.
    """
    direction, length, phase, height = torch.rand(batch, WAVES, 2, 4, generator=generator, device=generator.device).unbind(-1)
    number = 2 * math.pi / (SHORTEST + (LONGEST - SHORTEST) * length)  # radians over half the image
    direction, height = 2 * math.pi * direction, strength * height / number / math.sqrt(WAVES)
    return torch.stack((number * direction.cos(), number * direction.sin(), 2 * math.pi * phase, height), -1)


def bring_back(points: torch.Tensor, affine: torch.Tensor, bends: torch.Tensor | None = None) -> torch.Tensor:
    """points (B, P, 2) of the warped images -> (B, P, 2), where they lie in the images; numbers as `affine` has them."""
    # Sums of products, not matrices: positions need more than the 8 bits of bfloat16 that autocast would leave them.
    back = (affine[:, None, :, :2] * points[:, :, None]).sum(-1) + affine[:, None, :, 2]
    if bends is None:
        return back
    turns = (bends[:, None, :, :, :2] * points[:, :, None, None]).sum(-1) + bends[:, None, :, :, 2]  # (B, P, WAVES, 2)
    return back + (turns.sin() * bends[:, None, :, :, 3]).sum(2)


def origins(like: torch.Tensor, affine: torch.Tensor, bends: torch.Tensor | None = None) -> torch.Tensor:
    """(B, S, S, 2): where each pixel of warped images `like` (B, C, S, S) comes from, normalised."""
    # align_corners: -1 and +1 are the centres of the first and last pixel, our convention everywhere.
    grid = F.affine_grid(affine.to(like.dtype), list(like.shape), align_corners=True)
    if bends is None:
        return grid
    y, x = (torch.linspace(-1, 1, side, device=like.device) for side in like.shape[2:])
    pixels = torch.stack((x.expand(len(y), -1), y[:, None].expand(-1, len(x))), -1).flatten(0, 1)
    return bring_back(pixels.expand(len(like), -1, -1), affine, bends).view_as(grid).to(grid)


def warp_images(images: torch.Tensor, affine: torch.Tensor, bends: torch.Tensor | None = None) -> torch.Tensor:
    """images (B, 3, S, S), affine and bends as above -> (B, 3, S, S); what lies outside the image is its mirror image."""
    grid = origins(images, affine, bends)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=True)
