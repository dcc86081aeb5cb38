"""A checkpoint of the authors' original implementation: a pickled whole module, read without executing it.

What the pickle holds are inert nodes; the modules among them form a tree whose tensors get the names that torch's
`state_dict` would give them. Sizes come from the shapes, the rest from attributes of the outermost module.
"""

import math
from pathlib import Path

import torch

from ppl_cli.config.loading import parse_config
from ppl_cli.config.sections import Config
from ppl_cli.errors import UsageError
from ppl_cli.files import refusing
from ppl_cli.model.core import LINK_SCALE
from ppl_cli.original.names import original_name, swap_coordinates
from ppl_cli.pickles.machine import Node, UnreadablePickleError
from ppl_cli.pickles.torch_zip import REBUILT, TorchZip, View, make_view
from ppl_cli.text import printable

_LAYERS = (
    *("Conv2d", "BatchNorm2d", "LeakyReLU", "ReLU", "GELU", "Upsample", "MaxPool2d"),
    *("Linear", "LayerNorm", "Dropout", "Sequential", "ModuleList"),
)
_BLOCKS = ["ResBlock", "TransposedBlock", "DownBlock", "UpBlock", "ResNetConditionalParameterRegressor", "ResNetReconstructor"]
_PARTS = ["PosePriorLearner", "Memory", "MixerLayer", "MLPBlock"]
NAMES = frozenset(
    [
        *REBUILT,
        *(("torch", name) for name in _LAYERS),
        *(("models.modules", name) for name in _BLOCKS),
        *(("models.pose_prior_learner", name) for name in _PARTS),
        ("utils.losses", "VGGPerceptualLoss"),
        ("__builtin__", "set"),
        ("builtins", "set"),
    ]
)
TOP = ("models.pose_prior_learner", "PosePriorLearner")
PERCEPTUAL = "vgg_loss"  # the perceptual network: 60 MB that only training needs
GRID = "regressor.coord"  # pixel grid of the features, four pixels to a cell; ours is computed
MOST_MODULES, DEEPEST = 2000, 12


class OriginalCheckpoint:
    """`tensors` by their original names, not yet read, and `config`. UsageError names the file and what is wrong."""

    def __init__(self, path: Path, archive: TorchZip):
        self.path, self.archive = path, archive
        top = archive.tree(NAMES)
        if not isinstance(top, Node) or (top.module, top.name) != TOP or top.args is None:
            found = top.name if isinstance(top, Node) else type(top).__name__
            raise UsageError(
                f"{path} holds {found}, not a whole model of the original implementation ({TOP[1]}); for a run of "
                "ppl train give its folder or its model.safetensors"
            )
        with refusing(path, "is damaged"):
            self.tensors = collect_tensors(top)
            self.scale = number(top.state, "sklr", LINK_SCALE)
            self.config = self.configuration(top.state)

    def configuration(self, attributes: dict) -> Config:
        keypoints, _ = self.shape("skeleton_scalar", 2)
        banks, vectors, dimension = self.shape("memory.codebook", 3)
        width = self.shape("regressor.conv.0.net.0.weight", 4)[0]
        told = number(attributes, "num_parts", keypoints)
        if told != keypoints:
            raise UnreadablePickleError(f"its attribute num_parts is {told:g}, its links join {keypoints} keypoints")
        size = self.image_size()
        # Only training uses these two; where a value cannot be one of ours, the paper's stands.
        cells, share = attributes.get("block"), attributes.get("missing")
        cells = cells if type(cells) is int and 1 <= cells <= size else 16
        share = share if type(share) in (int, float) and 0 <= share <= 1 else 0.8
        values = {
            "name": "reference",
            "data": {"resize": "squash"},
            "model": {
                "image_size": size,
                "keypoints": keypoints,
                "width": width,
                "banks": banks,
                "vectors": vectors,
                "dimension": dimension,
                "thickness": number(attributes, "thick"),
            },
            "reference": {"cells": cells, "missing": share},
            "loss": {"network": "vgg16"},
        }
        return parse_config(values, str(self.path))

    def shape(self, name: str, dimensions: int) -> tuple[int, ...]:
        view = self.tensors.get(name)
        if view is None or len(view.shape) != dimensions:
            raise UnreadablePickleError(f"the tensor {name} is missing or has another number of dimensions")
        return view.shape

    def image_size(self) -> int:
        grid = self.tensors.get(GRID)
        if grid is None:
            return 128
        side = math.isqrt(math.prod(grid.shape) // 2)
        if grid.shape != (1, side * side, 2):
            raise UnreadablePickleError(f"its tensor {GRID} is not a square grid")
        return 4 * side

    def read(self, name: str) -> torch.Tensor:
        """One of our tensors, by our name."""
        tensor = swap_coordinates(name, self.archive.read(self.tensors[original_name(name)]))
        return tensor * (self.scale / LINK_SCALE) if name == "raw_links" else tensor


def collect_tensors(top: Node) -> dict[str, View]:
    """Every parameter and buffer but those of the perceptual network."""
    tensors: dict[str, View] = {}
    modules = [("", top, 0)]
    seen = 0
    while modules:
        prefix, module, depth = modules.pop()
        seen += 1
        if seen > MOST_MODULES or depth > DEEPEST:
            raise UnreadablePickleError("its modules nest without end")
        where = prefix.rstrip(".") or TOP[1]
        state = module.state if isinstance(module, Node) else None
        if type(state) is not dict:
            raise UnreadablePickleError(f"the module {where} has no content")
        for kind in ("_parameters", "_buffers"):
            for name, value in members(state, kind, where):
                if value is None:
                    continue  # a layer without bias
                try:
                    tensors[prefix + name] = make_view(value)
                except UnreadablePickleError as error:
                    raise UnreadablePickleError(f"its tensor {prefix}{name} {error}") from error
        for name, value in members(state, "_modules", where):
            if prefix + name != PERCEPTUAL and value is not None:
                modules.append((f"{prefix}{name}.", value, depth + 1))
    return tensors


def members(state: dict, kind: str, where: str) -> list[tuple[str, object]]:
    found = state.get(kind, {})
    if type(found) is not dict or not all(type(name) is str and printable(name) == name for name in found):
        raise UnreadablePickleError(f"the module {where} has {kind} that are not a dictionary of names")
    return list(found.items())


def number(attributes: dict, name: str, missing: float | None = None) -> float:
    """An attribute of the outermost module; `missing` where it has none."""
    value = attributes.get(name, missing)
    if value is None:
        raise UnreadablePickleError(f"its attribute {name} is missing")
    if type(value) not in (int, float) or not 0 <= value < 1e9:
        raise UnreadablePickleError(f"its attribute {name} is not a number from 0 to 1e9")
    return value
