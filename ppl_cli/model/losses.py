"""What training minimises (paper section "Training"; constants and differences in docs/method.md, "Losses").

Images are (B, 3, S, S) in [-1, 1], keypoints (B, N, 2) (x, y) normalised. Every function returns a scalar.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from ppl_cli.model.encoder import Estimate, attended
from ppl_cli.model.frozen import FrozenConvReLU
from ppl_cli.model.memory import Recall
from ppl_cli.model.relevance import relevance_at

CONFIGURATION_WEIGHT = 100.0
SCALES = 3  # sizes that are compared, each half of the one before; an image has 32 pixels or more
EDGES = 4.0  # weight of edge strengths beside pixels
RELEVANT = 0.5  # of the image's mean: keypoints of no less relevance feel nothing
APART = 0.2  # normalised units; pairs of keypoints three times as far apart feel nothing

# Convolutions before each pooling; the last ReLU of each of the first four stages is compared
# (VGG16: relu1_2 2_2 3_3 4_3, VGG19: relu1_2 2_2 3_4 4_4).
VGG_STAGES = {"vgg16": (2, 2, 3, 3), "vgg19": (2, 2, 4, 4)}


class PerceptualLoss(nn.Module):
    """Mean absolute difference of the features of a frozen VGG, summed over its first `stages` stages.

    Johnson et al. 2016; the paper takes VGG19, the original implementation VGG16. `weights` has torchvision's
    names (`features.0.weight`, ...); images are resized to `size` x `size` first.
    """

    def __init__(self, weights: dict[str, torch.Tensor], network: str = "vgg19", stages: int = 4, size: int = 224):
        super().__init__()
        self.size = size
        self.stages = nn.ModuleList()
        index, channels = 0, 3
        for stage in range(stages):
            layers: list[nn.Module] = [nn.MaxPool2d(2)] if stage else []
            index += bool(stage)
            for _ in range(VGG_STAGES[network][stage]):
                weight, bias = weights[f"features.{index}.weight"], weights[f"features.{index}.bias"]
                layers.append(FrozenConvReLU(channels, len(weight)))
                layers[-1].load_state_dict({"weight": weight.float(), "bias": bias.float()})
                index, channels = index + 2, len(weight)
            self.stages.append(nn.Sequential(*layers))
        mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def prepare(self, images: torch.Tensor) -> torch.Tensor:
        x = ((images + 1) / 2 - self.mean) / self.std
        if x.shape[-1] != self.size:
            x = F.interpolate(x, size=(self.size, self.size), mode="bilinear", align_corners=False)
        return x

    def forward(self, reconstruction: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
        ours, theirs = self.prepare(reconstruction), self.prepare(images)
        total = 0.0
        for stage in self.stages:
            ours = stage(ours)
            with torch.no_grad():
                theirs = stage(theirs)
            total = total + F.l1_loss(ours.float(), theirs.float())
        return total


class MultiscaleLoss(nn.Module):
    """Download-free: mean absolute difference of pixels and of edge strengths, over SCALES sizes of the image.

    Ours, not the paper's. An edge counts by its strength alone, whatever its colours: where a limb is can be learned
    from the skeleton map, which colour a hidden limb has cannot.
    """

    def forward(self, reconstruction: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
        ours, theirs = reconstruction.float(), images.float()
        total = 0.0
        for scale in range(SCALES):
            if scale:
                ours, theirs = F.avg_pool2d(ours, 2), F.avg_pool2d(theirs, 2)
            edges = F.l1_loss(edge_strength(ours), edge_strength(theirs))
            total = total + F.l1_loss(ours, theirs) + EDGES * edges
        return total


def edge_strength(images: torch.Tensor) -> torch.Tensor:
    """(B, 3, H, W) -> (B, H - 1, W - 1): length of the gradient over both directions and all channels."""
    along_x, along_y = images.diff(dim=-1)[..., :-1, :], images.diff(dim=-2)[..., :, :-1]
    # The constant keeps the square root smooth; it is small beside the edge of a limb (about 0.1).
    return (along_x.square().sum(1) + along_y.square().sum(1) + 1e-3).sqrt()


def boundary_loss(keypoints: torch.Tensor) -> torch.Tensor:
    """|v| of every coordinate outside [-1, 1]: summed over keypoints, mean over batch and the two coordinates."""
    size = keypoints.abs()
    return torch.where(size > 1, size, 0).sum(1).mean()


def configuration_loss(recall: Recall, keypoints: torch.Tensor) -> torch.Tensor:
    """How well the memory recalls the pose, and how near its tokens lie to the vectors they chose."""
    recalled = F.mse_loss(recall.keypoints, keypoints.detach())
    return CONFIGURATION_WEIGHT * recalled + F.mse_loss(recall.tokens, recall.quantised)


def link_loss(keypoints: torch.Tensor, prior: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """The paper's link regularisation (the original implementation leaves it out): links keep the prior's lengths.

    Sum over pairs of w_ij * | |P_i - P_j| - |P'_i - P'_j| |, mean over the batch; prior (N, 2), weights (N, N).
    """
    i, j = torch.triu_indices(len(prior), len(prior), 1, device=prior.device)
    lengths = (keypoints[:, i] - keypoints[:, j]).square().sum(-1).add(1e-12).sqrt()
    return (weights[i, j] * ((prior[i] - prior[j]).norm(dim=-1) - lengths).abs()).sum(-1).mean()


def separation_loss(keypoints: torch.Tensor) -> torch.Tensor:
    """Keeps keypoints from falling onto each other: exp(-d^2 / (2 APART^2)) summed over pairs, per keypoint.

    Ours, off in the paper's recipes.
    """
    i, j = torch.triu_indices(keypoints.shape[1], keypoints.shape[1], 1, device=keypoints.device)
    squared = (keypoints[:, i] - keypoints[:, j]).square().sum(-1)
    return torch.exp(-squared / (2 * APART**2)).sum(-1).mean() / keypoints.shape[1]


def anchor_loss(estimate: Estimate) -> torch.Tensor:
    """Keypoints stay where their attention lies. Ours, off in the paper's recipes.

    Else a keypoint may keep its distance from the part that it follows, beside the object: the reconstruction draws links at
    any distance alike. Mean absolute difference in normalised units.
    """
    return (estimate.keypoints - attended(estimate.attention, estimate.keypoints)).abs().mean()


def shortness_loss(keypoints: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Keypoints stay near those that they are linked to. Ours, off in the paper's recipes.

    Else a link may go on beyond the part that it draws, a leg's into the ground: the reconstruction does not mind. Mean
    distance of a keypoint to the others, by its weights (N, N) of links, in normalised units.
    """
    apart = (keypoints[:, :, None] - keypoints[:, None]).square().sum(-1).add(1e-12).sqrt()
    return ((apart * weights).sum(-1) / weights.sum(-1).clamp_min(torch.finfo(weights.dtype).tiny)).mean()


def relevance_loss(keypoints: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
    """Keypoints lie where the pose matters. Ours, off in the paper's recipes.

    Else a keypoint may hang in an empty place beside the object, and follow a part from afar: the reconstruction, which draws
    links at any distance alike, does not mind. `maps` (B, S, S): see relevance.py. Logarithm of what a keypoint lacks, since
    its slope leads out of places where nothing matters.
    """
    return F.relu(math.log(RELEVANT) - (relevance_at(keypoints, maps) + 1e-3).log()).mean()


def equivariance_loss(keypoints: torch.Tensor, back: torch.Tensor) -> torch.Tensor:
    """Keypoints must move as the image does. Ours, off in the paper's recipes.

    `keypoints` and `back` (B, N, 2): as found, and as found in the warped image and brought back from there. Mean absolute
    difference in normalised units.
    """
    return (back - keypoints).abs().mean()
