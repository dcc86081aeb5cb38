"""What one training step computes, as one module: a batch goes in, losses come out.

It is what DistributedDataParallel wraps. Convolutions may run in bfloat16 and compiled; whatever looks at positions,
the memory and the losses stay in float32. What changes from step to step comes in as tensors, so that a CUDA graph can
replay the rest (graph.py).
"""

from typing import NamedTuple

import torch
from torch import nn

from ppl_cli.config.sections import Config
from ppl_cli.data.covers import hide, random_colours, random_covers
from ppl_cli.data.cutout import cut_out, enclose
from ppl_cli.data.ghosts import add_ghosts, random_ghosts
from ppl_cli.data.light import change_light, random_light
from ppl_cli.data.warp import bring_back, origins, random_affine, random_bends, warp_images
from ppl_cli.device import Compute
from ppl_cli.model.core import Output, PosePriorLearner
from ppl_cli.model.losses import (
    anchor_loss,
    boundary_loss,
    configuration_loss,
    equivariance_loss,
    link_loss,
    relevance_loss,
    separation_loss,
    shortness_loss,
)
from ppl_cli.model.relevance import relevance_map
from ppl_cli.prior.links import IDLE_BELOW
from ppl_cli.training.batches import Batch, Part, generator


def eased(config: Config, step: int, start: int | None = None) -> float:
    """Factor of the two losses that only lead the way: 1, then falling in a line to `loss.eased`, from step `start` on."""
    loss = config.loss
    if not loss.ease_to:
        return 1.0
    start = loss.ease_from if start is None else start
    done = min(max((step - start) / max(loss.ease_to - loss.ease_from, 1), 0.0), 1.0)
    return 1.0 + (loss.eased - 1.0) * done


def turns(config: Config, step: int) -> bool:
    """Whether the second look is turned by any angle: it learns from the first, at the full weight of the equivariance loss,
    and separation leads once more.

    The first sees images as they are, mostly right. Were both to give way, keypoints would meet in the middle of the object, or
    the direction in the image tell which end is the head; were the background always turned too, it would tell
    (docs/experiments.md).
    """
    return config.train.rotate is True and step >= config.loss.turn_from


class Chance(NamedTuple):
    """What a step draws or looks up, beside its batch."""

    lead: torch.Tensor  # () see `eased`; the equivariance loss of turned looks keeps its weight
    anchor: torch.Tensor  # () how far the anchor loss counts, and that of relevance
    shortness: torch.Tensor  # () the same of the shortness loss
    jitter: torch.Tensor | None  # (B, N, 2) what is added to the keypoints that are drawn; None without `train.jitter`
    affine: torch.Tensor | None  # (B, 2, 3) the warps of the equivariance loss; None without it
    bends: torch.Tensor | None  # (B, W, 2, 4) the same; None without `loss.bend`
    alone: torch.Tensor | None  # (B,) whether the second look sees the object alone; None unless it is turned (see `turns`)
    covers: torch.Tensor | None  # (B, 1, S, S) 1 where something hides the object from the turned look; None as above
    colours: torch.Tensor | None  # (B, 3, 1, 1) of what hides it
    light: torch.Tensor | None  # (B, 2, 3) in which the encoder sees an image, and its warp; None without `train.light`
    ghosts: torch.Tensor | None  # (B, 2) how strongly others shine through both; None without `train.ghosts`

    def disturb(self, images: torch.Tensor, look: int) -> torch.Tensor:
        """images (B, 3, S, S) as the encoder sees them at look 0, or 1: that of the warped ones."""
        if self.light is not None:
            images = change_light(images, self.light[:, look])
        return images if self.ghosts is None else add_ghosts(images, self.ghosts[:, look])


