import torch

from ppl_cli.model.finder import LARGEST, MOST, OcclusionFinder


def test_an_image_that_seems_all_hidden_is_of_another_kind_and_taken_as_visible():
    finder = OcclusionFinder(2).eval()
    images = torch.zeros(2, 3, 32, 32)
    images[0, :, :, : int(32 * MOST) - 2] = 1
    images[1, :, :, : int(32 * MOST) + 3] = 1
    finder.forward = lambda images: images[:, :1] - 0.5  # white is what hides
    visible = finder.find_visible(images)
    assert torch.equal(visible[0], (images[0, :1] < 0.5).float())
    assert visible[1].all()


def test_a_speck_is_not_taken_for_something_that_hides():
    finder = OcclusionFinder(2).eval()
    finder.forward = lambda images: images[:, :1] - 0.5
    images = torch.zeros(2, 3, 32, 32)
    images[0, :, 4:7, 4:7] = 1  # 9 of 1,024 pixels
    images[1, :, 4:8, 4:8] = 1
    assert finder.find_visible(images).flatten(1).sum(1).tolist() == [1024, 1024 - 16]


def test_large_images_are_looked_at_in_a_smaller_size():
    finder = OcclusionFinder(2).eval()
    seen = []
    finder.forward = lambda images: (seen.append(images.shape[-1]), images[:, :1] - 0.5)[1]
    images = torch.zeros(1, 3, 256, 256)
    images[..., 64:192, 32:128] = 1
    assert torch.equal(finder.find_visible(images), (images[:, :1] < 0.5).float())
    assert seen == [LARGEST]


def test_a_cover_moves_what_is_found_as_it_moves():
    """Away from the edges the network sees no positions: by eight pixels, the cell of its deepest features."""
    torch.manual_seed(0)
    finder = OcclusionFinder(2).eval()
    image = torch.zeros(1, 3, 96, 96)
    image[..., 40:48, 40:48] = 1
    with torch.no_grad():
        still, moved = finder(image), finder(image.roll(8, -1))
    assert torch.allclose(moved[..., 36:60, 36:60], still.roll(8, -1)[..., 36:60, 36:60], atol=1e-4)
    assert still[..., 36:60, 36:60].std() > 1e-4
