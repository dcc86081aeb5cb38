"""Convolution blocks shared by the encoder and the decoder.

Source: docs/method.md, section "Blocks" (behaviour of the public original implementation of Pose Prior
Learner). Every block takes and returns (B, C, H, W); H and W must be even where a block halves them.
"""

from copy import deepcopy

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ppl_cli.model.kernels import kernels_work

CELL = 4  # pixels of the image's side to one of the encoder's features
NORMED = {"conv": "norm", "conv1": "norm1", "conv2": "norm2", "side": "side_norm"}  # convolutions and the norms behind them


def halve(x: torch.Tensor) -> torch.Tensor:
    """(B, C, H, W) -> (B, C, H/2, W/2). For even sizes bilinear x0.5 IS the mean of each 2 x 2 cell."""
    return F.avg_pool2d(x, 2)


def double(x: torch.Tensor) -> torch.Tensor:
    """(B, C, H, W) -> (B, C, 2H, 2W), bilinear, align_corners False."""
    if x.is_cuda or torch.compiler.is_compiling():
        return double_by_slices(x)
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def double_by_slices(x: torch.Tensor) -> torch.Tensor:
    """`double`, whose gradient needs no atomic additions: on GPUs those are slow and come in any order.

    Compiled or on a GPU only: eager on a CPU a step takes 3 to 15 % longer with it.
    """
    x = x.permute(0, 2, 3, 1)  # channels last: every slice and the result keep that layout
    for axis in (1, 2):
        size = x.shape[axis]
        before = torch.cat((x.narrow(axis, 0, 1), x.narrow(axis, 0, size - 1)), axis)
        after = torch.cat((x.narrow(axis, 1, size - 1), x.narrow(axis, size - 1, 1)), axis)
        x = torch.stack((x.lerp(before, 0.25), x.lerp(after, 0.25)), axis + 1).flatten(axis, axis + 1)
    return x.permute(0, 3, 1, 2)


def convolve_doubled(conv: nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
    """`conv` of `double(x)`. On a GPU with a quarter of the multiplications (doubling_triton.py)."""
    if x.is_cuda and x.dtype != torch.float64 and kernels_work():
        from ppl_cli.model.doubling_triton import spread

        return spread(F.conv2d(x, tap_kernels(conv.weight)), conv.bias)
    return conv(double(x))


def tap_kernels(weight: torch.Tensor) -> torch.Tensor:
    """(O, C, 3, 3) -> (9 O, C, 1, 1): a 1 x 1 convolution for each tap, row by row."""
    kernels = weight.permute(2, 3, 0, 1).reshape(-1, weight.shape[1], 1, 1)
    return kernels.contiguous(memory_format=torch.channels_last)


def leak(x: torch.Tensor) -> torch.Tensor:
    """LeakyReLU of slope 0.2, in place: nothing before it (convolution, batch norm, sum, mean) needs its own result again."""
    return F.leaky_relu(x, 0.2, inplace=True)


def conv3x3(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)


def conv_to_norm(inputs: int, outputs: int) -> nn.Conv2d:
    """`conv3x3` that a batch norm follows, which takes the mean away again: its bias does nothing and is not trained.

    Its gradient would be 0 up to rounding, and Adam divides a gradient by its own size: the bias would walk about at random.
    """
    conv = conv3x3(inputs, outputs)
    conv.bias.requires_grad_(False)
    return conv


def halved_kernel(weight: torch.Tensor) -> torch.Tensor:
    """(O, C, 3, 3) -> (O, C, 4, 4): one convolution of stride 2 with it is the 3 x 3 convolution followed by `halve`.

    Both are linear, and the mean of a 2 x 2 cell of the results reads 4 x 4 pixels: 4 multiplications per input pixel,
    where the 3 x 3 convolution at full size takes 9.
    """
    return F.avg_pool2d(weight, 2, stride=1, padding=1)


def fold_norms(trained: nn.Module) -> nn.Module:
    """A copy for evaluation without gradients, the same up to rounding: each convolution does what the batch norm behind it
    did, in one pass over the pixels instead of two. The encoder then takes a sixth to a fifth less time on a CPU."""
    copy = deepcopy(trained).eval()
    for block in list(copy.modules()):
        if hasattr(block, "fold"):
            block.fold()
        for conv, norm in NORMED.items():
            if isinstance(getattr(block, norm, None), nn.BatchNorm2d):
                setattr(block, conv, fuse_conv_bn_eval(getattr(block, conv), getattr(block, norm)))
                setattr(block, norm, nn.Identity())
    return copy


class Chain(nn.Sequential):
    """nn.Sequential for compiling: of torch's own, PyTorch 2.7 to 2.11 do not trace the forward pass, only block by block."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self:
            x = block(x)
        return x


class SkipChain(Chain):
    """Blocks that halve the side, then blocks that double it, the first of which gets what had its size before added."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        before = None
        for block in self:
            if isinstance(block, ResidualDown):
                before, x = x, block(x)
            else:
                x = block(x) if before is None else block(x) + before
                before = None
        return x


class ResidualDown(nn.Module):
    """Encoder block: two convolutions beside one, added; halves the side."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.side, self.side_norm = conv_to_norm(inputs, outputs), nn.BatchNorm2d(outputs)
        self.conv1, self.norm1 = conv_to_norm(inputs, outputs), nn.BatchNorm2d(outputs)
        self.conv2, self.norm2 = conv_to_norm(outputs, outputs), nn.BatchNorm2d(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # halve(side(x)) and halve(conv1(x)), which read the same pixels, in one convolution.
        kernels = halved_kernel(torch.cat((self.side.weight, self.conv1.weight)))
        biases = torch.cat((self.side.bias, self.conv1.bias))
        kernels = kernels.contiguous(memory_format=torch.channels_last)
        side, main = F.conv2d(x, kernels, biases, stride=2, padding=1).chunk(2, 1)
        side, main = self.side_norm(side), leak(self.norm1(main))
        return leak(self.norm2(self.conv2(main)) + side)


class UpConv(nn.Module):
    """Encoder block: doubles the side, then one convolution."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv, self.norm = conv_to_norm(inputs, outputs), nn.BatchNorm2d(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return leak(self.norm(convolve_doubled(self.conv, x)))


class UNetDown(nn.Module):
    """Decoder block: two convolutions, then halves the side."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv1, self.norm1 = conv_to_norm(inputs, outputs), nn.BatchNorm2d(outputs)
        self.conv2, self.norm2 = conv_to_norm(outputs, outputs), nn.BatchNorm2d(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = leak(self.norm1(self.conv1(x)))
        return leak(halve(self.norm2(self.conv2(x))))


class UNetUp(nn.Module):
    """Decoder block: doubles the side, then two convolutions."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv1, self.norm1 = conv_to_norm(inputs, outputs), nn.BatchNorm2d(outputs)
        self.conv2, self.norm2 = conv_to_norm(outputs, outputs), nn.BatchNorm2d(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = leak(self.norm1(convolve_doubled(self.conv1, x)))
        return leak(self.norm2(self.conv2(x)))
