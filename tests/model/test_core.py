import copy
import math
from dataclasses import replace

import pytest
import torch

from ppl_cli.model.core import PosePriorLearner, Sizes
from ppl_cli.model.turns import turn

TINY = Sizes(image_size=32, keypoints=5, width=4, banks=3, vectors=4, dimension=16, thickness=5e-3, links_start=-4)


@pytest.fixture
def model() -> PosePriorLearner:
    torch.manual_seed(0)
    return PosePriorLearner(TINY)


def images(batch=3, size=32, seed=0):
    return torch.rand(batch, 3, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.mark.parametrize("sizes", [TINY, Sizes(48, 7, 6, 2, 3, 8, 5e-3, -4), Sizes(64, 2, 4, 1, 1, 4, 5e-3, 0)])
def test_shapes_follow_the_sizes(sizes):
    model = PosePriorLearner(sizes)
    s, n = sizes.image_size, sizes.keypoints
    output = model(images(2, s), images(2, s))
    assert output.estimate.keypoints.shape == (2, n, 2)
    assert output.estimate.affine.shape == (2, n, 2, 3)
    assert output.estimate.attention.shape == (2, n, s // 4, s // 4)
    assert output.skeleton_map.shape == (2, 1, s, s)
    assert output.reconstruction.shape == (2, 3, s, s)
    assert output.recall.tokens.shape == (2, sizes.banks, sizes.dimension)
    assert model.distil_prior().shape == (n, 2)


def test_keypoints_are_the_affine_transforms_of_the_prior(model):
    model.eval()
    estimate = model.estimate(images())
    prior = torch.cat((model.distil_prior(), torch.ones(5, 1)), 1)
    expected = torch.einsum("bnij,nj->bni", estimate.affine, prior)
    assert torch.allclose(estimate.keypoints, expected, atol=1e-6)
    assert torch.allclose(estimate.attention.sum((2, 3)), torch.ones(3, 5), atol=1e-5)


def test_evaluation_changes_nothing_and_images_do_not_see_each_other(model):
    model.eval()
    before = copy.deepcopy(model.state_dict())
    batch = images(4)
    together = model(batch, batch)
    alone = [model(image[None], image[None]) for image in batch]
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    for index, output in enumerate(alone):
        assert torch.allclose(together.estimate.keypoints[index], output.estimate.keypoints[0], atol=1e-5)
        assert torch.allclose(together.reconstruction[index], output.reconstruction[0], atol=1e-4)


def test_links_are_symmetric_positive_and_without_diagonal(model):
    links = model.link_weights()
    assert torch.equal(links, links.T)
    assert (links.diagonal() == 0).all()
    assert (links[~torch.eye(5, dtype=bool)] > 0).all()


def test_prior_takes_no_gradient_and_the_memory_gives_none_to_the_encoder(model):
    output = model(images(), images())
    assert not model.distil_prior().requires_grad
    (output.recall.keypoints.sum() + output.recall.tokens.sum()).backward()
    assert all(p.grad is None for p in model.encoder.parameters())


def test_reconstruction_teaches_encoder_links_and_alpha(model):
    model(images(), images()).reconstruction.square().mean().backward()
    assert model.raw_links.grad.abs().sum() > 0
    assert model.alpha.grad.abs() > 0
    assert all(p.grad.abs().sum() > 0 for n, p in model.encoder.named_parameters() if n.startswith("regress"))


def test_alpha_scales_the_reference(model):
    model.eval()
    reference, skeleton = images(), torch.zeros(3, 1, 32, 32)
    with torch.no_grad():
        model.alpha.fill_(0)
        assert torch.equal(model.reconstruct(reference, skeleton), model.reconstruct(-reference, skeleton))


def test_bfloat16_autocast_keeps_pose_and_memory_in_float32(model):
    with torch.autocast("cpu", torch.bfloat16):
        output = model(images(), images())
    assert output.reconstruction.dtype == torch.bfloat16
    assert output.estimate.keypoints.dtype == output.skeleton_map.dtype == torch.float32
    assert output.recall.keypoints.dtype == output.recall.tokens.dtype == torch.float32


def test_poses_begin_at_a_given_prior():
    sizes = replace(TINY, keypoints=6, given_keypoints=True)
    torch.manual_seed(0)
    model, plain = PosePriorLearner(sizes).eval(), PosePriorLearner(replace(sizes, given_keypoints=False)).eval()
    keypoints = torch.rand(6, 2) * 1.6 - 0.8
    links = torch.rand(6, 6).triu(1)
    links = links + links.T
    model.start_from(keypoints, links)
    images = torch.rand(4, 3, 32, 32) * 2 - 1
    found = model.estimate(images).keypoints
    assert (found - keypoints).norm(dim=-1).max() < 0.15
    assert (plain.estimate(images).keypoints - plain.distil_prior()).norm(dim=-1).mean() > 0.2
    assert torch.allclose(model.link_weights(), links, atol=1e-5)
    assert torch.equal(model.distil_prior(), keypoints)
    found.sum().backward()  # a given prior learns, where it is not frozen
    assert model.given_keypoints.grad.abs().sum() > 0


def test_blocks_halve_and_convolve_at_once_as_one_after_the_other():
    from ppl_cli.model.blocks import ResidualDown, halve

    torch.manual_seed(0)
    block = ResidualDown(3, 5)
    x = torch.randn(2, 3, 16, 12, requires_grad=True)
    side = block.side_norm(halve(block.side(x)))
    main = torch.nn.functional.leaky_relu(block.norm1(halve(block.conv1(x))), 0.2)
    expected = torch.nn.functional.leaky_relu(block.norm2(block.conv2(main)) + side, 0.2)
    assert torch.allclose(block(x), expected, atol=1e-5)
    wanted = torch.autograd.grad(expected.square().sum(), (x, block.side.weight, block.conv1.weight))
    got = torch.autograd.grad(block(x).square().sum(), (x, block.side.weight, block.conv1.weight))
    assert all((a - b).abs().max() < 1e-4 * a.abs().max() for a, b in zip(wanted, got, strict=True))


def test_poses_at_any_angle_are_recalled_as_those_of_training_and_turned_back():
    model = PosePriorLearner(replace(TINY, any_heading=True)).eval()
    poses = model.distil_prior() * torch.linspace(0.5, 3, 6)[:, None, None] + 0.1 * torch.randn(6, 1, 2)
    recall = model.recall(poses)
    for angle in (1.0, -2.0, math.pi):
        angles = torch.full((6,), angle)
        turned = model.recall(turn(poses, angles))
        torch.testing.assert_close(turned.keypoints, turn(recall.keypoints, angles), atol=1e-4, rtol=1e-4)
        assert torch.equal(turned.indices, recall.indices)
    plain = PosePriorLearner(TINY)
    plain.load_state_dict(model.state_dict())
    for other in (plain.eval(), model.train()):  # images of training are turned already
        assert torch.equal(other.recall(turn(poses, angles)).keypoints, model.memory.recall(turn(poses, angles)).keypoints)
