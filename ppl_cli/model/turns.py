"""Poses at any angle: how far one is turned from the prior, and what turns it there and back.

The memory knows objects that head one way, as those of training do. Where the encoder finds them at any angle, a pose is turned
to head so before it is looked up.
"""

import math

import torch

USUAL = math.radians(45)  # training shows turns up to about this


def find_turns(poses: torch.Tensor, prior: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """poses (B, N, 2), prior (N, 2), weights (N,) >= 0 -> (B,) radians: the turn that brings the prior nearest to each pose.

    By least squares, wherever a pose lies and however large it is; 0 where the turn is a usual one.
    """
    weights = weights / weights.sum().clamp_min(1e-12)

    def centre(points: torch.Tensor) -> torch.Tensor:
        points = points.nan_to_num().float()
        return points - (weights[:, None] * points).sum(-2, keepdim=True)

    poses, prior = centre(poses), weights[:, None] * centre(prior)
    along = (poses * prior).sum((-2, -1))
    across = (poses[..., 1] * prior[..., 0] - poses[..., 0] * prior[..., 1]).sum(-1)
    turns = torch.atan2(across, along)
    return torch.where(turns.abs() > USUAL, turns, 0)


def turn(points: torch.Tensor, turns: torch.Tensor) -> torch.Tensor:
    """points (B, N, 2), turns (B,) in radians -> (B, N, 2): turned about the middle of the image, from x towards y."""
    cos, sin = turns.cos(), turns.sin()
    return points @ torch.stack((cos, sin, -sin, cos), -1).unflatten(-1, (2, 2)).to(points.dtype)
