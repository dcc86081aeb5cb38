import torch

from ppl_cli.data.warp import ROTATION, bring_back, origins, random_affine, random_bends, warp_images


def angles(affine: torch.Tensor) -> torch.Tensor:
    return torch.atan2(affine[:, 1, 0], affine[:, 0, 0])


def test_images_are_turned_by_any_angle_where_that_is_wanted_and_little_else_changes():
    turned = random_affine(400, torch.Generator().manual_seed(0), 0.4, rotate=True)
    usual = random_affine(400, torch.Generator().manual_seed(0), 0.4)
    assert angles(usual).abs().max() <= 0.4 * ROTATION
    quarters = angles(turned).div(torch.pi / 2).floor().unique(return_counts=True)[1]
    assert len(quarters) == 4
    assert quarters.min() > 80
    assert torch.equal(turned[..., 2], usual[..., 2])
    assert torch.allclose(turned[..., :2].det(), usual[..., :2].det(), atol=1e-5)


def test_turned_and_else_as_it_is():
    affine = random_affine(5, torch.Generator().manual_seed(0), 0.0, rotate=True)
    assert torch.allclose(affine[..., :2] @ affine[..., :2].mT, torch.eye(2).expand(5, 2, 2), atol=1e-6)
    assert (affine[..., 2] == 0).all()


def test_points_of_a_bent_image_are_brought_back_to_what_they_show():
    random, size = torch.Generator().manual_seed(0), 64
    affine, bends = random_affine(8, random), random_bends(8, 0.5, random)
    y, x = torch.meshgrid(*[torch.linspace(-1, 1, size)] * 2, indexing="ij")
    places = torch.stack((x, y)).expand(8, 2, -1, -1)  # each pixel says where it lies
    points = torch.rand(8, 20, 2, generator=random) * 1.8 - 0.9
    warped = warp_images(places, affine, bends)
    shown = torch.nn.functional.grid_sample(warped, points[:, :, None], align_corners=True)[..., 0].mT
    back = bring_back(points, affine, bends)
    inside = (back.abs() < 0.95).all(-1)
    assert inside.float().mean() > 0.5
    assert (shown - back)[inside].abs().max() < 1e-3
    assert (back - bring_back(points, affine)).abs().mean() > 0.02  # 1 % of the side


def test_bends_fold_nothing_and_differ():
    affine, random = torch.eye(2, 3).expand(200, -1, -1), torch.Generator().manual_seed(0)
    before = origins(torch.zeros(200, 1, 64, 64), affine, random_bends(200, 0.5, random))
    along, down = before.diff(dim=2)[:, :-1], before.diff(dim=1)[:, :, :-1]
    areas = (along[..., 0] * down[..., 1] - along[..., 1] * down[..., 0]) / (2 / 63) ** 2
    assert (areas > 0).float().mean() > 0.999
    assert 0.1 < areas.std() < 0.5
    assert before.flatten(1).unique(dim=0).shape[0] == 200
    flat = origins(torch.zeros(2, 1, 64, 64), affine[:2], random_bends(2, 0.0, random))
    torch.testing.assert_close(flat, origins(flat.permute(0, 3, 1, 2), affine[:2]))
