import math

import torch

from ppl_cli.data.cutout import EDGE, MARGIN, SMALLEST, cut_out, enclose
from ppl_cli.data.warp import origins, warp_images


def test_discs_enclose_the_useful_keypoints_alone():
    keypoints = torch.tensor([[[0.0, 0.0], [0.6, 0.0], [0.9, 0.9]], [[0.2, -0.2], [0.2, -0.2], [-1.0, 0.0]]])
    centres, radii = enclose(keypoints, torch.tensor([True, True, False]))
    torch.testing.assert_close(centres, torch.tensor([[0.3, 0.0], [0.2, -0.2]]))
    torch.testing.assert_close(radii, torch.tensor([MARGIN * 0.3, SMALLEST]))


def test_what_lay_in_the_disc_is_seen_turned_and_around_it_the_backdrop():
    size, angle = 65, 2.0
    line = torch.linspace(-1, 1, size)
    at = torch.stack((line.expand(size, size), line[:, None].expand(size, size)))  # (x, y) of each pixel
    images = torch.cat((at, torch.zeros(1, size, size)))[None]
    cos, sin = math.cos(angle), math.sin(angle)
    affine = torch.tensor([[[cos, -sin, 0.1], [sin, cos, 0.0]]])
    centre, radius = torch.tensor([[0.3, -0.2]]), torch.tensor([0.35])
    warped = warp_images(images, affine)
    seen = cut_out(warped, origins(warped, affine), torch.full((1, 3, size, size), 5.0), centre, radius)[0]
    away = (affine[0, :, :2] @ at.flatten(1) + affine[0, :, 2:] - centre.T).norm(dim=0).unflatten(0, (size, size))
    assert (seen[:, away > radius] == 5).all()
    within = away < radius - EDGE
    assert within.sum() > 100
    before = seen[:2, within]  # pixels of the disc say where in the image they come from
    assert ((before - centre.T).norm(dim=0) < radius).all()
    assert (seen[2, within] == 0).all()


def test_a_pose_that_is_not_a_number_hides_nothing_from_the_guard():
    images = torch.zeros(1, 3, 8, 8)
    disc = enclose(torch.full((1, 2, 2), torch.nan), torch.tensor([True, True]))
    assert cut_out(images, origins(images, torch.eye(2, 3)[None]), images, *disc).isnan().any()
