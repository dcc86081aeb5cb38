"""The plain path that benchmarks compare with: nothing fused, nothing kept, nothing ahead of time.

float32 (with TF32 in the convolutions of a GPU, PyTorch's default), eager, default memory layout, no search for the fastest
convolutions; the skeleton map with a tensor per link; encoder blocks that convolve at full size and halve afterwards; images
decoded by Pillow, one after the other, when a batch asks for them; an optimiser that loops over parameters.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from itertools import islice
from unittest.mock import patch

import torch
import torch.nn.functional as F

from ppl_cli.device import Compute
from ppl_cli.inference import estimate
from ppl_cli.model import blocks, core
from ppl_cli.model.blocks import ResidualDown, halve
from ppl_cli.model.frozen import FrozenConvReLU
from ppl_cli.model.skeleton import plain_skeleton_map
from ppl_cli.training import batches, graph, prepare


def plain_block(self: ResidualDown, x: torch.Tensor) -> torch.Tensor:
    side = self.side_norm(halve(self.side(x)))
    main = F.leaky_relu(self.norm1(halve(self.conv1(x))), 0.2)
    return F.leaky_relu(self.norm2(self.conv2(main)) + side, 0.2)


def plain_decode(decode_one, wanted: Iterable, batch: int, threads: int = 1) -> Iterator[list]:
    rest = iter(wanted)
    while several := list(islice(rest, batch)):
        yield [decode_one(one) for one in several]


def plain_relu(self: FrozenConvReLU, x: torch.Tensor) -> torch.Tensor:
    return F.relu(torch.nn.Conv2d.forward(self, x), inplace=True)


def plain_doubled(conv: torch.nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
    return conv(F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False))


def plain_unit(pixels: torch.Tensor) -> torch.Tensor:
    return pixels.float() / 127.5 - 1


def plain_step(*arguments) -> torch.nn.Module:
    step = prepare_step(*arguments)
    torch.backends.cudnn.benchmark = False
    return step


def plain_adam(groups: list[dict], rate: float, **settings) -> torch.optim.Optimizer:
    return torch.optim.Adam(groups, rate, **{**settings, "foreach": False, "fused": False})


prepare_step = prepare.prepare_step


@contextmanager
def as_written() -> Iterator[None]:
    """Within it doubling and the perceptual loss are computed as the method says it, for operations to be counted."""
    with (
        patch.object(blocks, "convolve_doubled", plain_doubled),
        patch.object(FrozenConvReLU, "forward", plain_relu),
        torch.compiler.set_stance("force_eager"),
    ):
        yield


@contextmanager
def plain_path() -> Iterator[None]:
    """Within it everything that ppl runs takes the plain path. Functions must be looked up in their modules, within it."""
    with (
        patch.object(core, "skeleton_map", plain_skeleton_map),
        patch.object(blocks, "convolve_doubled", plain_doubled),
        patch.object(FrozenConvReLU, "forward", plain_relu),
        patch.object(ResidualDown, "forward", plain_block),
        patch.object(Compute, "place", lambda self, module: module.to(self.device)),
        patch.object(batches, "to_unit", plain_unit),
        patch.object(prepare, "prepare_step", plain_step),
        patch.object(prepare, "compiles", lambda config, compute: False),
        patch.object(graph, "can_replay", lambda config, compute, world: False),
        patch.object(prepare, "Adam", plain_adam),
        patch.object(estimate, "decode_ahead", plain_decode),
        patch.object(estimate, "half_of_the_cores", nullcontext),
    ):
        yield
