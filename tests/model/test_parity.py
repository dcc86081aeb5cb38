"""Agreement with what the reference implementation computes, array by array."""

import numpy as np
import pytest
import torch

from ppl_cli.model.losses import PerceptualLoss, boundary_loss
from ppl_cli.original.names import original_name, swap_coordinates
from tests.conftest import relative_error
from tests.model import parity

TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def arrays():
    return parity.arrays()


@pytest.fixture
def model(arrays):
    return parity.model()


def xy(array: np.ndarray) -> torch.Tensor:
    return torch.as_tensor(array[..., ::-1].copy())


@torch.no_grad()
def test_estimates_the_same_keypoints(arrays, model):
    images = torch.as_tensor(arrays["images_uint8_bchw"]).float() / 127.5 - 1
    estimate = model.estimate(images)
    affine_yx = estimate.affine[:, :, [1, 0]][..., [1, 0, 2]]
    assert relative_error(model.distil_prior(), xy(arrays["keypoint_prior_yx"])) < TOLERANCE
    assert relative_error(affine_yx, arrays["theta"]) < TOLERANCE
    assert relative_error(estimate.keypoints, xy(arrays["keypoints_yx"])) < TOLERANCE


@torch.no_grad()
def test_draws_the_same_links(arrays, model):
    assert relative_error(model.link_weights(), arrays["edge_weights"]) < TOLERANCE
    assert relative_error(model.draw(xy(arrays["pose_yx"])), arrays["skeleton_map"]) < TOLERANCE


@torch.no_grad()
def test_recalls_the_same_pose(arrays, model):
    recall = model.recall(xy(arrays["pose_yx"]))
    assert relative_error(recall.tokens, arrays["tokens"]) < TOLERANCE
    assert (recall.indices.numpy() == arrays["token_indices_bk"]).all()
    assert relative_error(recall.keypoints, xy(arrays["memory_recon_yx"])) < TOLERANCE
    assert relative_error(torch.nn.functional.mse_loss(recall.tokens, recall.quantised), arrays["vq_loss"]) < TOLERANCE


@torch.no_grad()
def test_updates_the_memory_in_the_same_way(arrays, model):
    recall = model.recall(xy(arrays["pose_yx"]))
    model.memory.update(recall.tokens, recall.indices)
    assert relative_error(model.memory.vectors[0], arrays["codebook_after_one_ema_update_bank0"]) < TOLERANCE
    means = arrays["codebook_after_one_ema_update_mean_per_bank"]
    assert relative_error(model.memory.vectors.mean((1, 2)), means) < TOLERANCE
    assert relative_error(model.memory.counts, arrays["ema_cluster_size_after"]) < TOLERANCE
    assert relative_error(model.distil_prior(), xy(arrays["prior_after_one_ema_update_yx"])) < TOLERANCE


@torch.no_grad()
def test_reconstructs_the_same_image(arrays, model):
    images = torch.as_tensor(arrays["images_uint8_bchw"]).float() / 127.5 - 1
    kept = torch.as_tensor(arrays["keep_mask_16"]).float().repeat_interleave(8, 2).repeat_interleave(8, 3)
    ours = model.reconstruct(images * kept, torch.as_tensor(arrays["skeleton_map"]))
    assert relative_error(ours, arrays["reconstruction"]) < TOLERANCE


def test_same_boundary_loss(arrays):
    assert relative_error(boundary_loss(xy(arrays["boundary_input_yx"])), arrays["boundary_loss"]) < TOLERANCE


@torch.no_grad()
def test_same_perceptual_loss(arrays):
    shapes, channels, index = {}, 3, 0
    for stage, (convolutions, width) in enumerate([(2, 64), (2, 128), (3, 256), (3, 512)]):
        index += bool(stage)
        for _ in range(convolutions):
            shapes[index] = (width, channels, 3, 3)
            index, channels = index + 2, width
    weights = {}
    for index, shape in shapes.items():
        weights[f"features.{index}.weight"] = parity.formula(f"vgg16.features.{index}.weight", shape) * 2**0.5
        weights[f"features.{index}.bias"] = parity.formula(f"vgg16.features.{index}.bias", shape[:1])
    images = torch.as_tensor(arrays["images_uint8_bchw"]).float() / 127.5 - 1
    loss = PerceptualLoss(weights, "vgg16")(images, images.flip(0, 3))
    assert relative_error(loss, arrays["perceptual_loss_frame_vs_flipped"]) < TOLERANCE


def test_every_reference_tensor_is_used_once_and_coordinates_swap_back(arrays, model):
    names = [original_name(name) for name in model.state_dict()]
    assert len(set(names)) == len(names)
    assert set(names) == set(parity.reference_state())
    for name, tensor in model.state_dict().items():
        assert torch.equal(swap_coordinates(name, swap_coordinates(name, tensor)), tensor)
