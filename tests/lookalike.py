"""A look-alike of a reference checkpoint: modules with its class paths and tensor names, filled by the parity formula.

Written from the names and shapes in ../shared/parity alone. The classes exist only while the file is saved.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import torch
from torch import nn

from tests.model.parity import formula

CLASSES = {
    "models.pose_prior_learner": ("PosePriorLearner", "Memory", "MixerLayer", "MLPBlock"),
    "models.modules": (
        "ResBlock",
        "TransposedBlock",
        "DownBlock",
        "UpBlock",
        "ResNetConditionalParameterRegressor",
        "ResNetReconstructor",
    ),
    "utils.losses": ("VGGPerceptualLoss",),
}
TINY = {"keypoints": 5, "width": 4, "banks": 3, "vectors": 4, "dimension": 16, "image_size": 32}


@contextmanager
def reference_classes() -> Iterator[dict[str, type[nn.Module]]]:
    """Empty modules that can be pickled by the reference's names, until the end of the block."""
    packages = {name: ModuleType(name) for name in ("models", "utils", *CLASSES)}
    classes = {}
    for module, names in CLASSES.items():
        for name in names:
            classes[name] = type(name, (nn.Module,), {"__module__": module})
            setattr(packages[module], name, classes[name])
    before = {name: sys.modules.get(name) for name in packages}
    sys.modules.update(packages)
    try:
        yield classes
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


def put(module: nn.Module, **parts) -> nn.Module:
    for name, part in parts.items():
        setattr(module, name, part)
    return module


def conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)


def build(
    make: dict[str, type], keypoints=16, width=64, banks=34, vectors=16, dimension=512, image_size=128, thick=7.5e-5
) -> nn.Module:
    n, w, d = keypoints, width, dimension

    def leaky() -> nn.Module:
        return nn.LeakyReLU(0.2)

    def scale(factor: float) -> nn.Module:
        return nn.Upsample(scale_factor=factor, mode="bilinear")

    def down(a: int, b: int) -> nn.Module:
        main = [conv(a, b), scale(0.5), nn.BatchNorm2d(b), leaky(), conv(b, b), nn.BatchNorm2d(b)]
        side = [conv(a, b), scale(0.5), nn.BatchNorm2d(b)]
        return put(make["ResBlock"](), conv_res=nn.Sequential(*side), net=nn.Sequential(*main), relu=leaky())

    def up(a: int, b: int) -> nn.Module:
        return put(make["TransposedBlock"](), net=nn.Sequential(scale(2), conv(a, b), nn.BatchNorm2d(b), leaky()))

    def unet(kind: str, a: int, b: int) -> nn.Module:
        layers = [conv(a, b), nn.BatchNorm2d(b), leaky(), conv(b, b), nn.BatchNorm2d(b)]
        layers = [scale(2), *layers, leaky()] if kind == "UpBlock" else [*layers, scale(0.5), leaky()]
        return put(make[kind](), net=nn.Sequential(*layers))

    def mlp(size: int, hidden: int) -> nn.Module:
        layers = nn.Linear(size, hidden), nn.GELU(), nn.Dropout(0.0), nn.Linear(hidden, size), nn.Dropout(0.0)
        return put(make["MLPBlock"](), ff=nn.Sequential(*layers))

    def mixer(size: int, hidden: int) -> nn.Module:
        parts = {"layernorm1": nn.LayerNorm(size), "MLP_token": mlp(n, 64)}
        return put(make["MixerLayer"](), **parts, layernorm2=nn.LayerNorm(size), MLP_channel=mlp(size, hidden))

    memory = put(
        make["Memory"](),
        encoder_start=nn.Linear(2, d),
        encoder=nn.ModuleList([mixer(d, d) for _ in range(4)]),
        encoder_layer_norm=nn.LayerNorm(d),
        token_mlp=nn.Linear(n, banks),
        feature_embed=nn.Linear(d, d),
        decoder_token_mlp=nn.Linear(banks, n),
        decoder_start=nn.Linear(d, 32),
        decoder=nn.ModuleList([mixer(32, 64)]),
        decoder_layer_norm=nn.LayerNorm(32),
        recover_embed=nn.Linear(32, 2),
    )
    for name in ("codebook", "ema_w"):
        memory.register_buffer(name, torch.zeros(banks, vectors, d))
    memory.register_buffer("ema_cluster_size", torch.zeros(banks, vectors))
    regressor = put(
        make["ResNetConditionalParameterRegressor"](),
        conv=nn.Sequential(
            *(down(a, b) for a, b in [(3, w), (w, 2 * w), (2 * w, 4 * w), (4 * w, 8 * w)]), up(8 * w, 4 * w), up(4 * w, 2 * w)
        ),
        pred_prob=conv(2 * w, n),
        emb=nn.Linear(2, 2 * w),
        predict=nn.Sequential(nn.Linear(6 * w, 2 * w), nn.LeakyReLU(), nn.Linear(2 * w, 6)),
    )
    side = image_size // 4
    regressor.register_buffer("coord", torch.zeros(1, side * side, 2))
    sizes = {"down1": (w, 2 * w), "down2": (2 * w, 4 * w), "down3": (4 * w, 8 * w), "down4": (8 * w, 8 * w)}
    sizes |= {"up1": (8 * w, 8 * w), "up2": (16 * w, 4 * w), "up3": (8 * w, 2 * w), "up4": (4 * w, w)}
    blocks = {name: unet("DownBlock" if name < "up" else "UpBlock", a, b) for name, (a, b) in sizes.items()}
    first = nn.Sequential(conv(4, w), leaky())
    translator = put(make["ResNetReconstructor"](), down0=first, **blocks, conv=conv(2 * w, 3))

    model = make["PosePriorLearner"]()
    model.skeleton_scalar = nn.Parameter(torch.zeros(n, n))
    model.alpha = nn.Parameter(torch.ones(()))
    put(model, memory=memory, regressor=regressor, translator=translator)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            tensor.copy_(formula(name, tuple(tensor.shape)))
    perceptual = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.MaxPool2d(2)).requires_grad_(False)
    model.vgg_loss = put(make["VGGPerceptualLoss"](), blocks=nn.ModuleList([perceptual]))
    pairs = torch.triu_indices(n, n, 1)
    put(model, num_parts=n, thick=thick, sklr=512, skeleton_idx=pairs, n_skeleton=pairs.shape[1])
    return put(model, aug=torch.ones(n, 1), block=16, missing=0.8, use_alpha=True).eval()


def save(path: Path, change=None, **sizes) -> None:
    """`change` may alter the module before it is saved."""
    with reference_classes() as make:
        model = build(make, **sizes)
        if change:
            change(model)
        torch.save(model, path)
