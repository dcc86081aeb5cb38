"""What is said about all images together, in English for one and for many."""

import numpy as np
import pytest

from ppl_cli.results.pose import Pose, Refined
from ppl_cli.results.tally import Tally

UNLIKE = "unlike those that the model was trained on"


def pose(side: int | None, explained: bool | None = True, whole: bool = False) -> Pose:
    points = np.zeros((2, 3, 2))
    refined = Refined(points, points[..., 0], 1, points[..., 0] == 0, points[0, :, 0], whole)
    return Pose(0, side, side, points[-1], points[-1, :, 0], None if side else "damaged", refined if side else None, explained)


def unseen(share: float) -> Pose:
    hidden = pose(64)
    hidden.refined.visible = np.arange(20)[None] < 20 * share
    return hidden


def found(explained: bool | None) -> Pose:
    return Pose(0, 64, 64, np.zeros((3, 2)), np.zeros(3), explained=explained)


def test_a_column_is_named_only_where_it_is_written():
    for table, said in (
        (True, "(the column `status` of keypoints.csv says which)"),
        (False, "(with --format csv a column says which)"),
    ):
        tally = Tally(32, "letterbox", table=table)
        tally.add("a", found(False))
        assert next(tally.notes()).endswith(said)


@pytest.mark.parametrize(
    ("poses", "expected"),
    [
        ([pose(64), pose(None)], []),
        ([pose(10), pose(64)], ["1 image is smaller than the network's 32 pixels and was enlarged (0)"]),
        ([pose(10), pose(12)], ["2 images are smaller than the network's 32 pixels and were enlarged (0, ...)"]),
        ([pose(64), pose(64, whole=True), pose(None)], ["nothing is hidden in 1 of 2 images (the first: 1)"]),
        ([pose(64, False), pose(64, None)], [f"1 of 1 image, as completed, is {UNLIKE}"]),
        ([pose(64, False)] * 2, [f"2 of 2 images, as completed, are {UNLIKE}"]),
        ([found(False)] + [found(True)] * 19, []),
        ([found(False), found(False), found(True), pose(None, None)], [f"2 of 3 images are {UNLIKE}"]),
        ([found(False)], [f"1 of 1 image is {UNLIKE}"]),
        ([found(None)] * 3, []),
        (
            [unseen(0.1), unseen(0), pose(64)],
            ["in 2 of 3 images hardly a keypoint can be seen (in masks, white is what is hidden)"],
        ),
        ([unseen(0.1), pose(64)], []),
        ([unseen(0.3)] * 2, []),
        ([pose(None)], []),
    ],
)
def test_notes(poses, expected):
    tally = Tally(32, "letterbox")
    for number, one in enumerate(poses):
        tally.add(str(number), one)
    notes = list(tally.notes())
    assert [note.partition(" (the column")[0] for note in notes] == expected
    assert (tally.images, tally.skipped) == (len(poses), sum(one.width is None for one in poses))
