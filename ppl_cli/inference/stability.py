"""How far keypoints move against the image when it is warped a little: what a model without labels says about its errors.

All images are warped alike, so that what is measured of one depends neither on those beside it nor on their order.
"""

import math

import torch

from ppl_cli.data.warp import warp_images
from ppl_cli.inference.estimate import Estimator

ANGLE, SCALE = 0.2, 1.1  # of the one warp: radians, and how much smaller the image becomes


def known_warp() -> torch.Tensor:
    """(1, 2, 3): from (x, y, 1) in the warped image to (x, y) in the image, both in [-1, 1]."""
    cos, sin = SCALE * math.cos(ANGLE), SCALE * math.sin(ANGLE)
    return torch.tensor([[[cos, -sin, 0.0], [sin, cos, 0.0]]])


@torch.inference_mode()
def measure_shifts(estimator: Estimator, images: torch.Tensor, keypoints: torch.Tensor) -> torch.Tensor:
    """images (B, 3, S, S) in [-1, 1], keypoints (B, N, 2) found in them, normalised -> (B, N) >= 0, normalised.

    How far each keypoint lies from the same one found in the warped image, brought back. One pass of the encoder.
    """
    warp = known_warp().to(images.device).expand(len(images), -1, -1)
    again = estimator.estimate(warp_images(images, warp)).keypoints.float()
    return (again @ warp[..., :2].mT + warp[..., 2].unsqueeze(1) - keypoints.float()).norm(dim=-1)
