"""Image and keypoint prior -> an affine transform per keypoint -> keypoints.

Paper section "Pose estimation"; sizes from docs/method.md, steps 2 to 5. All coordinates are (x, y) in [-1, 1], where -1
and +1 are the centres of the first and last pixel.
"""

from typing import NamedTuple

import torch
from torch import nn

from ppl_cli.model.blocks import ResidualDown, UpConv, conv3x3

NEAR_IDENTITY = 0.1  # of the last weights' usual size, where poses are to begin at a given prior


class Estimate(NamedTuple):
    keypoints: torch.Tensor  # (B, N, 2) (x, y), normalised; may leave [-1, 1]
    affine: torch.Tensor  # (B, N, 2, 3) acting on (x, y, 1) of the keypoint prior
    attention: torch.Tensor  # (B, N, S/4, S/4) or S/2, each map sums to 1


def pixel_grid(height: int, width: int, like: torch.Tensor) -> torch.Tensor:
    """(height * width, 2): (x, y) of each pixel centre in [-1, 1], row by row."""
    x = torch.linspace(-1, 1, width, device=like.device, dtype=like.dtype)
    y = torch.linspace(-1, 1, height, device=like.device, dtype=like.dtype)
    yy, xx = torch.meshgrid(y, x, indexing="ij")
    return torch.stack((xx, yy), -1).reshape(-1, 2)


class Encoder(nn.Module):
    """`width` is the number of channels of the first block (64 in the paper); features have 2 x width.

    Not in the paper: a `temperature` other than 1 sharpens (below) or blurs (above) the attention; with a `limit` above 0
    the 2 x 2 part of an affine transform stays within that of the identity, entry by entry; `stride` 2 attends to cells of
    2 x 2 pixels, not 4 x 4.
    """

    def __init__(self, keypoints: int, width: int, temperature: float = 1.0, limit: float = 0.0, stride: int = 4):
        super().__init__()
        self.temperature, self.limit = temperature, limit
        w, features = width, 2 * width
        self.blocks = nn.Sequential(
            ResidualDown(3, w),
            ResidualDown(w, 2 * w),
            ResidualDown(2 * w, 4 * w),
            ResidualDown(4 * w, 8 * w),
            UpConv(8 * w, 4 * w),
            UpConv(4 * w, features),
            *([UpConv(features, features)] if stride == 2 else []),
        )
        self.attend = conv3x3(features, keypoints)
        self.embed_position = nn.Linear(2, features)
        self.regress = nn.Sequential(nn.Linear(3 * features, features), nn.LeakyReLU(0.01), nn.Linear(features, 6))

    @torch.no_grad()
    def start_at_prior(self) -> None:
        """Begin with affine transforms near the identity, so that every pose begins near the keypoint prior."""
        last = self.regress[-1]
        last.weight.mul_(NEAR_IDENTITY)
        last.bias.copy_(torch.tensor([1.0, 0, 0, 0, 1, 0]))

    def forward(self, images: torch.Tensor, prior: torch.Tensor) -> Estimate:
        """images (B, 3, S, S) in [-1, 1]; prior (N, 2) in [-1, 1]."""
        features = self.blocks(images)  # (B, C, h, w)
        # Positions need more than the 8 bits of bfloat16: everything after the convolutions runs in float32.
        with torch.autocast(images.device.type, enabled=False):
            return self.locate(features.to(prior.dtype), prior)

    def locate(self, features: torch.Tensor, prior: torch.Tensor) -> Estimate:
        """features (B, C, h, w), prior (N, 2) -> keypoints."""
        batch, _, h, w = features.shape
        attention = (self.attend(features).flatten(2) / self.temperature).softmax(-1)  # (B, N, hw)
        # Attention is linear, so pooling features and positions apart equals pooling their concatenation.
        seen = attention @ features.flatten(2).mT  # (B, N, C)
        where = attention @ self.embed_position(pixel_grid(h, w, prior))  # (B, N, C)
        expected = self.embed_position(prior).expand(batch, -1, -1)  # (B, N, C)
        affine = self.regress(torch.cat((seen, where, expected), -1)).unflatten(-1, (2, 3))
        if self.limit:
            affine = near_identity(affine, self.limit)
        keypoints = (affine[..., :2] @ prior.unsqueeze(-1)).squeeze(-1) + affine[..., 2]
        return Estimate(keypoints, affine, attention.unflatten(-1, (h, w)))


def near_identity(affine: torch.Tensor, limit: float) -> torch.Tensor:
    """(..., 2, 3) -> the same with |A - I| < limit for each entry of the 2 x 2 part, smoothly; shifts stay."""
    identity = torch.eye(2, dtype=affine.dtype, device=affine.device)
    linear = identity + limit * torch.tanh((affine[..., :2] - identity) / limit)
    return torch.cat((linear, affine[..., 2:]), -1)
