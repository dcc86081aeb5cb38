"""What one training step computes, as one module: a batch goes in, losses come out.

It is what DistributedDataParallel wraps. Convolutions may run in bfloat16 and compiled; whatever looks at positions,
the memory and the losses stay in float32.
"""

from typing import NamedTuple

import torch
from torch import nn

from ppl_cli.config.sections import Config
from ppl_cli.data.warp import random_affine, warp_images
from ppl_cli.device import Compute
from ppl_cli.model.core import PosePriorLearner
from ppl_cli.model.losses import boundary_loss, configuration_loss, equivariance_loss, link_loss, separation_loss
from ppl_cli.training.batches import Batch, Part, draw_jitter, generator


def eased(config: Config, step: int) -> float:
    """Factor of the two losses that only lead the way: 1, then falling in a line to `loss.eased`."""
    loss = config.loss
    if not loss.ease_to:
        return 1.0
    done = min(max((step - loss.ease_from) / max(loss.ease_to - loss.ease_from, 1), 0.0), 1.0)
    return 1.0 + (loss.eased - 1.0) * done


class Outcome(NamedTuple):
    losses: dict[str, torch.Tensor]  # by name, weighted, each a mean over the batch
    keypoints: torch.Tensor  # (B, N, 2)
    tokens: torch.Tensor  # (B, banks, dimension) what the memory learns from, without gradient
    indices: torch.Tensor  # (B, banks)


class TrainingStep(nn.Module):
    def __init__(self, model: PosePriorLearner, reconstruction_loss: nn.Module, config: Config, compute: Compute):
        super().__init__()
        self.model, self.reconstruction_loss = model, reconstruction_loss
        self.config, self.compute = config, compute

    def forward(self, batch: Batch, step: int, part: Part) -> Outcome:
        """Step number `step`; `batch` is that part of it."""
        jitter = draw_jitter(self.config, step, batch.images.device, part)
        with self.compute.autocast():
            output = self.model(batch.images, batch.references, jitter)
            reconstruction = self.reconstruction_loss(output.reconstruction, batch.images)
        weights, keypoints = self.config.loss, output.estimate.keypoints
        lead = eased(self.config, step)
        losses = {
            "reconstruction": reconstruction,
            "boundary": weights.boundary * boundary_loss(keypoints),
            "configuration": configuration_loss(output.recall, keypoints),
        }
        if weights.links:
            prior = self.model.distil_prior()
            losses["links"] = weights.links * link_loss(keypoints, prior, self.model.link_weights())
        if weights.separation * lead:
            losses["separation"] = lead * weights.separation * separation_loss(keypoints)
        if weights.equivariance * lead:
            losses["equivariance"] = lead * weights.equivariance * self.equivariance(batch.images, keypoints, step, part)
        return Outcome(losses, keypoints.detach(), output.recall.tokens.detach(), output.recall.indices)

    def equivariance(self, images: torch.Tensor, keypoints: torch.Tensor, step: int, part: Part) -> torch.Tensor:
        random = generator(images.device, self.config.seed, "warp", step)
        affine = random_affine(part.whole, random)[part.rows]
        with self.compute.autocast():
            moved = self.model.estimate(warp_images(images, affine)).keypoints
        return equivariance_loss(keypoints, moved, affine)
