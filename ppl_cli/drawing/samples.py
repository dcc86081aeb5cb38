"""What a model does with a few images, as one picture: the look of a run over time.

Rows, top to bottom: image with its pose; reference image; skeleton map; reconstruction. On the left the prior.
"""

import numpy as np
import torch
from PIL import Image

from ppl_cli.drawing.overlay import draw_pose
from ppl_cli.drawing.sheets import grid
from ppl_cli.model.core import PosePriorLearner
from ppl_cli.model.evaluating import evaluating

TILE = 160  # pixels of one picture
GAP = 4


def to_image(pixels: torch.Tensor) -> Image.Image:
    """(3 or 1, H, W) in [-1, 1] -> RGB tile."""
    array = ((pixels.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).expand(3, -1, -1)
    return Image.fromarray(array.permute(1, 2, 0).cpu().numpy()).resize((TILE, TILE), Image.Resampling.BILINEAR)


def map_image(skeleton_map: torch.Tensor, brightest: torch.Tensor) -> Image.Image:
    """(1, H, W) -> tile, white where the map is as bright as `brightest`."""
    return to_image(skeleton_map / brightest.clamp_min(1e-6) * 2 - 1)


def posed(image: Image.Image, keypoints: torch.Tensor, links: np.ndarray) -> Image.Image:
    """Tile with a pose (N, 2), normalised, over it."""
    return draw_pose(image, keypoints.float().cpu().numpy(), links)


def sample_sheet(model: PosePriorLearner, images: torch.Tensor, references: torch.Tensor) -> Image.Image:
    """images, references (B, 3, S, S) in [-1, 1] -> the picture described above."""
    with evaluating(model):
        output = model(images, references)
        prior, links = model.distil_prior(), model.link_weights().cpu().numpy()
        prior_map = model.draw(prior[None])[0]

    grey = Image.new("RGB", (TILE, TILE), (40, 40, 40))
    blank = Image.new("RGB", (TILE, TILE), "white")
    brightest = output.skeleton_map.amax()
    columns = [[posed(grey, prior, links), map_image(prior_map, prior_map.amax()), blank, blank]]
    for k in range(len(images)):
        pose = posed(to_image(images[k]), output.estimate.keypoints[k], links)
        skeleton = map_image(output.skeleton_map[k], brightest)
        columns.append([pose, to_image(references[k]), skeleton, to_image(output.reconstruction[k])])
    return grid([column[row] for row in range(4) for column in columns], len(columns), GAP)
