"""Made-up failed states are named once, with an option that exists; a healthy one is not."""

import re

import pytest
import torch

from ppl_cli.checkpoints.shapes import build_model
from ppl_cli.cli.train import parse_settings
from ppl_cli.config.loading import load_config
from ppl_cli.config.sections import Config
from ppl_cli.model.losses import MultiscaleLoss
from ppl_cli.training.batches import Part, make_batch
from ppl_cli.training.health import Watch, advice
from tests.conftest import TINY, lively_model
from tests.training.test_loop import run
from tests.training_images import open_dataset

HEALTHY = {"step": 500, "keypoint_spread": 0.35, "bank_perplexity": 12.0}


def watch(**train) -> tuple[Watch, list[str]]:
    lines: list[str] = []
    sections = TINY | {"train": TINY["train"] | {"steps": 1000} | train, "model": TINY["model"] | {"links_start": 0.0}}
    return Watch(Config.model_validate(sections), lines.append), lines


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"keypoint_spread": 0.05}, "the keypoints lie almost in one place (spread 0.05)"),
        ({"bank_perplexity": 1.2}, "the memory uses 1.2 of 4 vectors a bank"),
    ],
)
def test_failed_rows_are_said_once_and_once_more_at_the_end(row, words):
    watched, lines = watch()
    model = build_model(watched.config)
    for step in (20, 200, 220, 400, 1000):
        watched.row(HEALTHY | row | {"step": step}, model)
    assert [re.match(r"warning: step (\d+): ", line)[1] for line in lines] == ["200", "1000"]
    assert all(words in line and "Try --set " in line for line in lines)


def test_links_that_fade_are_said_and_strong_ones_not():
    watched, lines = watch()
    model = build_model(watched.config)
    watched.row(HEALTHY, model)
    assert lines == []
    with torch.no_grad():
        model.raw_links.fill_(-5 / 512)
    watched.row(HEALTHY, model)
    assert len(lines) == 1
    assert "links have faded, the strongest to 0.007" in lines[0]
    assert "train.link_rate" in lines[0]


def test_a_decoder_that_ignores_the_skeleton_is_said_and_one_that_draws_it_not():
    watched, lines = watch()
    model = lively_model(watched.config)
    images = make_batch(
        open_dataset(watched.config.data, 32, 0), 0, watched.config, torch.device("cpu"), part=Part(0, 8, 8)
    ).images
    hidden = torch.zeros_like(images)
    # What this decoder draws with the right poses counts as the images: other poses then give something else.
    drawn = model.reconstruct(hidden, model.draw(model.estimate(images).keypoints)).detach()

    class AgainstDrawn(torch.nn.Module):
        def forward(self, reconstruction, _):
            return (reconstruction - drawn).abs().mean() + 0.01

    watched.decoder(500, model, images, hidden, AgainstDrawn())
    assert lines == []
    with torch.no_grad():
        model.decoder.first.weight[:, 3] = 0  # the channel of the skeleton map
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    watched.decoder(500, model.train(), images, hidden, MultiscaleLoss())
    assert len(lines) == 1
    assert "with the pose of another (loss x 1.00)" in lines[0]
    assert model.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("recipe", ["ppl", "paper", "reference"])
@pytest.mark.parametrize("kind", ["folder", "video_frames"])
def test_what_is_proposed_exists_and_changes_something(recipe, kind):
    config = load_config("folder_small", {"recipe": recipe, "data.kind": kind})
    for text in advice(config).values():
        settings = re.findall(r"--set (\S+?),?(?= |$)", text)
        assert settings
        assert ("recipe=ppl" in settings) == (recipe != "ppl")
        for setting in settings:
            changed = load_config("folder_small", {"recipe": recipe, "data.kind": kind, **parse_settings([setting])})
            assert changed != config, setting


def test_a_short_healthy_run_warns_of_nothing_and_a_collapsed_one_does(tiny, tmp_path, monkeypatch):
    from ppl_cli.training import loop

    lines: list[str] = []
    monkeypatch.setattr(loop.Progress, "note", lambda self, line: lines.append(line))
    run(tiny, tmp_path / "short")
    assert lines == []
    monkeypatch.setattr("ppl_cli.training.health.COLLAPSED", 10.0)
    original = loop.Watch.__init__

    def early(self, config, say):
        original(self, config, say)
        self.first = 3

    monkeypatch.setattr(loop.Watch, "__init__", early)
    run(tiny, tmp_path / "collapsed")
    assert [line.split(":")[1] for line in lines if "one place" in line] == [" step 4", " step 6"]
