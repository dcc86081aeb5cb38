"""How sure to be of a keypoint, and whether an image is of the kind that was learned: known without labels, from one look.

Three signs tell of an error (docs/results.md, "Confidence"): what the keypoint sees is unlike what it has seen in training
images, its attention spreads, and it lies away from where the memory recalls it. What is usual of each is measured once, on
training images.
"""

from typing import NamedTuple

import torch

from ppl_cli.model.encoder import Estimate, pixel_grid

SHRINKAGE = 1.0  # added to the variances of standardised features: there are few images for so many directions
SMALLEST = 1e-3  # of a sign; they are compared by their logarithms
STEPS = 100  # of the quantiles that confidence is read from
LIMIT = 0.99  # of training images are as usual
LEAST = 0.3  # that the limit is: of images that are all alike it would be nothing, and they themselves seem strange


class Signs(NamedTuple):
    """Of keypoints."""

    seen: torch.Tensor  # (B, N, C) features under the attention
    spread: torch.Tensor  # (B, N) standard deviation of the attention, normalised units
    away: torch.Tensor  # (B, N) from the keypoint as the memory recalls it, normalised units


class Calibration(NamedTuple):
    """What the N keypoints of training images look like; C features."""

    seen: torch.Tensor  # (N, C) mean of what each keypoint sees
    whitening: torch.Tensor  # (N, C, C) makes what it sees, without the mean, vary alike in all directions
    usual: torch.Tensor  # (2, N, 3) mean and standard deviation of the signs' logarithms
    doubts: torch.Tensor  # (STEPS + 1,) quantiles of the useful keypoints' doubt, ascending
    limit: torch.Tensor  # () that the strangeness of 99 % of training images stays below

    def judge(self, signs: Signs) -> tuple[torch.Tensor, torch.Tensor]:
        """Confidence (B, N) in [0, 1], the share of training keypoints that give more doubt, and strangeness (B,) >= 0.

        NaN where a sign is not finite.
        """
        strange = measure_strangeness(signs.seen, self.seen, self.whitening)
        doubt = ((to_logs(strange, signs) - self.usual[0]) / self.usual[1]).sum(-1)
        above = torch.searchsorted(self.doubts, doubt.contiguous()).clamp(1, STEPS)
        low, high = self.doubts[above - 1], self.doubts[above]
        less = (above - 1 + (doubt - low) / (high - low).clamp_min(1e-9)) / STEPS
        return 1 - less.clamp(0, 1), strange.mean(-1)


def read_signs(estimate: Estimate, recalled: torch.Tensor) -> Signs:
    """`recalled` (B, N, 2): the keypoints as the memory knows them."""
    attention = estimate.attention.float().flatten(2)
    grid = pixel_grid(*estimate.attention.shape[2:], attention)
    variance = attention @ grid.square() - (attention @ grid).square()
    away = (recalled.float() - estimate.keypoints.float()).norm(dim=-1)
    return Signs(estimate.seen.float(), variance.sum(-1).clamp_min(0).sqrt(), away)


def measure_strangeness(seen: torch.Tensor, mean: torch.Tensor, whitening: torch.Tensor) -> torch.Tensor:
    """(B, N) Mahalanobis distance of what keypoints see (B, N, C), over the square root of C."""
    return ((seen - mean).transpose(0, 1) @ whitening).square().mean(-1).sqrt().T


def to_logs(strange: torch.Tensor, signs: Signs) -> torch.Tensor:
    """(B, N, 3)."""
    return torch.stack((strange, signs.spread, signs.away), -1).clamp_min(SMALLEST).log()


def calibrate(signs: Signs, useful: torch.Tensor) -> Calibration:
    """From M training images; `useful` (N,) bool: the keypoints that confidence is relative to."""
    seen = signs.seen.double()
    mean, spread = seen.mean(0), seen.std(0, correction=0) + 1e-6
    alike = ((seen - mean) / spread).transpose(0, 1)  # (N, M, C)
    variance = alike.mT @ alike / len(seen) + SHRINKAGE * torch.eye(seen.shape[-1], device=seen.device, dtype=seen.dtype)
    whitening = (torch.linalg.inv(torch.linalg.cholesky(variance)).mT / spread.unsqueeze(-1)).float()
    mean = mean.float()
    strange = measure_strangeness(signs.seen, mean, whitening)
    logs = to_logs(strange, signs)
    usual = torch.stack((logs.mean(0), logs.std(0, correction=0).clamp_min(SMALLEST)))
    doubt = ((logs - usual[0]) / usual[1])[:, useful].sum(-1)
    steps = torch.arange(STEPS + 1, device=doubt.device) / STEPS
    return Calibration(
        mean, whitening, usual, doubt.flatten().quantile(steps), strange.mean(-1).quantile(LIMIT).clamp_min(LEAST)
    )
