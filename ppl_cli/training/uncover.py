"""Learning to find what hides the object, once poses are learned: training images are covered at random, and the covers are
known. Without labels, and without what really hides objects later: covers of many kinds stand for it (data/covers.py).

Where an object looks like a cover itself (drawn figures in plain colours), it cannot be told. So a tenth of the images is left
out of learning, and what was learned is kept only if on those, covered, it brings keypoints back to where they are found in
the whole ones.
"""

import threading
from typing import NamedTuple

import torch
import torch.nn.functional as F
from tqdm import tqdm

from ppl_cli.config.sections import Config
from ppl_cli.data.covers import random_covers, random_fills
from ppl_cli.data.image_set import ImageSet
from ppl_cli.data.light import change_light, random_light
from ppl_cli.data.units import to_unit
from ppl_cli.data.warp import random_affine, warp_images
from ppl_cli.model.core import PosePriorLearner
from ppl_cli.model.evaluating import evaluating
from ppl_cli.model.finder import OcclusionFinder, shrink
from ppl_cli.training.batches import batch_indices, generator
from ppl_cli.training.lean import Adam

BATCH = 16
RATE = 3e-3  # at the start; it falls to 0 in a line
WARP = 0.5  # strength: what is learned shall hold beyond the training images
TRIED = 8  # batches that show whether it helps
AT_MOST = 0.5  # % of the image side that keypoints of whole images may move
SAME = 0.1  # a cover that differs less from what it covers cannot be seen, in any channel of [-1, 1]


def learn_to_uncover(
    images: ImageSet, config: Config, device: torch.device, stopped: threading.Event | None = None
) -> OcclusionFinder | None:
    """A network that finds covers, after `train.uncover` steps, in evaluation mode; None where it was `stopped` before."""
    torch.default_generator.manual_seed(config.seed)
    finder = OcclusionFinder().to(device, memory_format=torch.channels_last).train()
    steps, shown = config.train.uncover, split_images(images)[0]
    optimiser = Adam(finder.parameters(), RATE, fused=device.type in ("cuda", "cpu"))
    for step in tqdm(range(steps), desc="learning occlusions", unit="step", disable=None, leave=False):
        if stopped is not None and stopped.is_set():
            return None
        for group in optimiser.param_groups:
            group["lr"] = RATE * (1 - step / steps)
        batch = cover(images, shown, step, config, device, small=True)
        loss = F.binary_cross_entropy_with_logits(finder(batch.images), batch.covers, batch.seen)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return finder.eval()


class Covered(NamedTuple):
    whole: torch.Tensor  # (B, 3, S, S) in [-1, 1]
    images: torch.Tensor  # (B, 3, S, S) the same with covers
    covers: torch.Tensor  # (B, 1, S, S) 1 where covered
    seen: torch.Tensor  # (B, 1, S, S) 0 where a cover cannot be seen, else 1


def split_images(images: ImageSet) -> tuple[range, range]:
    """Images to learn from, and images to try it on: the last tenth. Of fewer than ten images all are both."""
    count = len(images) - len(images) // 10
    return range(count), range(count, len(images)) or range(count)


def cover(images: ImageSet, among: range, step: int, config: Config, device: torch.device, small: bool = False) -> Covered:
    """Batch number `step` of the images `among`, `small`: as the finder sees them. A function of (seed, step) alone."""
    random = generator(device, config.seed, "cover", step)
    whole = to_unit(images.fetch(among.start + batch_indices(step, BATCH, len(among), config.seed)).to(device))
    whole = warp_images(shrink(whole) if small else whole, random_affine(BATCH, random, WARP))
    whole = change_light(whole, random_light(BATCH, random)).clamp(-1, 1)
    covers, fills = random_covers(BATCH, whole.shape[-1], random), random_fills(whole, random)
    alike = (fills - whole).abs().amax(1, keepdim=True) < SAME
    return Covered(whole, torch.lerp(whole, fills, covers), covers, 1 - covers * alike)


class Trial(NamedTuple):
    """Mean distances, in % of the image side, of keypoints from where they are found in whole training images."""

    covered: float  # as found in covered ones
    completed: float  # in the same, once what seems to hide the object has been completed
    whole: float  # in whole images, which the finder may take for covered here and there

    @property
    def helps(self) -> bool:
        return self.completed < self.covered and self.whole <= AT_MOST

    def __str__(self) -> str:
        told = "" if self.helps else ", which is no help: `ppl refine` will have to be told what is hidden"
        return (
            f"where something covers a training image, its keypoints move by {self.covered:.1f} % of the image side, and by "
            f"{self.completed:.1f} % once the cover is found and filled in; where nothing does, by {self.whole:.1f} %{told}"
        )


def try_finder(
    model: PosePriorLearner, finder: OcclusionFinder, images: ImageSet, config: Config, device: torch.device
) -> Trial:
    """One iteration of refinement of images that the finder has not learned from, covered and whole."""

    def look(pictures: torch.Tensor) -> torch.Tensor:
        return model.estimate(pictures).keypoints

    def complete(pictures: torch.Tensor) -> torch.Tensor:
        visible = finder.find_visible(pictures)
        occluded = pictures * visible
        return model.complete(occluded, visible, model.recall(look(occluded)).keypoints)

    distances = []
    with evaluating(model):
        for step in range(config.train.uncover, config.train.uncover + TRIED):
            batch = cover(images, split_images(images)[1], step, config, device)
            found = look(batch.images), look(complete(batch.images)), look(complete(batch.whole))
            distances.append(torch.stack([(look(batch.whole) - keypoints).norm(dim=-1).mean() for keypoints in found]))
    return Trial(*(50 * torch.stack(distances).mean(0).cpu()).tolist())
