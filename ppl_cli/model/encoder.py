"""Image and keypoint prior -> an affine transform per keypoint -> keypoints.

Paper section "Pose estimation"; sizes from docs/method.md, steps 2 to 5. All coordinates are (x, y) in [-1, 1], where -1
and +1 are the centres of the first and last pixel.

Anchored, which is ours: a keypoint's transform shifts it to the mean position of its own attention, and knows nothing else of
positions. An object that moves in the image then takes its keypoints along by construction; in the paper's form the network
must learn to read positions first, and keypoints come to rest beside the object (docs/experiments.md).

Fine, ours too: anchored, and what was seen in cells of 8 x 8 pixels is added when the features have come back to that size.
Else all that is known of a leg passes through cells of 16 x 16.
"""

from typing import NamedTuple

import torch
from torch import nn

from ppl_cli.model.backbone import Backbone
from ppl_cli.model.blocks import CELL, Chain, ResidualDown, SkipChain, UpConv, conv3x3

NEAR_IDENTITY = 0.1  # of the last weights' usual size, where poses are to begin at a given prior


class Estimate(NamedTuple):
    keypoints: torch.Tensor  # (B, N, 2) (x, y), normalised; may leave [-1, 1]
    affine: torch.Tensor  # (B, N, 2, 3) acting on (x, y, 1) of the keypoint prior
    attention: torch.Tensor  # (B, N, S/4, S/4), each map sums to 1
    seen: torch.Tensor  # (B, N, C) mean of the features under each keypoint's attention


def pixel_grid(height: int, width: int, like: torch.Tensor) -> torch.Tensor:
    """(height * width, 2): (x, y) of each pixel centre in [-1, 1], row by row."""
    x = torch.linspace(-1, 1, width, device=like.device, dtype=like.dtype)
    y = torch.linspace(-1, 1, height, device=like.device, dtype=like.dtype)
    yy, xx = torch.meshgrid(y, x, indexing="ij")
    return torch.stack((xx, yy), -1).reshape(-1, 2)


def attended(attention: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """attention (B, N, S/4, S/4) -> (B, N, 2): its mean position, of the cells' centres; numbers as `like` has them."""
    height, width = attention.shape[2:]
    x, y = pixel_grid(height, width, like).unbind(-1)
    size = CELL * width
    # Plain numbers: a small tensor made here would have to travel to the GPU, and the step would wait for it.
    centres = torch.stack((x * (1 - 1 / width), y * (1 - 1 / height)), -1) * (size / (size - 1))
    return attention.flatten(2) @ centres


def own_blocks(width: int, kind: str) -> Chain:
    w = width
    return (SkipChain if kind == "fine" else Chain)(
        ResidualDown(3, w),
        ResidualDown(w, 2 * w),
        ResidualDown(2 * w, 4 * w),
        ResidualDown(4 * w, 8 * w),
        UpConv(8 * w, 4 * w),
        UpConv(4 * w, 2 * w),
    )


class Encoder(nn.Module):
    """`width` is the number of channels of the first block (64 in the paper); features have 2 x width.

    `kind` is affine (the paper's), anchored or fine, see above. `backbone`: timm's network that sees in place of its blocks.
    """

    def __init__(self, keypoints: int, width: int, kind: str = "affine", backbone: str = "none"):
        super().__init__()
        features = 2 * width
        self.anchored = kind in ("anchored", "fine")
        self.blocks = own_blocks(width, kind) if backbone == "none" else Backbone(backbone, features)
        self.attend = conv3x3(features, keypoints)
        self.embed_position = nn.Linear(2, features)
        self.regress = nn.Sequential(
            nn.Linear((2 if self.anchored else 3) * features, features), nn.LeakyReLU(0.01), nn.Linear(features, 6)
        )

    @torch.no_grad()
    def start_at_prior(self) -> None:
        """Begin with affine transforms near the identity, so that every pose begins near the keypoint prior."""
        last = self.regress[-1]
        last.weight.mul_(NEAR_IDENTITY)
        last.bias.copy_(torch.tensor([1.0, 0, 0, 0, 1, 0]))

    def forward(self, images: torch.Tensor, prior: torch.Tensor) -> Estimate:
        """images (B, 3, S, S) in [-1, 1]; prior (N, 2) in [-1, 1]."""
        # One layout, whatever made the images: another would be compiled once more.
        features = self.blocks(images.contiguous(memory_format=torch.channels_last))  # (B, C, h, w)
        # Positions need more than the 8 bits of bfloat16: everything after the convolutions runs in float32.
        with torch.autocast(images.device.type, enabled=False):
            return self.locate(features.to(prior.dtype), prior)

    def locate(self, features: torch.Tensor, prior: torch.Tensor) -> Estimate:
        """features (B, C, h, w), prior (N, 2) -> keypoints."""
        batch, _, h, w = features.shape
        attention = self.attend(features).flatten(2).softmax(-1)  # (B, N, hw)
        # Attention is linear, so pooling features and positions apart equals pooling their concatenation.
        seen = attention @ features.flatten(2).mT  # (B, N, C)
        expected = self.embed_position(prior).expand(batch, -1, -1)  # (B, N, C)
        if self.anchored:
            affine = self.regress(torch.cat((seen, expected), -1)).unflatten(-1, (2, 3))
            anchors = attended(attention.unflatten(-1, (h, w)), prior)
            affine = torch.cat((affine[..., :2], affine[..., 2:] + anchors.unsqueeze(-1)), -1)
        else:
            where = attention @ self.embed_position(pixel_grid(h, w, prior))  # (B, N, C)
            affine = self.regress(torch.cat((seen, where, expected), -1)).unflatten(-1, (2, 3))
        keypoints = (affine[..., :2] @ prior.unsqueeze(-1)).squeeze(-1) + affine[..., 2]
        return Estimate(keypoints, affine, attention.unflatten(-1, (h, w)), seen)
