"""PosePriorLearner: the one model that every command trains and runs.

One forward pass (paper figure 2; the table of docs/method.md):

    memory --distil--> keypoint prior T --+
    image --encode, attend, regress--> affine per keypoint --> keypoints T' --recall--> T' as the memory knows it
                                                                 |
                               link weights W ---------------- draw --> skeleton map
                                                                             |
                               masked image (or another frame) ------- reconstruct --> image

All coordinates are (x, y), normalised: -1 and +1 are the centres of the first and last pixel of the square image.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from ppl_cli.model.decoder import Decoder
from ppl_cli.model.encoder import Encoder, Estimate
from ppl_cli.model.memory import Memory, Recall
from ppl_cli.model.skeleton import skeleton_map
from ppl_cli.model.turns import find_turns, turn

FAINTEST = 1e-6  # a link of weight 0 starts with this: softplus never reaches 0
LINK_SCALE = 512.0  # w = softplus(512 * raw): acts as a learning rate of the links


@dataclass(frozen=True)
class Sizes:
    """What a model is built from. Configurations have the paper's sizes by default."""

    image_size: int  # side S of the square input, a multiple of 16
    keypoints: int
    width: int  # channels of the first block of encoder and decoder
    banks: int  # memory banks = tokens of a pose
    vectors: int  # vectors in a bank
    dimension: int  # of a vector
    thickness: float  # of a link, in squared normalised units: exp(-distance^2 / thickness)
    links_start: float  # mean of 512 * raw link weights at the start
    encoder: str = "affine"  # see Encoder
    backbone: str = "none"  # timm's name of the network whose features the encoder takes
    any_heading: bool = False  # objects are found at any angle, and learned as they head one way
    given_keypoints: bool = False  # the keypoint prior is a parameter of its own, not distilled from the memory


class Output(NamedTuple):
    estimate: Estimate
    skeleton_map: torch.Tensor  # (B, 1, S, S)
    reconstruction: torch.Tensor  # (B, 3, S, S), about [-1, 1]
    recall: Recall


class PosePriorLearner(nn.Module):
    def __init__(self, sizes: Sizes):
        super().__init__()
        self.sizes = sizes
        n = sizes.keypoints
        self.encoder = Encoder(n, sizes.width, sizes.encoder, sizes.backbone)
        self.decoder = Decoder(sizes.width)
        self.memory = Memory(n, sizes.banks, sizes.vectors, sizes.dimension)
        self.raw_links = nn.Parameter((torch.randn(n, n) + sizes.links_start) / LINK_SCALE)  # only i < j is read
        if sizes.given_keypoints:
            self.given_keypoints = nn.Parameter(torch.zeros(n, 2))
        self.alpha = nn.Parameter(torch.ones(()))  # strength of the reference image

    def distil_prior(self) -> torch.Tensor:
        """The keypoint prior T, (N, 2), without gradient: the mean of every memory bank, decoded; or the one given."""
        if self.sizes.given_keypoints:
            return self.given_keypoints.detach()
        with torch.autocast(self.raw_links.device.type, enabled=False):
            return self.memory.distil()

    def link_weights(self) -> torch.Tensor:
        """The connectivity prior W, (N, N), symmetric, >= 0, zero on the diagonal."""
        upper = F.softplus(LINK_SCALE * self.raw_links).triu(1)
        return upper + upper.T

    @torch.no_grad()
    def start_from(self, keypoints: torch.Tensor | None, links: torch.Tensor | None) -> None:
        """Set the keypoint prior (N, 2), where it is a parameter, and the links (N, N) >= 0; None leaves one as it is."""
        if keypoints is not None:
            self.given_keypoints.copy_(keypoints)
            self.encoder.start_at_prior()
        if links is not None:
            weights = links.clamp_min(FAINTEST).triu(1) + FAINTEST * torch.ones_like(links).tril()
            self.raw_links.copy_((weights + torch.log(-torch.expm1(-weights))) / LINK_SCALE)  # softplus, inverted

    def estimate(self, images: torch.Tensor) -> Estimate:
        """images (B, 3, S, S) in [-1, 1] -> keypoints (B, N, 2), their affine transforms and attention."""
        return self.encoder(images, self.given_keypoints if self.sizes.given_keypoints else self.distil_prior())

    def draw(self, keypoints: torch.Tensor) -> torch.Tensor:
        """keypoints (B, N, 2) -> skeleton map (B, 1, S, S)."""
        return skeleton_map(keypoints, self.link_weights(), self.sizes.image_size, self.sizes.thickness)

    def reconstruct(self, reference: torch.Tensor, skeleton: torch.Tensor) -> torch.Tensor:
        """reference image (B, 3, S, S) in [-1, 1] and skeleton map (B, 1, S, S) -> image (B, 3, S, S)."""
        return self.decoder(self.alpha * reference, skeleton)

    def complete(self, occluded: torch.Tensor, shown: torch.Tensor, pose: torch.Tensor) -> torch.Tensor:
        """images (B, 3, S, S) that are 0 where `shown` (B, 1, S, S) is 0 -> the same, there drawn with the pose (B, N, 2)."""
        drawn = self.reconstruct(occluded, self.draw(pose)).float()
        return torch.where(shown > 0, occluded, drawn.clamp(-1, 1))

    def recall(self, keypoints: torch.Tensor) -> Recall:
        """The pose (B, N, 2) as the memory knows it: where objects head anywhere, turned to head as in training, and back."""
        with torch.autocast(keypoints.device.type, enabled=False):
            if self.training or not self.sizes.any_heading:
                return self.memory.recall(keypoints)
            turns = find_turns(keypoints, self.distil_prior(), self.link_weights().amax(1))
            recall = self.memory.recall(turn(keypoints, -turns))
            return recall._replace(keypoints=turn(recall.keypoints, turns))

    def forward(self, images: torch.Tensor, references: torch.Tensor, jitter: torch.Tensor | None = None) -> Output:
        """images and references (B, 3, S, S) in [-1, 1]. Does not touch the memory: training updates it.

        `jitter` (B, N, 2) is added to the keypoints that are drawn, not to those returned. With it the encoder cannot
        tell the decoder about the image by shifts too small to see; it has to move keypoints to where things are.
        """
        estimate = self.estimate(images)
        skeleton = self.draw(estimate.keypoints if jitter is None else estimate.keypoints + jitter)
        reconstruction = self.reconstruct(references, skeleton)
        return Output(estimate, skeleton, reconstruction, self.recall(estimate.keypoints.detach()))
