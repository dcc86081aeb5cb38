import pytest
import torch
import torch.nn.functional as F

from ppl_cli.data.warp import bring_back, random_affine, warp_images
from ppl_cli.model.encoder import Estimate, attended
from ppl_cli.model.losses import (
    MultiscaleLoss,
    PerceptualLoss,
    anchor_loss,
    boundary_loss,
    equivariance_loss,
    link_loss,
    relevance_loss,
    separation_loss,
    shortness_loss,
)


def test_boundary_counts_only_what_is_outside():
    inside = torch.rand(2, 4, 2) * 2 - 1
    assert boundary_loss(inside) == 0
    inside[0, 1, 0] = 1.5
    inside[1, 2, 1] = -3.0
    assert boundary_loss(inside).item() == pytest.approx((1.5 + 3.0) / 4)  # mean over 2 images x 2 coordinates


def test_links_keep_the_lengths_of_the_prior():
    prior = torch.tensor([[0.0, 0.0], [0.3, 0.4], [1.0, 0.0]])
    weights = torch.tensor([[0.0, 2, 0], [2, 0, 0], [0, 0, 0]])
    assert link_loss(prior[None] + 0.1, prior, weights).item() == pytest.approx(0, abs=1e-5)
    assert link_loss(prior[None] * 2, prior, weights).item() == pytest.approx(2 * 0.5, abs=1e-5)


def test_separation_pushes_apart():
    close = torch.tensor([[[0.0, 0.0], [0.1, 0.0]]], requires_grad=True)
    separation_loss(close).backward()
    assert close.grad[0, 0, 0] > 0 > close.grad[0, 1, 0]  # descending moves the left one left and the right one right
    assert separation_loss(torch.tensor([[[-1.0, 0], [1.0, 0]]])) < 1e-10


def test_an_anchored_keypoint_lies_where_its_attention_does():
    attention = torch.zeros(1, 2, 16, 16)
    attention[0, 0, 3, 4], attention[0, 1, 3, 4], attention[0, 1, 3, 6] = 1, 0.5, 0.5
    where = attended(attention, torch.zeros(1))
    shift = torch.tensor([0.1, -0.3])
    for moved, loss in ((0 * shift, 0.0), (shift, 0.2)):
        assert anchor_loss(Estimate(where + moved, None, attention, None)).item() == pytest.approx(loss, abs=1e-6)


def test_shortness_draws_a_keypoint_to_those_linked_to_it_however_strongly():
    keypoints = torch.tensor([[[0.0, 0.0], [0.3, 0.4], [1.0, 0.0]]], requires_grad=True)
    weights = torch.tensor([[0.0, 1, 0], [1, 0, 0.01], [0, 0.01, 0]])
    far = (0.7**2 + 0.4**2) ** 0.5
    loss = shortness_loss(keypoints, weights)
    assert loss.item() == pytest.approx((0.5 + (0.5 + 0.01 * far) / 1.01 + far) / 3, abs=1e-5)
    loss.backward()
    assert keypoints.grad[0, 2, 0] > 0.2  # it is the weakly linked one's only link
    assert torch.isfinite(shortness_loss(torch.zeros(1, 3, 2), torch.zeros(3, 3)))


def test_relevance_leads_keypoints_out_of_empty_places_and_leaves_those_on_the_object():
    maps = torch.zeros(1, 64, 64)
    maps[:, 20:40, 28:36] = 1
    on, beside = [[0.0, 0.0]], [[0.4, 0.0]]
    assert relevance_loss(torch.tensor([on]), maps) == 0
    keypoints = torch.tensor([on + beside], requires_grad=True)
    loss = relevance_loss(keypoints, maps)
    assert 0.5 < loss < 4
    loss.backward()
    assert keypoints.grad[0, 0].eq(0).all()
    assert keypoints.grad[0, 1, 0] > 1  # a step against it leads towards the object
    assert abs(keypoints.grad[0, 1, 1]) < keypoints.grad[0, 1, 0] / 2
    assert torch.isfinite(relevance_loss(keypoints, 0 * maps))  # a decoder that ignores the pose


