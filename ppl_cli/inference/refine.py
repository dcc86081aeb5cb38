"""Iterative inference: the pose of an occluded image, repaired with the prior (paper, "Iterative inference").

Each iteration finds keypoints in its input, lets the memory recall the typical pose nearest to them, draws that pose and
lets the decoder complete the occluded image along it; the result is the next iteration's input:

    input --estimate--> T' --recall--> T'_recon --draw--> skeleton map --+
      ^                                                                  |
      +--------------------------- decoder <-- the occluded image -------+

The first input is the occluded image. The reference implementation does not have this; it follows the paper.
"""

from typing import NamedTuple

import torch

from ppl_cli.inference.estimate import Estimator


class Refinement(NamedTuple):
    keypoints: torch.Tensor  # (iterations + 1, B, N, 2) T' of every iteration; the first is that of the occluded image
    reconstruction: torch.Tensor  # (B, 3, S, S) the last input, about [-1, 1]


@torch.inference_mode()
def refine(estimator: Estimator, images: torch.Tensor, iterations: int) -> Refinement:
    """images (B, 3, S, S) in [-1, 1] with what is hidden at 0, the grey that training hides with."""
    model, current = estimator.model, images
    poses = []
    for _ in range(iterations):
        keypoints = estimator.estimate(current).keypoints
        poses.append(keypoints)
        with estimator.compute.autocast():
            current = model.reconstruct(images, model.draw(model.recall(keypoints.float()).keypoints))
    poses.append(estimator.estimate(current).keypoints)
    return Refinement(torch.stack(poses).float(), current)
