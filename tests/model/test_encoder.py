import pytest
import torch

from ppl_cli.model.encoder import Encoder, attended, pixel_grid

SIZE, CELL = 64, 4
KINDS = pytest.mark.parametrize("kind", ["anchored", "fine"])


def look_at(encoder: Encoder, cells: list[tuple[int, int]], side: int) -> torch.Tensor:
    """Features (1, C, side, side) of an object in these cells (column, row), at which every keypoint looks."""
    features = torch.zeros(1, encoder.attend.in_channels, side, side)
    for number, (column, row) in enumerate(cells):
        features[0, :, row, column] = torch.linspace(1, 2 + number, features.shape[1])
    with torch.no_grad():
        encoder.attend.weight.zero_()
        encoder.attend.weight[:, :, 1, 1] = 5.0  # the cell itself decides, strongly
    return features


def test_cells_are_where_their_pixels_are():
    grid = pixel_grid(SIZE, SIZE, torch.zeros(1)).unflatten(0, (SIZE, SIZE))
    of_pixels = grid.unflatten(0, (-1, CELL)).unflatten(2, (-1, CELL)).mean((1, 3)).flatten(0, 1)
    side = SIZE // CELL
    one_cell_each = torch.eye(side * side).unflatten(-1, (side, side)).unsqueeze(0)
    assert torch.allclose(attended(one_cell_each, torch.zeros(1))[0], of_pixels, atol=1e-6)


@pytest.mark.parametrize(("right", "down"), [(1, 0), (0, 3), (5, -2)])
@KINDS
def test_anchored_keypoints_move_exactly_as_the_object_does(right, down, kind):
    torch.manual_seed(0)
    encoder, prior, side = Encoder(7, 4, kind), torch.rand(7, 2) - 0.5, SIZE // CELL
    object_ = [(5, 6), (6, 6), (6, 7)]
    here = encoder.locate(look_at(encoder, object_, side), prior).keypoints
    there = encoder.locate(look_at(encoder, [(x + right, y + down) for x, y in object_], side), prior).keypoints
    moved = torch.tensor([right, down]) * CELL * 2 / (SIZE - 1)  # normalised
    assert torch.allclose(there - here, moved.expand(1, 7, 2), atol=1e-5)
    paper = Encoder(7, 4)
    stays = [paper.locate(look_at(paper, cells, side), prior).keypoints for cells in (object_, [(9, 9)])]
    assert not torch.allclose(stays[1] - stays[0], moved.expand(1, 7, 2), atol=1e-2)  # the check can fail


@KINDS
def test_anchored_keypoints_are_the_affine_transforms_of_the_prior(kind):
    torch.manual_seed(1)
    encoder, prior = Encoder(5, 4, kind).eval(), torch.rand(5, 2) - 0.5
    estimate = encoder(torch.rand(2, 3, 32, 32) * 2 - 1, prior)
    expected = torch.einsum("bnij,nj->bni", estimate.affine, torch.cat((prior, torch.ones(5, 1)), 1))
    assert torch.allclose(estimate.keypoints, expected, atol=1e-6)


@KINDS
def test_anchored_poses_begin_near_a_given_prior(kind):
    torch.manual_seed(2)
    encoder, prior = Encoder(6, 8, kind), torch.rand(6, 2) - 0.5
    encoder.start_at_prior()
    keypoints = encoder(torch.rand(4, 3, 64, 64) * 2 - 1, prior).keypoints
    assert (keypoints - prior).abs().mean() < 0.2


def test_fine_features_see_what_does_not_pass_the_coarsest_cells():
    """With the coarsest block silenced, fine features still tell apart two images that differ in a small part."""
    torch.manual_seed(3)
    images = torch.rand(2, 3, SIZE, SIZE)
    images[1] = images[0]
    images[1, :, 20:24, 20:24] = 1
    changes = {}
    for kind in ("anchored", "fine"):
        encoder = Encoder(3, 8, kind).eval()
        with torch.no_grad():
            for weight in encoder.blocks[3].parameters():
                weight.zero_()
            first, second = encoder.blocks(images)
        changed = (first - second).abs().amax(0)
        changes[kind] = changed.max()
    assert changes["anchored"] == 0 < changes["fine"]
    assert changed[5, 5] > changed[12:, 12:].max()  # most of all where it is: cells of 4 x 4 pixels
