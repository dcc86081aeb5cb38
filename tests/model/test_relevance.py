"""A keypoint is relevant where an image is drawn worse with the pose of another, and only there."""

import torch

from ppl_cli.model.relevance import relevance_at, relevance_map


def test_what_the_other_pose_draws_worse_matters_and_nothing_else():
    images = torch.zeros(1, 3, 32, 32)
    own, other = images.clone(), images.clone()
    own[..., 4, 4] = 1.0  # drawn worse with its own pose
    other[..., 20, 10] = -0.5
    other[:, 0, 21, 10] = 0.75
    maps = relevance_map(images, own, other)
    assert maps.nonzero().tolist() == [[0, 20, 10], [0, 21, 10]]
    assert maps.amax((1, 2)) == maps[0, 20, 10] == 2 * maps[0, 21, 10] == 0.5


def test_relevance_is_that_of_the_place_whatever_the_scale():
    maps = torch.zeros(2, 65, 65)
    maps[0, 40:44, 8:12] = 1.0  # rows, columns
    maps[1] = 7.0
    keypoints = torch.tensor([[9.5, 41.5], [9.5, 44.5], [41.5, 9.5], [40.0, 64.0]]) / 32 - 1  # x, y
    found = relevance_at(keypoints.expand(2, 4, 2), maps)
    on, near, exchanged, edge = found[0].tolist()
    assert on > 20
    assert 8 < near < on
    assert max(exchanged, edge) < 1e-3
    torch.testing.assert_close(found[1], torch.ones(4))
    torch.testing.assert_close(relevance_at(keypoints.expand(2, 4, 2), 1e-3 * maps), found)
    assert relevance_at(keypoints.expand(2, 4, 2), 0 * maps).eq(0).all()  # a decoder that ignores the pose
