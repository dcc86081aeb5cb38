"""What a training makes of objects that head in many directions."""

import pytest

import ppl_cli
import ppl_cli.api.train as api
from ppl_cli.checkpoints.model_file import load_model
from ppl_cli.config.loading import load_config
from ppl_cli.data.image_set import ImageSet
from ppl_cli.runtime import Runtime
from tests.data.test_camera import film


@pytest.fixture
def looked(monkeypatch) -> list[int]:
    """Sizes of the sets whose headings were looked for; all are found to head in many directions."""
    numbers = []

    def find_quarter_turns(images: ImageSet) -> list[int]:
        numbers.append(len(images))
        return [index % 4 for index in range(len(images))]

    monkeypatch.setattr(api, "find_quarter_turns", find_quarter_turns)
    return numbers


@pytest.mark.usefixtures("no_pictures")
def test_a_training_says_so_turns_its_images_and_a_resumed_one_does_too(tmp_path, tiny_yaml, looked, monkeypatch):
    turned, said, out = [], [], tmp_path / "run"
    monkeypatch.setattr(ImageSet, "turn", lambda images, turns: turned.append(turns))
    how = {"train.rotate": "auto", "loss.equivariance": 1.0, "loss.turn_from": 2, "loss.turn_to": 3}
    run = ppl_cli.train(tiny_yaml, out=out, device=Runtime("cpu", say=said.append), **how, **{"train.steps": 2})
    assert any("in many directions" in line for line in said)
    assert run.config.train.rotate is load_config(str(out / "config.yaml")).train.rotate is True
    assert load_model(run.model).model.sizes.any_heading
    ppl_cli.train(out=out, resume=True, device="cpu", **{"train.steps": 4, "train.rotate": "auto"})
    assert len(looked) == len(turned) == 2
    assert turned[0] == turned[1]


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize(("asked", "decided"), [("auto", False), (True, True), (False, False)])
def test_images_that_head_one_way_stay_as_they_are(tmp_path, tiny_yaml, monkeypatch, asked, decided):
    """Objects are found at any angle where that is asked for."""
    monkeypatch.setattr(api, "find_quarter_turns", lambda images: None)
    monkeypatch.setattr(ImageSet, "turn", None)
    how = {"train.rotate": asked, "loss.equivariance": 1.0, "train.steps": 2}
    run = ppl_cli.train(tiny_yaml, out=tmp_path / "run", device="cpu", **how)
    assert run.config.train.rotate is decided
    assert ppl_cli.train(out=tmp_path / "run", resume=True, device="cpu", **{"train.steps": 3}).config.train.rotate is decided


@pytest.mark.usefixtures("no_pictures", "looked")
def test_the_background_of_turned_images_is_not_called_a_camera_that_moves(tmp_path, tiny_yaml):
    film(tmp_path / "frames" / "a", 20, 6, 0)
    said, how = [], {"data.kind": "video_frames", "reference.kind": "video", "reference.near": "auto", "train.rotate": "auto"}
    how |= {"loss.equivariance": 1.0, "train.steps": 2}
    run = ppl_cli.train(
        tiny_yaml, data=tmp_path / "frames", out=tmp_path / "run", device=Runtime("cpu", say=said.append), **how
    )
    assert run.config.reference.near == api.NEAR
    assert not any("camera" in line or "backbone" in line for line in said)


@pytest.mark.usefixtures("no_pictures")
def test_without_the_loss_that_turns_images_a_training_decides_against_it(tmp_path, tiny_yaml, looked):
    how, out = {"train.rotate": "auto", "loss.equivariance": 0, "train.steps": 2}, tmp_path / "run"
    assert ppl_cli.train(tiny_yaml, out=out, device="cpu", **how).config.train.rotate is False
    assert ppl_cli.train(out=out, resume=True, device="cpu", **{"train.steps": 3}).step == 3
    assert not looked


def test_turned_images_need_the_loss_that_turns_them(tiny_yaml, tmp_path):
    with pytest.raises(ppl_cli.UsageError, match=r"equivariance.*is 0"):
        ppl_cli.train(tiny_yaml, out=tmp_path / "run", device="cpu", **{"train.rotate": True, "loss.equivariance": 0})
