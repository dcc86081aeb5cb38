"""Directions of poses whose turns are known, and what a training makes of them."""

import pytest
import torch

import ppl_cli
from ppl_cli.config.loading import load_config
from ppl_cli.data.figures import figure
from ppl_cli.runtime import Runtime
from ppl_cli.training import loop
from ppl_cli.training.heading import ALIKE, MANY, TURNED, compare_axes

POSE = torch.tensor([(-0.6, 0.0), (-0.3, 0.1), (0.0, -0.1), (0.3, 0.1), (0.6, 0.0)])


def turn(poses: torch.Tensor, angles: torch.Tensor) -> torch.Tensor:
    cos, sin = angles.cos(), angles.sin()
    return poses @ torch.stack((cos, sin, -sin, cos), -1).unflatten(-1, (2, 2))


def test_turns_are_those_of_the_axis_wherever_and_however_large_the_object_is():
    angles = torch.linspace(-1, 1, 41)
    poses = turn(POSE, angles) * torch.linspace(0.1, 2, 41)[:, None, None] + torch.randn(41, 1, 2)
    for turned in (poses, turn(poses, torch.full((41,), 2.5))):
        turns, agreement = compare_axes(turned)
        torch.testing.assert_close(turns, angles.abs().double(), atol=1e-3, rtol=0)
        torch.testing.assert_close(agreement, torch.ones(41).double(), atol=1e-3, rtol=0)


def test_animals_seen_from_the_side_that_look_left_or_right_do_not_head_everywhere():
    sides = torch.cat((POSE.expand(30, -1, -1), (POSE * torch.tensor([-1.0, 1.0])).expand(20, -1, -1)))
    noisy = sides + 0.05 * torch.randn(sides.shape, generator=torch.Generator().manual_seed(0))
    assert compare_axes(noisy)[0].max() < TURNED


def test_upright_figures_head_nowhere_and_a_point_is_no_error():
    poses = torch.stack([torch.as_tensor(figure(index, 64, 0)[1]) for index in range(200)]).float()
    assert (compare_axes(poses)[0] > TURNED).float().mean() < MANY / 2
    assert all(values.isfinite().all() for values in compare_axes(torch.zeros(4, 5, 2)))


def test_keypoints_that_lie_anywhere_have_no_direction():
    """Those of a model that has learned nothing yet, say."""
    noise = torch.randn(200, 12, 2, generator=torch.Generator().manual_seed(0))
    assert (compare_axes(noise)[1] > ALIKE).float().mean() < MANY / 2


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize("everywhere", [True, False])
def test_a_training_decides_once_says_so_and_a_resumed_one_keeps_to_it(tmp_path, tiny_yaml, monkeypatch, everywhere):
    asked, said = [], []
    monkeypatch.setattr(loop, "heads_everywhere", lambda *_: asked.append(1) or everywhere)
    how = {"train.rotate": "auto", "loss.equivariance": 1.0, "loss.turn_from": 2, "loss.turn_to": 3}
    out = tmp_path / "run"
    ppl_cli.train(tiny_yaml, out=out, device="cpu", **how, **{"train.steps": 2})
    assert not asked
    assert load_config(str(out / "config.yaml")).train.rotate == "auto"
    run = ppl_cli.train(out=out, resume=True, device=Runtime("cpu", say=said.append), **{"train.steps": 4})
    assert run.config.train.rotate is load_config(str(out / "config.yaml")).train.rotate is everywhere
    assert any("in many directions" in line for line in said) is everywhere
    run = ppl_cli.train(out=out, resume=True, device="cpu", **{"train.steps": 5, "train.rotate": "auto"})
    assert run.config.train.rotate is everywhere
    assert len(asked) == 1


@pytest.mark.usefixtures("no_pictures")
def test_without_the_loss_that_turns_images_a_training_decides_against_it_and_can_go_on(tmp_path, tiny_yaml, monkeypatch):
    monkeypatch.setattr(loop, "heads_everywhere", lambda *_: True)
    how, out = {"train.rotate": "auto", "loss.equivariance": 0, "loss.turn_from": 1, "train.steps": 2}, tmp_path / "run"
    assert ppl_cli.train(tiny_yaml, out=out, device="cpu", **how).config.train.rotate is False
    assert ppl_cli.train(out=out, resume=True, device="cpu", **{"train.steps": 3}).step == 3


def test_turned_images_need_the_loss_that_turns_them(tiny_yaml, tmp_path):
    with pytest.raises(ppl_cli.UsageError, match=r"equivariance.*is 0"):
        ppl_cli.train(tiny_yaml, out=tmp_path / "run", device="cpu", **{"train.rotate": True, "loss.equivariance": 0})