def draw_chance(config: Config, step: int, part: Part, device: torch.device) -> Chance:
    """A function of (seed, step) alone, as the batch is."""
    turned, jitter, affine, bends, alone, covers, colours, light, ghosts = turns(config, step), *[None] * 8
    lead = eased(config, step, config.loss.turn_to if turned else None)
    if config.train.jitter:
        random = generator(device, config.seed, "jitter", step)
        shape = (part.whole, config.model.keypoints, 2)
        jitter = config.train.jitter * torch.randn(shape, generator=random, device=device)[part.rows]
    if config.loss.equivariance and (lead or turned):
        random = generator(device, config.seed, "warp", step)
        affine = random_affine(part.whole, random, rotate=turned)[part.rows]
        if turned:
            alone = (torch.rand(part.whole, generator=random, device=device) < 0.5)[part.rows]
        if config.loss.bend:
            bends = random_bends(part.whole, config.loss.bend, random)[part.rows]
        if turned and config.train.cover:
            random = generator(device, config.seed, "covers", step)
            there = torch.rand(part.whole, 1, 1, 1, generator=random, device=device) < config.train.cover
            covers = (there * random_covers(part.whole, config.model.image_size, random))[part.rows]
            colours = random_colours(part.whole, random)[part.rows]
    if config.train.light:
        light = random_light(2 * part.whole, generator(device, config.seed, "light", step)).unflatten(0, (-1, 2))[part.rows]
    if config.train.ghosts:
        random, mirrored = generator(device, config.seed, "ghosts", step), config.train.ghosts_mirrored is True
        ghosts = random_ghosts(2 * part.whole, config.train.ghosts, mirrored, random).unflatten(0, (-1, 2))[part.rows]
    # The anchor loss comes as the leading losses first leave the pose to the reconstruction: before, attention lies nowhere
    # and no pose matters.
    # The shortness loss comes once limbs are followed to their ends: it would keep keypoints from getting there.
    factors = (lead, 1 - eased(config, step), float(step >= config.loss.shorten_from))
    numbers = (torch.full((), factor, device=device) for factor in factors)
    return Chance(*numbers, jitter, affine, bends, alone, covers, colours, light, ghosts)


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

    def forward(self, batch: Batch, chance: Chance) -> Outcome:
        with self.compute.autocast():
            output = self.model(chance.disturb(batch.images, 0), batch.references, chance.jitter)
            reconstruction = self.reconstruction_loss(output.reconstruction, batch.images)
        weights, keypoints = self.config.loss, output.estimate.keypoints
        losses = {
            "reconstruction": reconstruction,
            "boundary": boundary_loss(keypoints),
            "configuration": configuration_loss(output.recall, keypoints),
        }
        if weights.links:
            prior = self.model.distil_prior()
            losses["links"] = weights.links * link_loss(keypoints, prior, self.model.link_weights())
        if weights.separation:
            losses["separation"] = chance.lead * weights.separation * separation_loss(keypoints)
        if weights.anchor:
            losses["anchor"] = chance.anchor * weights.anchor * anchor_loss(output.estimate)
        if weights.shortness:  # it moves keypoints, and lets links be
            shortness = shortness_loss(keypoints, self.model.link_weights().detach())
            losses["shortness"] = chance.shortness * weights.shortness * shortness
        if weights.relevance:
            maps = self.find_relevance(batch, output)
            losses["relevance"] = chance.anchor * weights.relevance * relevance_loss(keypoints[: len(maps)], maps)
        if chance.affine is not None:
            with self.compute.autocast():
                moved = self.model.estimate(self.second_look(batch.images, keypoints.detach(), chance)).keypoints
            turned = chance.alone is not None
            first, lead = (keypoints.detach(), 1.0) if turned else (keypoints, chance.lead)
            back = bring_back(moved, chance.affine, chance.bends)
            losses["equivariance"] = lead * weights.equivariance * equivariance_loss(first, back)
        return Outcome(losses, keypoints.detach(), output.recall.tokens.detach(), output.recall.indices)

    @torch.no_grad()
    def find_relevance(self, batch: Batch, output: Output) -> torch.Tensor:
        """(b, S, S) how much the pose matters in the first images of the batch, each drawn with that of another, too."""
        some = slice(max(2, len(batch.images) // 4))  # all of them would take 15 % of the step
        with self.compute.autocast():
            other = self.model.reconstruct(batch.references[some], output.skeleton_map[some].roll(1, 0))
        return relevance_map(batch.images[some], output.reconstruction[some], other)

    def second_look(self, images: torch.Tensor, keypoints: torch.Tensor, chance: Chance) -> torch.Tensor:
        """What the encoder sees of images (B, 3, S, S) for the equivariance loss; their keypoints are (B, N, 2)."""
        seen = chance.disturb(images, 1)
        warped = warp_images(seen, chance.affine, chance.bends)
        if chance.alone is None:
            return warped
        links = self.model.link_weights().detach().amax(1)
        disc = enclose(keypoints.to(links.dtype), links >= IDLE_BELOW * links.amax())
        cut = cut_out(warped, origins(warped, chance.affine, chance.bends), seen.mean(0, keepdim=True), *disc)
        turned = torch.where(chance.alone[:, None, None, None], cut, warped)
        return turned if chance.covers is None else hide(turned, chance.covers, chance.colours)


def take_step(step: nn.Module, batch: Batch, chance: Chance, pieces: int = 1) -> Outcome:
    """Forward and backward: adds the gradients of one of `pieces` parts of a batch; losses come without gradient."""
    outcome = step(batch, chance)
    (torch.stack(list(outcome.losses.values())).sum() / pieces).backward()
    return outcome._replace(losses={name: loss.detach() for name, loss in outcome.losses.items()})
