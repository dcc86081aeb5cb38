"""Which reconstruction loss to train with, and where its pretrained weights come from."""

import sys
import urllib.error
from contextlib import redirect_stdout
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from ppl_cli.config.sections import LossConfig
from ppl_cli.errors import PPLError, UsageError
from ppl_cli.model.losses import VGG_STAGES, MultiscaleLoss, PerceptualLoss
from ppl_cli.text import in_one_line


def reconstruction_loss(config: LossConfig) -> torch.nn.Module:
    """Module (reconstruction, images) -> scalar. Never part of a checkpoint."""
    if config.kind == "multiscale":
        return MultiscaleLoss(config.scales)
    weights = read_weights(Path(config.weights)) if config.weights else download_weights(config.network)
    try:
        return PerceptualLoss(weights, config.network, config.stages, config.size)
    except (KeyError, RuntimeError, TypeError, AttributeError, IndexError) as error:
        reason = in_one_line(error)
        last = sum(VGG_STAGES[config.network][: config.stages])
        raise UsageError(
            f"{config.weights}: does not hold the first {last} convolutions of torchvision's {config.network} ({reason})"
        ) from error


def read_weights(file: Path) -> dict[str, torch.Tensor]:
    """A safetensors or pth file with torchvision's names (`features.0.weight`, ...)."""
    if not file.is_file():
        raise UsageError(f"--perceptual-weights {file}: no such file")
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        return torch.load(file, map_location="cpu", weights_only=True)
    except (SafetensorError, RuntimeError, OSError, EOFError, ValueError) as error:
        raise UsageError(f"--perceptual-weights {file}: not a readable safetensors or pth file") from error
    except Exception as error:  # weights_only refuses a pickle that names anything but tensors
        raise UsageError(f"--perceptual-weights {file}: holds more than tensors and is not read for safety") from error


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
