"""What the processes of a distributed training share within the model: batch statistics and what the memory counts.

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


class SyncedBatchNorm(nn.BatchNorm2d):
    """Batch statistics over all processes, on any device; torch's own does it on GPUs only.

    Every process must hold as many images. The gradient passes the sums, as it does in one process with all images.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training or world_size() == 1:
            return super().forward(x)
        with torch.autocast(x.device.type, enabled=False):
            values = x.to(self.weight.dtype)
            mean = AllMean.apply(values.mean((0, 2, 3)))
            centred = values - mean[:, None, None]
            variance = AllMean.apply(centred.square().mean((0, 2, 3)))
            count = values.numel() // len(mean) * world_size()
            with torch.no_grad():
                self.num_batches_tracked += 1
                self.running_mean.lerp_(mean, self.momentum)
                self.running_var.lerp_(variance * count / max(count - 1, 1), self.momentum)
            scale = self.weight * (variance + self.eps).rsqrt()
            return (centred * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)


class AllMean(torch.autograd.Function):
    """The mean over all processes. Its gradient is what all of them feel, so averaging over processes afterwards is right."""

    @staticmethod
    def forward(ctx, values):
        return all_sum(values.clone()) / world_size()

    @staticmethod
    def backward(ctx, gradient):
        return all_sum(gradient.clone()) / world_size()


def synchronise_batch_norm(module: nn.Module) -> nn.Module:
    """Let every batch normalisation of `module` see the images of all processes. Names of the state stay as they are."""
    if next(module.parameters()).is_cuda:
        return nn.SyncBatchNorm.convert_sync_batchnorm(module)
    for child in module.modules():
        if type(child) is nn.BatchNorm2d:
            child.__class__ = SyncedBatchNorm
    return module
