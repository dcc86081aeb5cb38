"""Convolutions of a network that is not trained, each with its ReLU.

On NVIDIA GPUs cuDNN does both in one pass: a ReLU of its own reads and writes the whole result once more (docs/gpu.md).
"""

import torch
import torch.nn.functional as F
from torch import nn

from ppl_cli.model.kernels import fuses_relu


class FrozenConvReLU(nn.Conv2d):
    """A 3 x 3 convolution and a ReLU: (B, C, H, W) -> (B, O, H, W). Gradients reach what it sees, not its weights."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__(inputs, outputs, 3, padding=1)
        self.requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.is_cuda and x.dtype != torch.float64 and fuses_relu():
            # Also an image of three channels: its layout decides that of the gradient, which would else be copied, 2.5 ms.
            return convolve_relu(x.contiguous(memory_format=torch.channels_last), self.weight, self.bias)
        return F.relu(super().forward(x), inplace=True)


@torch.library.custom_op("ppl::convolve_relu", mutates_args=())
def convolve_relu(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """relu(conv2d(x, weight, bias, padding=1)), all with channels last; `weight` and `bias` get no gradient."""
    return torch.cudnn_convolution_relu(x, weight, bias, (1, 1), (1, 1), (1, 1), 1)


def remember(ctx, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
    x, weight, _ = inputs
    ctx.save_for_backward(x, weight, output)


def go_back(ctx, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
    x, weight, output = ctx.saved_tensors
    gradient = torch.where(output > 0, gradient, 0)
    one, only_x = (1, 1), (True, False, False)
    to_x, _, _ = torch.ops.aten.convolution_backward(gradient, x, weight, None, one, one, one, False, (0, 0), 1, only_x)
    return to_x, None, None


convolve_relu.register_fake(lambda x, weight, bias: x.new_empty((len(x), *x.shape[2:], len(weight))).permute(0, 3, 1, 2))
convolve_relu.register_autograd(go_back, setup_context=remember)
convolve_relu.register_autocast("cuda", torch.bfloat16)
