import torch

from ppl_cli.data.ghosts import add_ghosts, random_ghosts


def test_ghosts_are_drawn_up_to_the_most_for_each_image():
    strengths = random_ghosts(2000, 0.4, False, torch.Generator().manual_seed(3))
    assert 0 <= strengths.min() < 0.01
    assert 0.39 < strengths.max() <= 0.4
    mirrored = random_ghosts(2000, 0.4, True, torch.Generator().manual_seed(3))
    assert -0.4 <= mirrored.min() < -0.39
    assert 0.39 < mirrored.max() <= 0.4
    assert 0.45 < (mirrored < 0).float().mean() < 0.55


def test_another_image_shines_through_turned_and_colours_stay():
    images = torch.rand(4, 3, 8, 8) * 2 - 1
    strengths = torch.tensor([0.0, 0.1, -0.2, 0.4])
    seen = add_ghosts(images, strengths)
    assert torch.equal(seen[0], images[0])
    assert torch.allclose(seen.mean((2, 3)), images.mean((2, 3)), atol=1e-6)
    ghost = (seen[3] - images[3]) / 0.4
    assert torch.allclose(ghost, (images[2] - images[2].mean((1, 2), keepdim=True)).flip(-2), atol=1e-5)
    mirrored = (seen[2] - images[2]) / 0.2
    assert torch.allclose(mirrored, (images[1] - images[1].mean((1, 2), keepdim=True)).flip(-1), atol=1e-5)
