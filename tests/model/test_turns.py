import math

import torch

from ppl_cli.model.turns import USUAL, find_turns, turn

POSE = torch.tensor([(-0.6, 0.0), (-0.3, 0.1), (0.0, -0.1), (0.3, 0.1), (0.6, 0.0)])
ALIKE = torch.ones(5)


def test_turns_are_found_wherever_and_however_large_the_object_is():
    turns = torch.linspace(-math.pi, math.pi, 42)[1:-1]
    poses = turn(POSE.expand(40, -1, -1), turns) * torch.linspace(0.1, 2, 40)[:, None, None] + torch.randn(40, 1, 2)
    expected = torch.where(turns.abs() > USUAL, turns, 0)
    torch.testing.assert_close(find_turns(poses, POSE, ALIKE), expected, atol=1e-3, rtol=0)


def test_from_x_towards_y_and_back():
    quarter = torch.tensor([math.pi / 2])
    torch.testing.assert_close(turn(torch.tensor([[[1.0, 0.0]]]), quarter), torch.tensor([[[0.0, 1.0]]]))
    torch.testing.assert_close(turn(turn(POSE[None], quarter), -quarter), POSE[None])


def test_keypoints_that_weigh_nothing_do_not_count():
    poses = turn(POSE[None], torch.tensor([2.0]))
    poses[0, 4] = 100.0
    found = find_turns(poses, POSE, torch.tensor([1.0, 1, 1, 1, 0]))
    torch.testing.assert_close(found, torch.tensor([2.0]))


def test_a_point_and_what_is_no_number_are_not_turned():
    poses = torch.stack((torch.zeros(5, 2), torch.full((5, 2), torch.nan)))
    assert (find_turns(poses, POSE, ALIKE) == 0).all()
    assert (find_turns(POSE[None], torch.zeros(5, 2), torch.zeros(5)) == 0).all()
