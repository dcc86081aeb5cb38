"""Random changes of light, for learning that keypoints do not depend on it: other sessions have other lamps and cameras."""

import torch

GAMMA, CONTRAST, BRIGHTNESS = 0.5, 0.4, 0.15  # largest: in powers of e, relative, in units of black to white


def random_light(batch: int, generator: torch.Generator) -> torch.Tensor:
    """(batch, 3): gamma, contrast and brightness of each image; (1, 1, 0) would change nothing."""
    gamma, contrast, brightness = (torch.rand(3, batch, generator=generator, device=generator.device) * 2 - 1).unbind()
    return torch.stack((torch.exp(GAMMA * gamma), 1 + CONTRAST * contrast, BRIGHTNESS * brightness), 1)


def change_light(images: torch.Tensor, light: torch.Tensor) -> torch.Tensor:
    """images (B, 3, S, S) in [-1, 1], light (B, 3) as above -> (B, 3, S, S), which may leave [-1, 1]."""
    gamma, contrast, brightness = light[:, :, None, None, None].unbind(1)
    x = ((images + 1) / 2).clamp(0, 1) ** gamma
    mean = x.mean((1, 2, 3), keepdim=True)
    return ((x - mean) * contrast + mean + brightness) * 2 - 1
