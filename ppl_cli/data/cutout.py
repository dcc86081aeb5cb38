"""The object of a turned image, before the usual background, which is not turned with it.

An image that is turned as a whole keeps the object and its background together. The encoder may then go by the background,
and calls the same end of an animal its head whichever way it heads before it.
"""

import torch

MARGIN = 1.2  # of the distance to the farthest keypoint
SMALLEST = 0.3  # radius, normalised: poses may have fallen together
EDGE = 0.1  # over which one picture becomes the other


def enclose(keypoints: torch.Tensor, useful: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """keypoints (B, N, 2) -> discs around those that are `useful` ((N,) bool, one at least): centres (B, 2), radii (B,)."""
    weights = useful.to(keypoints.dtype)
    centres = (keypoints * weights[:, None]).sum(1) / weights.sum()
    reach = ((keypoints - centres.unsqueeze(1)).norm(dim=-1) * weights).amax(1)
    return centres, (MARGIN * reach).clamp_min(SMALLEST)


def cut_out(
    warped: torch.Tensor, before: torch.Tensor, backdrop: torch.Tensor, centres: torch.Tensor, radii: torch.Tensor
) -> torch.Tensor:
    """(B, 3, S, S): of images `warped` (B, 3, S, S) only a disc, around it `backdrop` (1 or B, 3, S, S).

    `before` (B, S, S, 2): where each pixel lay before the warp; `centres` (B, 2) and `radii` (B,) are those of the disc there,
    all normalised.
    """
    beyond = (before - centres[:, None, None].to(warped.dtype)).norm(dim=-1) - radii[:, None, None]
    shown = (-beyond / EDGE).clamp(0, 1).unsqueeze(1)
    return shown * warped + (1 - shown) * backdrop
