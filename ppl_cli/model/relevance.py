"""Where in an image the pose matters: what is drawn worse with the pose of another.

A keypoint that rides beside the object lies where it hardly does, however still it is and however well it is linked.
"""

import torch
import torch.nn.functional as F

REACH = 0.1  # normalised units: standard deviation of the blur, so that a keypoint near a thin limb still lies on it


def relevance_map(images: torch.Tensor, own: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """(B, S, S) >= 0: by how much images (B, 3, S, S) are drawn worse as `other` than as `own`, with their own poses; a mean
    over the channels."""
    ours, theirs = (images.float() - drawn.float() for drawn in (own, other))
    return (theirs.abs() - ours.abs()).mean(1).clamp_min(0)


def relevance_at(keypoints: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
    """(B, N): the map (B, S, S) around each keypoint (B, N, 2), where its mean over the image is 1."""
    sigma = REACH * (maps.shape[-1] - 1) / 2  # pixels
    reach = max(1, round(3 * sigma))
    kernel = torch.exp(-torch.arange(-reach, reach + 1, device=maps.device).square() / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).to(maps.dtype)
    padded = F.pad(maps[:, None], (reach,) * 4, mode="replicate")
    blurred = F.conv2d(F.conv2d(padded, kernel[None, None, None]), kernel[None, None, :, None])
    found = F.grid_sample(blurred, keypoints[:, :, None].to(maps.dtype), padding_mode="border", align_corners=True)
    return found[:, 0, :, 0] / maps.mean((1, 2))[:, None].clamp_min(torch.finfo(maps.dtype).tiny)
