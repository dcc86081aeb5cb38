"""Pixels as the network takes them."""

import torch


def to_unit(pixels: torch.Tensor) -> torch.Tensor:
    """(B, 3, S, S) uint8 0..255 -> float [-1, 1], channels last."""
    return pixels.float().div_(127.5).sub_(1).contiguous(memory_format=torch.channels_last)
