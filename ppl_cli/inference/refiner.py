"""Poses of occluded images: what is hidden is brought to the network's square with the image, and poses are refined."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from ppl_cli.data.frame import Frame
from ppl_cli.drawing.strips import Column
from ppl_cli.inference.estimate import NOT_FINITE, Decoded, Finder, is_explained, stack_squares
from ppl_cli.inference.refine import Options, Refinement, Step, refine, seen
from ppl_cli.results.pose import Pose, Refined


@dataclass
class Refiner(Finder):
    """A `Finder` whose poses are refined: `pose.refined` has every iteration."""

    title: ClassVar[str] = "refining poses"
    shares_cores: ClassVar[bool] = False  # the network needs many times what decoding does

    options: Options
    keep_columns: bool = False  # poses hold what pictures of the iterations need

    def find(self, held: list[Decoded], first: int = 0) -> list[Pose]:
        images = self.estimator.to_images(stack_squares(held, self.size))
        covered = np.zeros((len(held), 1, self.size, self.size), bool)
        for row, decoded in enumerate(held):
            if decoded.hidden is not None:
                covered[row, 0] = decoded.hidden
        visible = torch.from_numpy(~covered).to(images)
        record: list[Step] | None = [] if self.keep_columns else None
        refinement = refine(self.estimator, images, visible, self.options, record, [decoded.frame for decoded in held])
        under = torch.stack([seen(keypoints, refinement.visible) for keypoints in refinement.keypoints]).cpu().numpy()
        refinement = Refinement(*(tensor.cpu() for tensor in refinement))  # at once: each copy waits for the device
        poses = []
        for row, decoded in enumerate(held):
            if decoded.frame is None:
                poses.append(self.no_pose(first + row, decoded.problem))
                continue
            pose = self.read_pose(first + row, decoded.frame, refinement, row, under[:, row])
            if pose.refined is not None:
                known = decoded.hidden is not None or self.options.method == "found"
                pose.refined.whole = known and bool(refinement.visible[row].all())
                pose.refined.columns = None if record is None else pick_columns(row, record, self.kept)
            poses.append(pose)
        return poses

    def read_pose(self, index: int, frame: Frame, refinement: Refinement, row: int, visible: np.ndarray) -> Pose:
        """`visible` (T + 1, N): whether the pixel under a keypoint is."""
        failed, used = int(refinement.failed[row]), int(refinement.used[row])
        if failed == 0:
            return self.no_pose(index, NOT_FINITE)
        points = frame.to_pixels(refinement.keypoints[:, row, self.kept].numpy())
        sure = refinement.confidence[:, row, self.kept].numpy().astype(np.float64)
        explained = is_explained(float(refinement.strangeness[row]))
        moved = np.linalg.norm(points[-1] - points[0], axis=-1)
        refined = Refined(points, sure, used, visible[:, self.kept] & frame.inside(points), moved)
        problem = f"not finite at iteration {failed}; the pose before it is kept" if failed > 0 else None
        return Pose(index, frame.width, frame.height, points[-1], sure[-1], problem, refined, explained, self.names)


def pick_columns(row: int, record: list[Step], kept: Sequence[int]) -> list[Column]:
    """What happened to one image of a batch; keypoints that are not `kept` are NaN."""
    columns = []
    for step in record:
        at = (step.rows == row).nonzero()
        if len(at):
            k = int(at[0])
            drawn = (None, None) if step.skeleton is None else (step.skeleton[k], step.reconstruction[k])
            keypoints = torch.full_like(step.keypoints[k], torch.nan)
            keypoints[kept] = step.keypoints[k][kept]
            columns.append(Column(step.image[k], keypoints, *drawn))
    return columns
