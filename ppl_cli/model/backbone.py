"""Features of a pretrained network in place of the encoder's own convolutions: eyes that have seen the world.

The network is one of timm's and stays as it is (frozen, its batch norms too). Its features of 4, 8 and 16 pixels are each
normalised and mapped to the encoder's, added on the encoder's cells of 4 pixels, and mixed by one convolution. Only these
maps are learned.
"""

import re

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from ppl_cli.model.blocks import CELL, conv_to_norm, leak

STRIDES = (4, 8, 16)  # of the features that are taken [pixels]
FROZEN = "encoder.blocks.network."  # names of a model's tensors that are not learned, and in files take half of the memory


class BackboneError(ValueError):
    """There is no such network, or none that can be used, or weights are not its."""


class Backbone(nn.Module):
    """(B, 3, S, S) in [-1, 1] -> (B, features, S/4, S/4). Without values until `load`, or until a model file has filled it."""

    def __init__(self, name: str, features: int):
        super().__init__()
        self.network = build_network(name)
        mean, std = colours_of(name)
        self.register_buffer("scale", 0.5 / std)
        self.register_buffer("shift", (0.5 - mean) / std)
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels, affine=False) for channels in self.network.feature_info.channels())
        self.maps = nn.ModuleList(nn.Conv2d(channels, features, 1) for channels in self.network.feature_info.channels())
        self.added_norm = nn.BatchNorm2d(features)
        self.conv, self.norm = conv_to_norm(features, features), nn.BatchNorm2d(features)

    def train(self, mode: bool = True) -> "Backbone":
        super().train(mode)
        self.network.eval()
        return self

    def load(self, weights: dict[str, torch.Tensor]) -> None:
        """Fill the network with `weights` of timm's keys. BackboneError names the first tensor that does not fit."""
        # timm joins some names of parts where a network gives features: stages.0 is stages_0 there.
        given = {name.replace("_", "."): tensor for name, tensor in weights.items()}
        values = self.network.state_dict()
        for name in values:
            if name.endswith("num_batches_tracked"):
                continue
            tensor = given.get(name.replace("_", "."))
            if not isinstance(tensor, torch.Tensor) or tensor.shape != values[name].shape:
                raise BackboneError(f"{name} is missing or of another size")
            values[name] = as_stored(tensor).to(values[name].dtype)
        self.network.load_state_dict(values)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        size = images.shape[-1] // CELL
        with torch.no_grad():
            seen = self.network(images * self.scale + self.shift)
        mapped = (into(norm(features)) for features, norm, into in zip(seen, self.norms, self.maps, strict=True))
        added = sum(F.interpolate(features, size=(size, size), mode="bilinear", align_corners=False) for features in mapped)
        return leak(self.norm(self.conv(leak(self.added_norm(added)))))

    @torch.no_grad()
    def fold(self) -> None:
        """For evaluation alone: let the network's convolutions do what its batch norms do. It then takes a quarter less time.

        Names of its parts say nothing about their order, so one image shows which norm gets the result of which convolution.
        """
        made, folded = {}, {}

        def note(conv: nn.Module, inputs: tuple, result: torch.Tensor) -> None:
            made[id(result)] = conv, result  # kept, so that no other tensor takes its place in memory

        def look(norm: nn.Module, inputs: tuple) -> None:
            if id(inputs[0]) in made:
                folded[norm] = made[id(inputs[0])][0]

        parts = list(self.network.modules())
        hooks = [part.register_forward_hook(note) for part in parts if isinstance(part, nn.Conv2d)]
        hooks += [part.register_forward_pre_hook(look) for part in parts if isinstance(part, nn.BatchNorm2d)]
        self.network(torch.zeros(1, 3, 64, 64, device=self.scale.device))
        for hook in hooks:
            hook.remove()
        for part in parts:
            for name, norm in part.named_children():
                if norm in folded:
                    conv = folded[norm]
                    statistics = norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
                    conv.weight, conv.bias = fuse_conv_bn_weights(conv.weight, conv.bias, *statistics)
                    setattr(part, name, getattr(norm, "act", nn.Identity()))  # timm's norms have their activation in them


def as_stored(tensor: torch.Tensor) -> torch.Tensor:
    """What a model file keeps of a frozen tensor: kernels in half precision, which is all that features need."""
    return tensor.half() if tensor.is_floating_point() and tensor.ndim > 1 else tensor


def build_network(name: str) -> nn.Module:
    """timm's network that gives features of STRIDES, frozen, without pretrained weights. BackboneError if there is no such."""
    try:
        import timm
    except ImportError as error:
        raise BackboneError(f'{name}: timm is not installed; pip install "ppl-cli[backbone]"') from error
    # Never a place to download from, which timm would take too: model files of strangers have this name in them.
    if not re.fullmatch(r"\w+(\.\w+)?", name) or not timm.is_model(name):
        raise BackboneError(f"{name}: timm {timm.__version__} has no such network (timm.list_models())")
    try:
        with torch.device("meta"):
            strides = timm.create_model(name, features_only=True).feature_info.reduction()
        chosen = [strides.index(stride) for stride in STRIDES]
    except (RuntimeError, AttributeError, ValueError) as error:
        wanted = ", ".join(map(str, STRIDES))
        raise BackboneError(
            f"{name}: expected a network with features of strides {wanted}, as convolutional ones are"
        ) from error
    return timm.create_model(name, features_only=True, out_indices=chosen).requires_grad_(False).eval()


def colours_of(name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of RGB in [0, 1] that the network expects, each (3, 1, 1)."""
    import timm

    known = timm.get_pretrained_cfg(name)
    if known is None:
        raise BackboneError(f"{name}: timm has no pretrained weights of it")
    return torch.tensor(known.mean).reshape(3, 1, 1), torch.tensor(known.std).reshape(3, 1, 1)
