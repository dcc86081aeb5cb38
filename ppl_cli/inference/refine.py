"""Iterative inference: the pose of an occluded image, repaired with the prior (paper, "Iterative inference").

Each iteration finds keypoints in its input, lets the memory recall the typical pose nearest to them, draws that pose and
lets the decoder complete the occluded image along it; from the result comes the next iteration's input:

    input --estimate--> T' --recall--> T'_recon --draw--> skeleton map --+
      ^                                                                  |
      +--------------------------- decoder <-- the occluded image -------+

The first input is the occluded image. The original implementation does not have this. The paper's next input is the whole
reconstruction (`paper`); where it is known what is hidden, only that is taken from the reconstruction (`visible`): what
the camera saw stays as sharp as it was, and that, as measured, is what repairs poses (docs/results.md). Where it is not known,
the model finds what is hidden (`found`); it is believed where the pose gets surer by it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F

from ppl_cli.data.frame import Frame
from ppl_cli.errors import UsageError
from ppl_cli.inference.estimate import Estimator

Method = Literal["visible", "found", "paper"]
NOTHING_SAID: dict[Method, str] = {  # what a method does where nothing says what is hidden
    "visible": "the whole image is taken as visible, which leaves every pose as it is found",
    "found": "the model finds it",
    "paper": "the whole image is taken as visible, and the paper's procedure can make poses worse (docs/results.md); a run of "
    "ppl can learn to find it: ppl train --out RUN --resume --set train.uncover=1000",
}


@dataclass(frozen=True)
class Options:
    iterations: int = 4
    method: Method = "visible"
    until_px: float | None = None  # an image is done once no keypoint moves further, in pixels of the network's square

    def __post_init__(self) -> None:
        if type(self.iterations) is not int or self.iterations < 0:
            raise UsageError(f"iterations: expected a whole number of 0 or more, got {self.iterations!r}")
        if self.method not in get_args(Method):
            raise UsageError(f"method: expected {', '.join(get_args(Method)[:-1])} or paper, got {self.method!r}")
        if self.until_px is not None and not self.until_px > 0:
            raise UsageError(f"--until-converged (until_px) is {self.until_px:g}: give a number of pixels above 0")


class Step(NamedTuple):
    """One iteration of the images `rows` of a batch, for pictures."""

    rows: torch.Tensor  # (R,)
    image: torch.Tensor  # (R, 3, S, S) the input
    keypoints: torch.Tensor  # (R, N, 2) T'
    skeleton: torch.Tensor | None = None  # (R, 1, S, S); none for images that are done
    reconstruction: torch.Tensor | None = None  # (R, 3, S, S)


class Refinement(NamedTuple):
    """T is the number of iterations; the first pose is that of the occluded image as it is."""

    keypoints: torch.Tensor  # (T + 1, B, N, 2)
    confidence: torch.Tensor  # (T + 1, B, N), of the image that an iteration looks at
    used: torch.Tensor  # (B,) iterations that an image took
    failed: torch.Tensor  # (B,) the iteration whose result was not finite, else -1; the pose before it is kept
    strangeness: torch.Tensor  # (B,) of what was looked at last, as in `Look`
    visible: torch.Tensor  # (B, 1, S, S) 1 where visible, as given or found


@torch.inference_mode()
def refine(
    estimator: Estimator,
    images: torch.Tensor,
    visible: torch.Tensor | None = None,
    options: Options = Options(),
    record: list[Step] | None = None,
    frames: Sequence[Frame | None] = (),
) -> Refinement:
    """images (B, 3, S, S) in [-1, 1]; visible (B, 1, S, S), 1 where seen; none: the whole image is taken as visible
    but for what method `found` finds in the pictures, which lie in the squares as `frames` say.

    Hidden pixels enter as 0, the grey that training hides with, whatever colour the occluder has. What happens in each
    iteration is appended to `record`.
    """
    model, count = estimator.model, len(images)
    visible = torch.ones_like(images[:, :1]) if visible is None else visible.to(images, non_blocking=True)
    if options.method == "found":
        visible = believe(estimator, images, visible, visible * estimator.find_visible(images, frames))
    images = images * visible
    poses = images.new_full((options.iterations + 1, count, model.sizes.keypoints, 2), torch.nan)
    sure, strange = poses[..., 0].clone(), poses[0, :, 0, 0].clone()
    failed = torch.full((count,), -1, device=images.device)
    used = torch.zeros_like(failed)
    # Those still going on: their numbers, occluded images, what of them is visible, and their next input.
    rows, occluded, shown, current = torch.arange(count, device=images.device), images, visible, images
    for iteration in range(options.iterations + 1):
        if iteration:
            poses[iteration], sure[iteration] = poses[iteration - 1], sure[iteration - 1]
        if not len(rows):
            continue
        keypoints, confidence, strangeness, recalled = estimator.look(current)
        lost = failed[rows] >= 0
        fine = keypoints.isfinite().all((1, 2)) & ~lost
        failed[rows] = torch.where(fine | lost, failed[rows], iteration)
        poses[iteration, rows] = torch.where(fine[:, None, None], keypoints, poses[iteration, rows])
        sure[iteration, rows] = torch.where(fine[:, None], confidence, sure[iteration, rows])
        strange[rows] = torch.where(fine, strangeness, strange[rows])
        used[rows] = torch.where(fine, iteration, used[rows])
        if iteration == options.iterations and record is None:
            break
        if record is not None or some_may_stop(iteration, options):
            going = fine & unfinished(poses[: iteration + 1, rows], shown, options)
            if record is not None and not going.all():
                record.append(Step(rows[~going], current[~going], keypoints[~going]))
            # The only wait for the device. Where no image may stop, one that failed goes along and keeps its last pose.
            going = going.nonzero()[:, 0]
            rows, occluded, shown, current, keypoints, recalled = (
                t[going] for t in (rows, occluded, shown, current, keypoints, recalled)
            )
        if len(rows):
            with estimator.compute.autocast():
                skeleton = model.draw(recalled)
                reconstruction = model.reconstruct(occluded, skeleton).float()
            if record is not None:
                record.append(Step(rows, current, keypoints, skeleton.float(), reconstruction))
            # What is not finite stays so, for the next look to find: clamping would hide an infinity.
            finite = reconstruction.isfinite().all((1, 2, 3))
            reconstruction = torch.where(finite[:, None, None, None], reconstruction, torch.nan)
            current = reconstruction
            if options.method != "paper":
                current = torch.where(shown > 0, occluded, reconstruction.clamp(-1, 1))
    used, failed = torch.stack((used, failed)).cpu()
    return Refinement(poses, sure, used, failed, strange, visible)


@torch.inference_mode()
def believe(estimator: Estimator, images: torch.Tensor, visible: torch.Tensor, found: torch.Tensor) -> torch.Tensor:
    """`found` where the pose is surer once what it hides is completed, else `visible`; all (B, 1, S, S).

    What is taken for hidden by mistake, as a floor like what covers, would make poses worse (docs/results.md). Without a
    calibration nothing says how sure a pose is, and all is believed.
    """
    rows = (found < visible).flatten(1).any(1).nonzero()[:, 0]
    if estimator.calibration is None or not len(rows):
        return found
    shown = found[rows]
    occluded = images[rows] * shown
    recalled = estimator.look(occluded).recalled
    with estimator.compute.autocast():
        completed = estimator.model.complete(occluded, shown, recalled)
    sure, before = (estimator.look(look).confidence.mean(1) for look in (completed, images[rows] * visible[rows]))
    believed = visible.clone()
    believed[rows] = torch.where((sure > before)[:, None, None, None], shown, visible[rows])
    return believed


def some_may_stop(iteration: int, options: Options) -> bool:
    """Whether to look for images that are done: those with nothing hidden at once, those that stand still from then on."""
    return (options.until_px is not None and iteration > 0) or (options.method != "paper" and iteration == 0)


def unfinished(poses: torch.Tensor, visible: torch.Tensor, options: Options) -> torch.Tensor:
    """(R,): which images another iteration can change. poses (so far, R, N, 2), visible (R, 1, S, S)."""
    going = torch.full(poses.shape[1:2], len(poses) <= options.iterations, device=poses.device)
    if options.method != "paper":
        going &= (visible == 0).any((1, 2, 3)).view(-1)  # nothing is hidden: the next input would be the same
    if options.until_px is not None and len(poses) > 1:
        until = 2 * options.until_px / (visible.shape[-1] - 1)  # pixels of the square -> [-1, 1]
        going &= (poses[-1] - poses[-2]).norm(dim=-1).amax(1) > until
    return going


def seen(keypoints: torch.Tensor, visible: torch.Tensor) -> torch.Tensor:
    """keypoints (R, N, 2), visible (R, 1, S, S) -> (R, N) bool: does the pixel under a keypoint show the object?

    Beyond the edge of the picture the nearest pixel decides.
    """
    at = F.grid_sample(visible, keypoints[:, :, None], mode="nearest", padding_mode="border", align_corners=True)
    return at[:, 0, :, 0] > 0
