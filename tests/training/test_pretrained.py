"""A training that begins with pretrained weights, and a run folder that needs neither them nor a network afterwards."""

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

import ppl_cli
from ppl_cli.checkpoints.model_file import load_model
from ppl_cli.config.loading import to_yaml
from ppl_cli.config.sections import Config
from ppl_cli.errors import PPLError, UsageError
from ppl_cli.model.backbone import FROZEN
from ppl_cli.training.pretrained import read_backbone
from tests.conftest import shared

NAME = "mobilenetv3_small_050"


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(1)
    save_file(timm.create_model(NAME).state_dict(), tmp_path / "weights.safetensors")
    return tmp_path / "weights.safetensors"


def with_backbone(config: Config, file, name: str = NAME, **train) -> Config:
    model = config.model.model_copy(update={"backbone": name, "backbone_weights": file and str(file), "encoder": "fine"})
    return config.model_copy(update={"model": model, "train": config.train.model_copy(update=train)})


def train(config: Config, out, **options):
    file = out.parent / f"{out.name}.yaml"
    file.write_text(to_yaml(config))
    return ppl_cli.train(file, out=out, device="cpu", **options)


def test_a_run_folder_works_anywhere_and_goes_on_bit_for_bit(tiny, tmp_path, weights, no_pictures):
    config = with_backbone(tiny, weights, ema=0.5)
    whole = train(config, tmp_path / "whole")
    train(with_backbone(tiny, weights, ema=0.5, steps=3), tmp_path / "part")
    weights.unlink()
    part = ppl_cli.train(out=tmp_path / "part", resume=True, device="cpu", **{"train.steps": 6})
    ours, theirs = load_file(whole.model), load_file(part.model)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    kernels = [tensor for name, tensor in ours.items() if name.startswith(FROZEN) and tensor.ndim > 1]
    assert kernels
    assert all(tensor.dtype == torch.float16 for tensor in kernels)
    (tmp_path / "whole").rename(tmp_path / "moved")
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    loaded = load_model(tmp_path / "moved").model
    with torch.no_grad():
        assert torch.equal(loaded.estimate(images).keypoints, whole.learner.estimate(images).keypoints)


def test_a_training_from_such_a_model_needs_no_weights(tiny, tmp_path, weights, no_pictures):
    first = train(with_backbone(tiny, weights), tmp_path / "first")
    again = with_backbone(tiny, None, init=str(first.model))
    assert train(again, tmp_path / "second").step == 6
    with pytest.raises(UsageError, match=f"add --set model.backbone={NAME}"):
        train(with_backbone(tiny, None, "none", init=str(first.model)), tmp_path / "third")


def test_what_is_wrong_with_the_weights_is_said_before_anything_runs(tiny, tmp_path, weights, monkeypatch):
    with pytest.raises(UsageError, match=r"model.backbone_weights nowhere.pth: no such file"):
        read_backbone(with_backbone(tiny, "nowhere.pth"))
    with pytest.raises(UsageError, match=r"does not hold the weights of timm's resnet18 \(conv1.weight is missing"):
        read_backbone(with_backbone(tiny, weights, "resnet18"))
    with pytest.raises(UsageError, match=r"model.backbone nosuchnet: timm .* has no such network"):
        train(with_backbone(tiny, weights, "nosuchnet"), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(ValueError, match=r"model\.backbone_weights: whose"):
        Config.model_validate(with_backbone(tiny, weights, "none").model_dump())


def test_without_a_network_it_is_said_how_to_get_them(tiny, monkeypatch):
    def offline(*arguments, **options):
        raise OSError("Network is unreachable")

    with monkeypatch.context() as patch:
        patch.setattr(timm, "create_model", offline)
        patch.setattr("ppl_cli.training.pretrained.Backbone", lambda name, features: None)
        with pytest.raises(PPLError, match=r"Network is unreachable.*--set model.backbone_weights=FILE"):
            read_backbone(with_backbone(tiny, None))


def test_the_weights_beside_the_project_fit(tiny):
    file = shared("weights", "tf_efficientnet_lite0.safetensors")
    assert read_backbone(with_backbone(tiny, file, "tf_efficientnet_lite0")) is not None
