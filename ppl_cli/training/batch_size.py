"""`train.batch: auto`: the largest batch whose training step fits into the memory of the device."""

import math
import os

import psutil
import torch
from torch import nn

from ppl_cli.config.sections import Config
from ppl_cli.device import Compute
from ppl_cli.errors import UsageError
from ppl_cli.training.batches import Batch, Part
from ppl_cli.training.prepare import prepare_model
from ppl_cli.training.step import TrainingStep, draw_chance

LARGEST = 64  # the paper's batch
SHARE = 0.8  # of the free memory that a step may take
BEYOND = 1.6  # what a step takes at its peak, for each byte kept for the backward pass (measured: 1.1 to 1.5)


def largest_batch(config: Config, reconstruction_loss: nn.Module, compute: Compute) -> int:
    """A power of two up to 64, per process. UsageError if not even two images fit."""
    per_image = bytes_per_image(config, reconstruction_loss, compute)
    room = SHARE * free_memory(compute.device)
    fitting = int(room / (BEYOND * per_image))
    if fitting < 2:
        raise UsageError(
            f"train.batch=auto: a step takes {per_image / 2**30:.1f} GiB an image and {room / 2**30:.1f} GiB are free: "
            "use a smaller model (--set model.image_size=64 --set model.width=16)"
        )
    return min(2 ** int(math.log2(fitting)), LARGEST)


def bytes_per_image(config: Config, reconstruction_loss: nn.Module, compute: Compute) -> float:
    """What a forward pass keeps for the backward pass: the difference of four images and two."""
    step = TrainingStep(prepare_model(config, compute), compute.place(reconstruction_loss), config, compute)
    kept = {count: kept_bytes(step, config, compute, count) for count in (2, 4)}
    return (kept[4] - kept[2]) / 2


def kept_bytes(step: TrainingStep, config: Config, compute: Compute, count: int) -> int:
    sizes: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    size = config.model.image_size
    images = torch.zeros(count, 3, size, size, device=compute.device).contiguous(memory_format=torch.channels_last)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        outcome = step(Batch(images, images), draw_chance(config, 0, Part(0, count, count), compute.device))
    del outcome
    return sum(sizes.values())


def free_memory(device: torch.device) -> int:
    """Bytes that can be had: of the GPU, or of the machine."""
    if device.type == "cuda":
        torch.cuda.empty_cache()  # what was freed counts as taken while PyTorch keeps it
        return torch.cuda.mem_get_info(device)[0]
    here = int(os.environ.get("LOCAL_WORLD_SIZE", 1))  # processes that share this machine
    return psutil.virtual_memory().available // here