def test_equivariance_is_zero_for_points_that_move_with_the_image():
    generator = torch.Generator().manual_seed(0)
    affine = random_affine(3, generator)
    moved = torch.rand(3, 6, 2, generator=generator)
    keypoints = moved @ affine[..., :2].mT + affine[:, None, :, 2]
    assert equivariance_loss(keypoints, bring_back(moved, affine)) < 1e-6
    with torch.autocast("cpu", torch.bfloat16):  # positions need more than the 8 bits of bfloat16
        assert equivariance_loss(keypoints, bring_back(moved, affine)) < 1e-6
    assert equivariance_loss(keypoints + 0.1, bring_back(moved, affine)).item() == pytest.approx(0.1, abs=1e-5)


def test_warped_image_shows_a_point_where_the_affine_says():
    image = torch.zeros(1, 1, 65, 65)
    image[0, 0, 20, 40] = 1
    point = torch.tensor([40.0, 20.0]) / 32 - 1
    affine = random_affine(1, torch.Generator().manual_seed(1))
    row, column = divmod(int(warp_images(image, affine)[0, 0].argmax()), 65)
    where = torch.tensor([column, row]) / 32 - 1
    back = affine[0, :, :2] @ where + affine[0, :, 2]
    assert (back - point).abs().max() < 1.5 / 32


def test_multiscale_is_zero_for_equal_images_and_sees_edges_of_any_colour():
    loss = MultiscaleLoss()
    image = torch.zeros(1, 3, 32, 32)
    image[..., 12:20] = 1
    assert loss(image, image) == 0
    flat, other_colour = torch.full_like(image, 0.25), -image
    pixels = [
        sum(F.l1_loss(F.avg_pool2d(shown, 2**i), F.avg_pool2d(image, 2**i)) for i in range(3)) for shown in (flat, other_colour)
    ]
    assert loss(flat, image) - pixels[0] > 0.1  # no edges
    assert loss(other_colour, image) - pixels[1] < 1e-5  # the same edges


def vgg_weights(stages=((2, 64), (2, 128))):
    weights, index, channels = {}, 0, 3
    for number, (convolutions, width) in enumerate(stages):
        index += bool(number)
        for _ in range(convolutions):
            weights[f"features.{index}.weight"] = torch.randn(width, channels, 3, 3) / (channels * 9) ** 0.5
            weights[f"features.{index}.bias"] = torch.zeros(width)
            index, channels = index + 2, width
    return weights


def test_perceptual_has_torchvisions_names_no_parameters_to_train_and_teaches_only_the_reconstruction():
    loss = PerceptualLoss(vgg_weights(), "vgg19", stages=2, size=32)
    assert not any(p.requires_grad for p in loss.parameters())
    ours = torch.rand(2, 3, 48, 48, requires_grad=True)
    theirs = torch.rand(2, 3, 48, 48, requires_grad=True)
    loss(ours, theirs).backward()
    assert ours.grad.abs().sum() > 0
    assert theirs.grad is None
    assert loss(ours, ours) == 0


def test_perceptual_stages_are_torchvisions():
    from torchvision.models import vgg16, vgg19

    for name, build in {"vgg16": vgg16, "vgg19": vgg19}.items():
        network = build(weights=None).features.eval()
        weights = {f"features.{key}": value for key, value in network.state_dict().items()}
        loss = PerceptualLoss(weights, name, 4, 32)
        x = torch.rand(1, 3, 32, 32)
        last = {"vgg16": (3, 8, 15, 22), "vgg19": (3, 8, 17, 26)}[name]  # relu1_2, 2_2, 3_3 or 3_4, 4_3 or 4_4
        ours = x
        for stage, index in zip(loss.stages, last, strict=True):
            ours = stage(ours)
            assert torch.allclose(ours, network[: index + 1](x), atol=1e-5)
