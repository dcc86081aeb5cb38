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


class Calibration(NamedTuple):
    """What the N keypoints of training images look like; C features."""

    seen: torch.Tensor  # (N, C) mean of what each keypoint sees
    whitening: torch.Tensor  # (N, C, C) makes what it sees, without the mean, vary alike in all directions
    usual: torch.Tensor  # (2, N, 3) mean and standard deviation of the signs' logarithms
    doubts: torch.Tensor  # (STEPS + 1,) quantiles of the useful keypoints' doubt, ascending
    limit: torch.Tensor  # () that the strangeness of 99 % of training images stays below

    def judge(self, estimate: Estimate, recalled: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Confidence (B, N) in [0, 1], the share of training keypoints that give more doubt, and strangeness (B,) >= 0.

        `recalled` (B, N, 2): the keypoints as the memory knows them. NaN where keypoints are not finite.
        """
        signs = read_signs(estimate, recalled, self)
        doubt = ((signs.clamp_min(SMALLEST).log() - self.usual[0]) / self.usual[1]).sum(-1)
        above = torch.searchsorted(self.doubts, doubt.contiguous()).clamp(1, STEPS)
        low, high = self.doubts[above - 1], self.doubts[above]
        less = (above - 1 + (doubt - low) / (high - low).clamp_min(1e-9)) / STEPS
        return 1 - less.clamp(0, 1), signs[..., 0].mean(-1)


def read_signs(estimate: Estimate, recalled: torch.Tensor, calibration: Calibration) -> torch.Tensor:
    """(B, N, 3) >= 0: how strange what a keypoint sees is, how wide its attention, and how far it is from the one recalled."""
    centred = (estimate.seen.float() - calibration.seen).unsqueeze(-2)  # (B, N, 1, C)
    strange = (centred @ calibration.whitening).square().mean((-2, -1)).sqrt()
    attention = estimate.attention.float().flatten(2)
    grid = pixel_grid(*estimate.attention.shape[2:], attention)
    spread = attention @ grid.square() - (attention @ grid).square()
    away = (recalled.float() - estimate.keypoints.float()).norm(dim=-1)
    return torch.stack((strange, spread.sum(-1).clamp_min(0).sqrt(), away), -1)


def calibrate(estimate: Estimate, recalled: torch.Tensor, useful: torch.Tensor) -> Calibration:
    """From what a model finds in M training images; `useful` (N,) bool: keypoints that confidence is relative to."""
    seen = estimate.seen.double()
    mean, spread = seen.mean(0), seen.std(0, correction=0) + 1e-6
    alike = ((seen - mean) / spread).transpose(0, 1)  # (N, M, C)
    variance = alike.mT @ alike / len(seen) + SHRINKAGE * torch.eye(seen.shape[-1], device=seen.device, dtype=seen.dtype)
    whitening = torch.linalg.inv(torch.linalg.cholesky(variance)).mT / spread.unsqueeze(-1)
    blank = torch.zeros((), device=seen.device)
    known = Calibration(mean.float(), whitening.float(), blank, blank, blank)
    signs = read_signs(estimate, recalled, known)
    logs = signs.clamp_min(SMALLEST).log()
    usual = torch.stack((logs.mean(0), logs.std(0, correction=0).clamp_min(SMALLEST)))
    steps = torch.linspace(0, 1, STEPS + 1, device=logs.device)
    doubts = ((logs - usual[0]) / usual[1])[:, useful].sum(-1).flatten().quantile(steps)
    return known._replace(usual=usual, doubts=doubts, limit=signs[..., 0].mean(-1).quantile(LIMIT))
