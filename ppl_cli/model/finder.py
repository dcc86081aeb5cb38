"""What of an image hides the object: a small network that sees it in one look.

Ours, not the paper's: its refinement takes the whole image as visible. Training covers images at random and lets the network
find the covers (training/uncover.py), so it needs no labels. What it takes for hidden, refinement completes.
"""

import torch
import torch.nn.functional as F
from torch import nn

from ppl_cli.model.blocks import UpConv, leak

LEAST, MOST = 0.01, 0.6  # of an image: less than that are specks, more is an image of another kind; neither is hidden
LARGEST = 128  # pixels: larger images are looked at in this size, which is enough and learned in minutes on a CPU


class Down(nn.Module):
    """A convolution that halves the side, or keeps it with `stride` 1."""

    def __init__(self, inputs: int, outputs: int, stride: int = 2):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False), nn.BatchNorm2d(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return leak(self.norm(self.conv(x)))


class OcclusionFinder(nn.Module):
    """A U-Net of three halvings; its sides are multiples of 8."""

    def __init__(self, width: int = 8):
        super().__init__()
        w = width
        self.down = nn.ModuleList((Down(3, w, 1), Down(w, 2 * w), Down(2 * w, 4 * w), Down(4 * w, 8 * w)))
        self.up = nn.ModuleList((UpConv(8 * w, 4 * w), UpConv(4 * w, 2 * w), UpConv(2 * w, w)))
        self.decide = nn.Sequential(Down(w, w, 1), nn.Conv2d(w, 1, 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """images (B, 3, S, S) in [-1, 1] -> (B, 1, S, S), above 0 where hidden (logits)."""
        x, before = images.contiguous(memory_format=torch.channels_last), []
        for down in self.down:
            x = down(x)
            before.append(x)
        for up, same in zip(self.up, before[-2::-1], strict=True):
            x = up(x) + same
        return self.decide(x)

    def find_visible(self, images: torch.Tensor) -> torch.Tensor:
        """images (B, 3, S, S) in [-1, 1] -> (B, 1, S, S), 1 where the object would be seen, 0 where something hides it."""
        hidden = self(shrink(images)) > 0
        share = hidden.float().mean((1, 2, 3), keepdim=True)
        visible = ~(hidden & (share >= LEAST) & (share <= MOST))
        return F.interpolate(visible.float(), size=images.shape[-2:])


def shrink(images: torch.Tensor) -> torch.Tensor:
    """(B, 3, S, S) -> of at most LARGEST pixels a side."""
    return images if images.shape[-1] <= LARGEST else F.interpolate(images, size=(LARGEST, LARGEST), mode="area")
