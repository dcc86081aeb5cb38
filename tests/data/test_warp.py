import torch

from ppl_cli.data.warp import ROTATION, random_affine


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
