"""Convolution blocks shared by the encoder and the decoder.

Source: docs/method.md, section "Blocks" (behaviour of the public original implementation of Pose Prior
Learner). Every block takes and returns (B, C, H, W); H and W must be even where a block halves them.
"""

import torch
import torch.nn.functional as F
from torch import nn


def halve(x: torch.Tensor) -> torch.Tensor:
    """(B, C, H, W) -> (B, C, H/2, W/2). For even sizes bilinear x0.5 IS the mean of each 2 x 2 cell."""
    return F.avg_pool2d(x, 2)


def double(x: torch.Tensor) -> torch.Tensor:
    """(B, C, H, W) -> (B, C, 2H, 2W), bilinear, align_corners False."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def conv3x3(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)


def halved_kernel(weight: torch.Tensor) -> torch.Tensor:
    """(O, C, 3, 3) -> (O, C, 4, 4): one convolution of stride 2 with it is the 3 x 3 convolution followed by `halve`.

    Both are linear, and the mean of a 2 x 2 cell of the results reads 4 x 4 pixels: 4 multiplications per input pixel,
    where the 3 x 3 convolution at full size takes 9.
    """
    return sum(F.pad(weight, (x, 1 - x, y, 1 - y)) for x in (0, 1) for y in (0, 1)) / 4


class ResidualDown(nn.Module):
    """Encoder block: two convolutions beside one, added; halves the side."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.side, self.side_norm = conv3x3(inputs, outputs), nn.BatchNorm2d(outputs)
        self.conv1, self.norm1 = conv3x3(inputs, outputs), nn.BatchNorm2d(outputs)
        self.conv2, self.norm2 = conv3x3(outputs, outputs), nn.BatchNorm2d(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # halve(side(x)) and halve(conv1(x)), which read the same pixels, in one convolution.
        kernels = halved_kernel(torch.cat((self.side.weight, self.conv1.weight)))
        biases = torch.cat((self.side.bias, self.conv1.bias))
        kernels = kernels.contiguous(memory_format=torch.channels_last)
        side, main = F.conv2d(x, kernels, biases, stride=2, padding=1).chunk(2, 1)
        side, main = self.side_norm(side), F.leaky_relu(self.norm1(main), 0.2)
        return F.leaky_relu(self.norm2(self.conv2(main)) + side, 0.2)


class UpConv(nn.Module):
    """Encoder block: doubles the side, then one convolution."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv, self.norm = conv3x3(inputs, outputs), nn.BatchNorm2d(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.leaky_relu(self.norm(self.conv(double(x))), 0.2)


class UNetDown(nn.Module):
    """Decoder block: two convolutions, then halves the side."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv1, self.norm1 = conv3x3(inputs, outputs), nn.BatchNorm2d(outputs)
        self.conv2, self.norm2 = conv3x3(outputs, outputs), nn.BatchNorm2d(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.leaky_relu(self.norm1(self.conv1(x)), 0.2)
        return F.leaky_relu(halve(self.norm2(self.conv2(x))), 0.2)


class UNetUp(nn.Module):
    """Decoder block: doubles the side, then two convolutions."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv1, self.norm1 = conv3x3(inputs, outputs), nn.BatchNorm2d(outputs)
        self.conv2, self.norm2 = conv3x3(outputs, outputs), nn.BatchNorm2d(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.leaky_relu(self.norm1(self.conv1(double(x))), 0.2)
        return F.leaky_relu(self.norm2(self.conv2(x)), 0.2)
