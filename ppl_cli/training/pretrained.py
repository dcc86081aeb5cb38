"""Weights that others have trained: from a file, or downloaded once. Only a training that begins needs them."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from ppl_cli.config.sections import Config
from ppl_cli.errors import PPLError, UsageError
from ppl_cli.model.backbone import Backbone, BackboneError
from ppl_cli.text import in_one_line


def read_weights(file: Path, option: str) -> dict[str, torch.Tensor]:
    """A safetensors or pth file, which `option` has named."""
    if not file.is_file():
        raise UsageError(f"{option} {file}: no such file")
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        return torch.load(file, map_location="cpu", weights_only=True)
    except (SafetensorError, RuntimeError, OSError, EOFError, ValueError) as error:
        raise UsageError(f"{option} {file}: not a readable safetensors or pth file") from error
    except Exception as error:  # weights_only refuses a pickle that names anything but tensors
        raise UsageError(f"{option} {file}: holds more than tensors and is not read for safety") from error


def read_backbone(config: Config) -> dict[str, torch.Tensor] | None:
    """The weights of `model.backbone`, for `Backbone.load`, which are seen to fit; None without one."""
    name, file = config.model.backbone, config.model.backbone_weights
    if name == "none":
        return None
    try:
        backbone = Backbone(name, 2 * config.model.width)
    except BackboneError as error:
        raise UsageError(f"model.backbone {error}") from error
    weights = read_weights(Path(file), "model.backbone_weights") if file else download_backbone(name)
    try:
        backbone.load(weights)
    except (BackboneError, AttributeError) as error:  # a pth file may hold anything instead of named tensors
        raise UsageError(f"{file}: does not hold the weights of timm's {name} ({in_one_line(error)})") from error
    return weights


def download_backbone(name: str) -> dict[str, torch.Tensor]:
    """timm's own, from its cache or the network."""
    import timm

    try:
        return timm.create_model(name, pretrained=True).state_dict()
    except Exception as error:  # of several libraries that download
        raise PPLError(
            f"cannot download the weights of {name} ({in_one_line(error)}): give them as a file with timm's keys, "
            "--set model.backbone_weights=FILE, or learn without: --set model.backbone=none"
        ) from error
