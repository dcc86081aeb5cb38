"""What the processes of a distributed training share within the model: running statistics and what the memory counts.

Without torch.distributed, or with one process, everything here gives back what it is given.
"""

import torch
import torch.distributed as dist
from torch import nn


def world_size() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def all_sum(values: torch.Tensor) -> torch.Tensor:
    """The sum over all processes, in place, without gradient."""
    if world_size() > 1:
        dist.all_reduce(values)
    return values


def all_rows(values: torch.Tensor) -> torch.Tensor:
    """(R, ...) of every process, as many rows each -> (processes x R, ...), in the order of the processes."""
    if world_size() == 1:
        return values
    rows = [torch.empty_like(values) for _ in range(world_size())]
    dist.all_gather(rows, values.contiguous())
    return torch.cat(rows)


@torch.no_grad()
def average_statistics(module: nn.Module) -> None:
    """Let the running statistics of batch norms, which each process takes from its own images, be their mean over all."""
    if world_size() == 1:
        return
    norms = [child for child in module.modules() if isinstance(child, nn.BatchNorm2d)]
    held = [statistic for norm in norms for statistic in (norm.running_mean, norm.running_var)]
    means = all_sum(torch.cat(held)) / world_size()  # one message for all
    torch._foreach_copy_(held, means.split([len(statistic) for statistic in held]))
