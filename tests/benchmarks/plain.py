"""The plain path that benchmarks compare with: nothing fused, nothing kept, nothing ahead of time.

float32, eager, default memory layout; the skeleton map with a tensor per link; encoder blocks that convolve at full size and
halve afterwards; images decoded one after the other when a batch asks for them; an optimiser that loops over parameters.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from unittest.mock import patch

import torch
import torch.nn.functional as F

from ppl_cli.device import Compute
from ppl_cli.inference import estimate
from ppl_cli.model import core
from ppl_cli.model.blocks import ResidualDown, halve
from ppl_cli.model.skeleton import plain_skeleton_map


def plain_block(self: ResidualDown, x: torch.Tensor) -> torch.Tensor:
    side = self.side_norm(halve(self.side(x)))
    main = F.leaky_relu(self.norm1(halve(self.conv1(x))), 0.2)
    return F.leaky_relu(self.norm2(self.conv2(main)) + side, 0.2)


def plain_decode(decode_one, wanted: range, batch: int) -> Iterator[list]:
    for first in range(wanted.start, wanted.stop, batch):
        yield [decode_one(index) for index in range(first, min(first + batch, wanted.stop))]


@contextmanager
def plain_path() -> Iterator[None]:
    """Within it everything that ppl runs takes the plain path."""
    adam = torch.optim.Adam

    def plain_adam(groups, rate, **settings):
        return adam(groups, rate, foreach=False, fused=False)

    with (
        patch.object(core, "skeleton_map", plain_skeleton_map),
        patch.object(ResidualDown, "forward", plain_block),
        patch.object(Compute, "place", lambda self, module: module.to(self.device)),
        patch.object(torch.optim, "Adam", plain_adam),
        patch.object(estimate, "decode_ahead", plain_decode),
        patch.object(estimate, "half_of_the_cores", nullcontext),
    ):
        yield
