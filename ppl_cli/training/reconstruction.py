"""Which reconstruction loss to train with, and where its pretrained weights come from."""

import sys
import urllib.error
from contextlib import redirect_stdout
from pathlib import Path

import torch

from ppl_cli.config.sections import LossConfig
from ppl_cli.errors import PPLError, UsageError
from ppl_cli.model.losses import VGG_STAGES, MultiscaleLoss, PerceptualLoss
from ppl_cli.text import in_one_line
from ppl_cli.training.pretrained import read_weights


def reconstruction_loss(config: LossConfig) -> torch.nn.Module:
    """Module (reconstruction, images) -> scalar. Never part of a checkpoint."""
    if config.kind == "multiscale":
        return MultiscaleLoss()
    weights = read_weights(Path(config.weights), "--perceptual-weights") if config.weights else download_weights(config.network)
    try:
        return PerceptualLoss(weights, config.network, config.stages, config.size)
    except (KeyError, RuntimeError, TypeError, AttributeError, IndexError) as error:
        reason = in_one_line(error)
        last = sum(VGG_STAGES[config.network][: config.stages])
        raise UsageError(
            f"{config.weights}: does not hold the first {last} convolutions of torchvision's {config.network} ({reason})"
        ) from error


def download_weights(network: str) -> dict[str, torch.Tensor]:
    """torchvision's ImageNet weights, from its cache or the network, with its progress bar."""
    from torchvision.models import VGG16_Weights, VGG19_Weights

    weights = {"vgg16": VGG16_Weights, "vgg19": VGG19_Weights}[network].IMAGENET1K_V1
    try:
        with redirect_stdout(sys.stderr):  # torch announces the download on stdout, where only results belong
            return weights.get_state_dict(progress=True, check_hash=True)
    except (urllib.error.URLError, OSError, RuntimeError) as error:
        cache = Path(torch.hub.get_dir()) / "checkpoints" / weights.url.rsplit("/", 1)[-1]
        raise PPLError(
            f"cannot download the {network} weights of the perceptual loss ({error}): put {cache.name} into {cache.parent}, "
            "or pass --perceptual-weights FILE, or train without them: --set loss.kind=multiscale"
        ) from error
