import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ppl_cli.model.skeleton import plain_skeleton_map, skeleton_map

THICK = 5e-4


def random_pose(batch=2, count=16, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    keypoints = torch.rand(batch, count, 2, generator=generator, dtype=dtype) * 2.2 - 1.1
    weights = torch.rand(count, count, generator=generator, dtype=dtype) + 0.01
    return keypoints.requires_grad_(), weights.requires_grad_()


@pytest.mark.parametrize("thickness", [THICK, 7.5e-5])
@pytest.mark.parametrize("size", [128, 64, 33])
def test_equals_the_plain_map_in_values_and_gradients(size, thickness):
    keypoints, weights = random_pose()
    plain, ours = plain_skeleton_map(keypoints, weights, size, thickness), skeleton_map(keypoints, weights, size, thickness)
    # Thin links magnify the rounding of float32 coordinates; both maps are then about 1e-5 from the exact one.
    assert (plain - ours).abs().max() < (1e-5 if thickness == THICK else 3e-5)
    pull = torch.randn(plain.shape, generator=torch.Generator().manual_seed(1))
    for expected, got in zip(
        torch.autograd.grad((plain * pull).sum(), (keypoints, weights)),
        torch.autograd.grad((ours * pull).sum(), (keypoints, weights)),
        strict=True,
    ):
        assert (expected - got).abs().max() <= 1e-4 * expected.abs().max()


def test_gradients_are_derivatives():
    keypoints, weights = random_pose(1, 4, torch.float64)
    assert torch.autograd.gradcheck(lambda k, w: skeleton_map(k, w, 9, 0.05), (keypoints, weights), eps=1e-7, atol=1e-5)


def test_lies_on_the_segment_and_is_as_strong_as_its_link():
    keypoints = torch.tensor([[[-0.5, 0.0], [0.5, 0.0]]])
    drawn = skeleton_map(keypoints, torch.full((2, 2), 0.7), 65, THICK)[0, 0]
    assert torch.allclose(drawn[32, 16:49], torch.full((33,), 0.7))  # row 32 is y = 0, columns 16..48 are x in [-0.5, 0.5]
    assert drawn[28].max() < 0.7 * 1e-5
    assert drawn[32, 10] < 0.7 * 1e-5


def test_x_runs_along_columns_and_y_along_rows():
    drawn = skeleton_map(torch.tensor([[[0.9, -0.9], [0.9, -0.5]]]), torch.ones(2, 2), 33, THICK)[0, 0]
    row, column = divmod(int(drawn.argmax()), 33)
    assert column > 28
    assert row < 10


def test_two_keypoints_in_one_place_draw_a_dot_without_nan():
    keypoints = torch.zeros(1, 2, 2, requires_grad=True)
    weights = torch.ones(2, 2, requires_grad=True)
    drawn = skeleton_map(keypoints, weights, 33, THICK)
    drawn.square().sum().backward()
    assert torch.allclose(drawn, plain_skeleton_map(keypoints, weights, 33, THICK), atol=1e-5)
    assert keypoints.grad.isfinite().all()
    assert weights.grad.isfinite().all()


def test_links_of_weight_zero_draw_nothing():
    keypoints, _ = random_pose(1, 4)
    weights = torch.zeros(4, 4, requires_grad=True)
    drawn = skeleton_map(keypoints, weights, 32, THICK)
    drawn.sum().backward()
    assert drawn.abs().max() == 0
    assert weights.grad.isfinite().all()
    assert keypoints.grad.isfinite().all()


def test_order_of_keypoints_does_not_matter():
    keypoints, weights = random_pose(1, 6)
    symmetric = weights + weights.T
    order = torch.randperm(6, generator=torch.Generator().manual_seed(3))
    ours = skeleton_map(keypoints, symmetric, 48, THICK)
    other = skeleton_map(keypoints[:, order], symmetric[order][:, order], 48, THICK)
    assert torch.allclose(ours, other, atol=1e-5)


class LargestTensor(TorchDispatchMode):
    """Remembers the number of elements of the largest tensor that any operation makes."""

    largest = 0

    def __torch_dispatch__(self, function, types, arguments=(), settings=None):
        result = function(*arguments, **(settings or {}))
        if isinstance(result, torch.Tensor):
            self.largest = max(self.largest, result.numel())
        return result


def test_makes_no_tensor_with_a_map_per_link():
    keypoints, weights = random_pose(2, 24)
    links, sides, maps = 24 * 23 // 2, 2 * 2 * 64, 2 * 64 * 64
    for draw, low, high in ((skeleton_map, maps, links * sides), (plain_skeleton_map, links * maps, 4 * links * maps)):
        with LargestTensor() as seen:
            draw(keypoints, weights, 64, THICK).sum().backward()
        assert low <= seen.largest <= high
