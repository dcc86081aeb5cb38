"""Images turned so that their objects head as those of training do: that is what the decoder and the finder of covers know.

Keypoints are found at any angle by models of objects that head anywhere; nothing else is. `turns` are (B,) radians by which
objects are turned from those of training, as `PosePriorLearner.find_turns` gives them; where 0, images stay bit for bit.
"""

import torch

from ppl_cli.data.warp import rotation, warp_images
from ppl_cli.model.turns import turn


def turn_images(images: torch.Tensor, turns: torch.Tensor) -> torch.Tensor:
    """(B, C, S, S) -> the same, turned by -`turns`; what lies outside is its mirror image."""
    return torch.where((turns == 0)[:, None, None, None], images, warp_images(images, rotation(turns)))


def turn_mask(mask: torch.Tensor, turns: torch.Tensor) -> torch.Tensor:
    """(B, 1, S, S) in {0, 1} -> the same, turned by -`turns`."""
    return (turn_images(mask, turns) > 0.5).to(mask.dtype)


def turn_visible(images: torch.Tensor, visible: torch.Tensor, turns: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """images (B, 3, S, S), visible (B, 1, S, S) in {0, 1} -> both, turned by -`turns`; what is hidden is not mixed in."""
    turned, shown = turn_images(images * visible, turns), turn_images(visible, turns)
    return turned / shown.clamp_min(0.5), (shown > 0.5).to(visible.dtype)


def turn_back(keypoints: torch.Tensor, turns: torch.Tensor) -> torch.Tensor:
    """keypoints (T, B, N, 2) of turned images -> of the images as they were."""
    return turn(keypoints.flatten(0, 1), turns.repeat(len(keypoints))).unflatten(0, keypoints.shape[:2])
