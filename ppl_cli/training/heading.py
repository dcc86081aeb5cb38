"""Whether the object heads in many directions, as an animal seen from above does.

Then it will head in others too, in images that come later, and the encoder learns to find it whichever way it heads.
"""

import math

import torch

from ppl_cli.data.evenly import choose_evenly
from ppl_cli.data.image_set import ImageSet
from ppl_cli.data.units import to_unit
from ppl_cli.model.core import PosePriorLearner
from ppl_cli.model.evaluating import evaluating

LOOKED_AT = 256  # images
TURNED = math.radians(30)  # of the mouse in docs/results.md 30 to 39 % of the poses are turned further; of other sets 0 to 3 %
ALIKE = 0.7  # least agreement, once turned, of poses that are compared: that of the mouse's is 0.95 on average, of chance 0.3
MANY = 0.2  # of the poses


def heads_everywhere(model: PosePriorLearner, images: ImageSet) -> bool:
    """Whether many poses that `model` finds in training images are turned far from their common direction."""
    found, device = [], model.raw_links.device
    with evaluating(model):
        for indices in torch.tensor(choose_evenly(range(len(images)), LOOKED_AT)).split(32):
            found.append(model.estimate(to_unit(images.fetch(indices).to(device))).keypoints)
    turns, agreement = compare_axes(torch.cat(found))
    return float(((turns > TURNED) & (agreement > ALIKE)).float().mean()) > MANY


def compare_axes(poses: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """poses (M, N, 2) -> (M,) how far the axis of each is turned from that of most of them, 0 to pi/2; (M,) agreement, 0 to 1.

    A pose is compared with the most typical one by the turn and size that bring them together best (least squares), and
    agreement is what is then left alike. Animals seen from the side that look left or right have one axis.
    """
    points = torch.view_as_complex((poses - poses.mean(1, keepdim=True)).double().cpu().contiguous())  # (M, N)
    points = points / points.abs().square().sum(1, keepdim=True).sqrt().clamp_min(1e-12)
    alike = points @ points.mH  # (M, M): its angle is the turn between two poses, its size how well they then agree
    alike = alike[:, alike.abs().mean(1).argmax()]
    axes = alike.sgn().square()
    return (axes * axes.mean().conj()).angle().abs() / 2, alike.abs()
