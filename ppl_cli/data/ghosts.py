"""Other images of the batch shine through what the encoder sees, as ghosts.

Else keypoints lean on a background that is the same in all training images, and leave the object before another one.
"""

import torch


def random_ghosts(batch: int, most: float, mirrored: bool, generator: torch.Generator) -> torch.Tensor:
    """(batch,): how strongly a ghost shines through each image, up to `most` of its own contrast.

    Below 0, as half of them are where they are `mirrored`, it is turned left to right instead of upside down.
    """
    chance = torch.rand(batch, generator=generator, device=generator.device)
    return most * (2 * chance - 1 if mirrored else chance)


def add_ghosts(images: torch.Tensor, strengths: torch.Tensor) -> torch.Tensor:
    """images (B, 3, S, S), strengths (B,) -> (B, 3, S, S): over each the next image of the batch, upside down, or left to right
    where the strength is negative.

    The mean colour of an image stays as it is.
    """
    strengths, others = strengths[:, None, None, None], images.roll(1, 0)
    others = torch.where(strengths < 0, others.flip(-1), others.flip(-2))
    return images + strengths.abs() * (others - others.mean((2, 3), keepdim=True))
