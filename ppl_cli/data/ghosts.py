"""Other images of the batch shine through what the encoder sees, as ghosts.

Else keypoints lean on a background that is the same in all training images, and leave the object before another one.
"""

import torch


def random_ghosts(batch: int, most: float, generator: torch.Generator) -> torch.Tensor:
    """(batch,): how strongly a ghost shines through each image, between 0 and `most` of its own contrast."""
    return most * torch.rand(batch, generator=generator, device=generator.device)


def add_ghosts(images: torch.Tensor, strengths: torch.Tensor) -> torch.Tensor:
    """images (B, 3, S, S), strengths (B,) -> (B, 3, S, S): over each the next image of the batch, upside down.

    The mean colour of an image stays as it is.
    """
    others = images.roll(1, 0).flip(-2)
    return images + strengths[:, None, None, None] * (others - others.mean((2, 3), keepdim=True))
