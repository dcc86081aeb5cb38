"""Reference image and skeleton map -> image: a U-Net (docs/method.md, step 8)."""

import torch
from torch import nn

from ppl_cli.model.blocks import UNetDown, UNetUp, conv3x3, leak


class Decoder(nn.Module):
    """`width` is the number of channels at full resolution (64 in the paper). S must be a multiple of 16."""

    def __init__(self, width: int):
        super().__init__()
        w = width
        self.first = conv3x3(4, w)
        self.down1, self.down2 = UNetDown(w, 2 * w), UNetDown(2 * w, 4 * w)
        self.down3, self.down4 = UNetDown(4 * w, 8 * w), UNetDown(8 * w, 8 * w)
        self.up1, self.up2 = UNetUp(8 * w, 8 * w), UNetUp(16 * w, 4 * w)
        self.up3, self.up4 = UNetUp(8 * w, 2 * w), UNetUp(4 * w, w)
        self.last = conv3x3(2 * w, 3)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, a=0.2)
                nn.init.zeros_(module.bias)

    def forward(self, reference: torch.Tensor, skeleton_map: torch.Tensor) -> torch.Tensor:
        """reference (B, 3, S, S) in [-1, 1], skeleton_map (B, 1, S, S) -> image (B, 3, S, S), unbounded."""
        x0 = leak(self.first(torch.cat((reference, skeleton_map), 1)))
        x1 = self.down1(x0)
        x2 = self.down2(x1)
        x3 = self.down3(x2)
        x = self.up1(self.down4(x3))
        x = self.up2(torch.cat((x, x3), 1))
        x = self.up3(torch.cat((x, x2), 1))
        x = self.up4(torch.cat((x, x1), 1))
        return self.last(torch.cat((x, x0), 1))
