"""Pretrained features: frozen, in the encoder's size, and never from a place that a model file names."""

import pytest
import timm
import torch
from torch import nn

from ppl_cli.model.backbone import Backbone, BackboneError, as_stored, build_network
from ppl_cli.model.blocks import fold_norms
from ppl_cli.model.encoder import Encoder

NAME = "mobilenetv3_small_050"


def load(backbone: Backbone) -> Backbone:
    torch.manual_seed(1)
    backbone.load(timm.create_model(NAME).state_dict())
    return backbone


@pytest.mark.parametrize("size", [32, 48, 96])
def test_features_have_the_size_of_the_encoders_own(size):
    assert load(Backbone(NAME, 10))(torch.rand(2, 3, size, size)).shape == (2, 10, size // 4, size // 4)


def test_the_network_sees_the_colours_it_was_trained_on():
    seen, backbone = [], Backbone(NAME, 4)
    backbone.network.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    backbone(torch.tensor([-1.0, 0, 1]).reshape(1, 3, 1, 1).expand(1, 3, 32, 32))
    mean, std = timm.get_pretrained_cfg(NAME).mean, timm.get_pretrained_cfg(NAME).std
    expected = [(value - m) / s for value, m, s in zip((0, 0.5, 1), mean, std, strict=True)]
    assert seen[0].mean((0, 2, 3)).tolist() == pytest.approx(expected, abs=1e-5)


def test_training_changes_the_maps_and_nothing_of_the_network():
    encoder = Encoder(3, 4, "fine", NAME).train()
    load(encoder.blocks)
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    optimiser = torch.optim.SGD(encoder.parameters(), 0.1)
    encoder(torch.rand(4, 3, 32, 32), torch.rand(3, 2)).keypoints.square().sum().backward()
    optimiser.step()
    changed = {name for name, tensor in encoder.state_dict().items() if not torch.equal(tensor, before[name])}
    assert not [name for name in changed if name.startswith("blocks.network.")]
    assert {"blocks.maps.0.weight", "blocks.norms.0.running_mean", "blocks.conv.weight"} <= changed


def test_kernels_are_kept_as_files_hold_them():
    backbone, full = load(Backbone(NAME, 4)), timm.create_model(NAME).state_dict()
    kernel = backbone.network.state_dict()["conv_stem.weight"]
    assert torch.equal(kernel, as_stored(kernel).float())
    assert as_stored(full["bn1.running_var"]).dtype == torch.float32  # may be smaller than half precision knows


@pytest.mark.parametrize("name", [NAME, "resnet18", "tf_efficientnet_lite0"])
def test_folded_it_sees_the_same(name):
    torch.manual_seed(1)
    backbone = Backbone(name, 6)
    for part in backbone.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.5, 2)
    folded, images = fold_norms(backbone.eval()), torch.rand(2, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        expected = backbone(images)
        assert (folded(images) - expected).abs().max() < 1e-4 * expected.abs().max()
    assert not [part for part in folded.network.modules() if isinstance(part, nn.BatchNorm2d)]
    assert [part for part in backbone.network.modules() if isinstance(part, nn.BatchNorm2d)]


def test_a_missing_tensor_is_named():
    weights = timm.create_model(NAME).state_dict()
    del weights["conv_stem.weight"]
    with pytest.raises(BackboneError, match=r"conv_stem\.weight is missing"):
        Backbone(NAME, 4).load(weights)


def test_parts_whose_names_timm_joins_are_found():
    torch.manual_seed(1)
    full, backbone = timm.create_model("convnext_atto"), Backbone("convnext_atto", 4)
    backbone.load(full.state_dict())
    assert any(name.startswith("stages_0") for name in backbone.network.state_dict())
    assert torch.equal(backbone.network.state_dict()["stem_0.weight"], full.state_dict()["stem.0.weight"].half().float())


@pytest.mark.parametrize("name", ["nosuchnet", "hf_hub:someone/something", "hf-hub:someone/something", "../mine", ""])
def test_only_networks_that_timm_itself_has(name):
    with pytest.raises(BackboneError, match="has no such network"):
        build_network(name)


def test_a_network_without_these_strides_is_refused():
    with pytest.raises(BackboneError, match="features of strides 4, 8, 16"):
        build_network("vit_tiny_patch16_224")
