"""Learning to find what hides the object: that it is learned, kept and used, and what a run does that is stopped in it."""

import os
import signal
import threading

import pytest
import torch

from ppl_cli.api import train as api
from ppl_cli.checkpoints.model_file import load_model, save_finder
from ppl_cli.config.loading import to_yaml
from ppl_cli.data.datasets import list_part, open_listing
from ppl_cli.errors import InterruptedRunError
from ppl_cli.model.finder import OcclusionFinder
from ppl_cli.runtime import Runtime
from ppl_cli.training import loop, uncover
from ppl_cli.training.metrics import read_metrics
from tests.conftest import lively_model

CPU = torch.device("cpu")


def uncovering(config, steps):
    return config.model_copy(update={"train": config.train.model_copy(update={"uncover": steps})})


class Plain:
    """Sixteen pictures of one smooth colour each, as an ImageSet gives them."""

    def __len__(self) -> int:
        return 16

    def fetch(self, indices):
        shade = (60 + 8 * indices).view(-1, 1, 1, 1) + 2 * torch.arange(32).view(1, 1, 1, -1)
        return shade.expand(-1, 3, 32, 32).to(torch.uint8)


def test_covers_of_plain_pictures_are_found(tiny):
    finder = uncover.learn_to_uncover(Plain(), uncovering(tiny, 250), CPU)
    both = either = 0
    for step in range(500, 504):  # covers that it has not seen
        batch = uncover.cover(Plain(), range(16), step, tiny, CPU)
        hidden, covers, sure = finder.find_visible(batch.images) == 0, batch.covers > 0, batch.seen > 0
        both, either = both + (hidden & covers & sure).sum(), either + ((hidden | covers) & sure).sum()
    assert both > 0.45 * either


def test_covers_that_cannot_be_seen_do_not_count(tiny):
    batch = uncover.cover(Plain(), range(16), 0, tiny, CPU)
    alike = (batch.images - batch.whole).abs().amax(1, keepdim=True) < uncover.SAME
    assert torch.equal(batch.seen, 1 - batch.covers * alike)
    assert torch.equal(
        batch.images[(batch.covers == 0).expand_as(batch.images)], batch.whole[(batch.covers == 0).expand_as(batch.whole)]
    )


def test_a_tenth_of_the_images_is_left_out_to_try_it_on():
    assert uncover.split_images(range(40)) == (range(36), range(36, 40))
    assert uncover.split_images(range(5)) == (range(5), range(5))


def test_what_is_found_is_tried_on_covered_images(tiny):
    images = open_listing(list_part(tiny.data, "train", 0, 32), tiny.data, 32)
    finder = OcclusionFinder()
    finder.find_visible = lambda images: torch.ones_like(images[:, :1])  # finds nothing
    trial = uncover.try_finder(lively_model(tiny), finder, images, tiny, CPU)
    assert trial.covered == trial.completed > 0.01
    assert trial.whole == 0
    assert str(trial).endswith("`ppl refine` will have to be told what is hidden")
    finder.find_visible = lambda images: torch.zeros_like(images[:, :1])  # takes all for hidden
    assert uncover.try_finder(lively_model(tiny), finder, images, tiny, CPU).whole > 0.01


def test_it_helps_where_covered_images_gain_and_whole_ones_keep_their_poses():
    assert uncover.Trial(2.0, 1.0, 0.1).helps
    assert not uncover.Trial(2.0, 2.0, 0.1).helps
    assert not uncover.Trial(2.0, 1.0, 2 * uncover.AT_MOST).helps
    assert str(uncover.Trial(2.0, 1.0, 0.1)) == (
        "where something covers a training image, its keypoints move by 2.0 % of the image side, and by 1.0 % once the cover "
        "is found and filled in; where nothing does, by 0.1 %"
    )


def test_one_that_is_told_to_stop_gives_nothing(tiny):
    stopped = threading.Event()
    stopped.set()
    assert uncover.learn_to_uncover(Plain(), uncovering(tiny, 3), CPU, stopped) is None


@pytest.mark.parametrize("helps", [True, False])
def test_a_run_keeps_it_where_it_helps(tiny, tmp_path, no_pictures, monkeypatch, helps):
    monkeypatch.setattr(loop, "try_finder", lambda *arguments: uncover.Trial(2.0, 1.0 if helps else 2.0, 0.0))
    (tmp_path / "tiny.yaml").write_text(to_yaml(uncovering(tiny, 3)))
    said = []
    run = api.train(tmp_path / "tiny.yaml", out=tmp_path / "run", device=Runtime("cpu", say=said.append))
    assert (load_model(run.model).occlusions is not None) == helps
    assert any("once the cover is found" in line for line in said)


def test_a_finished_run_can_learn_it_later(tiny, tmp_path, no_pictures, monkeypatch):
    monkeypatch.setattr(loop, "try_finder", lambda *arguments: uncover.Trial(2.0, 1.0, 0.0))
    (tmp_path / "tiny.yaml").write_text(to_yaml(tiny))
    run = api.train(tmp_path / "tiny.yaml", out=tmp_path / "run", device="cpu")
    before = load_model(run.model)
    again = load_model(api.train(out=tmp_path / "run", resume=True, device="cpu", **{"train.uncover": 2}).model)
    assert (before.occlusions, again.step) == (None, before.step)
    assert again.occlusions is not None
    assert torch.equal(again.model.raw_links, before.model.raw_links)


def test_a_run_that_is_stopped_in_it_is_saved_and_learns_it_when_resumed(tiny, tmp_path, no_pictures, monkeypatch):
    (tmp_path / "tiny.yaml").write_text(to_yaml(uncovering(tiny, 3)))
    monkeypatch.setattr(loop, "try_finder", lambda *arguments: uncover.Trial(2.0, 1.0, 0.0))
    whole = api.train(tmp_path / "tiny.yaml", out=tmp_path / "whole", device="cpu")
    cover = uncover.cover
    monkeypatch.setattr(
        uncover, "cover", lambda *given, **options: (os.kill(os.getpid(), signal.SIGTERM), cover(*given, **options))[1]
    )
    with pytest.raises(InterruptedRunError, match="stopped at step 6, everything is saved"):
        api.train(tmp_path / "tiny.yaml", out=tmp_path / "run", device="cpu")
    assert load_model(tmp_path / "run").occlusions is None
    monkeypatch.setattr(uncover, "cover", cover)
    run = api.train(out=tmp_path / "run", resume=True, device="cpu")
    pairs = zip(
        load_model(whole.model).occlusions.state_dict().values(),
        load_model(run.model).occlusions.state_dict().values(),
        strict=True,
    )
    assert all(torch.equal(*pair) for pair in pairs)


def test_a_run_that_goes_on_keeps_it_until_it_is_learned_anew(tiny, tmp_path, no_pictures, monkeypatch):
    (tmp_path / "tiny.yaml").write_text(to_yaml(uncovering(tiny, 3)))
    monkeypatch.setattr(loop, "try_finder", lambda *arguments: uncover.Trial(2.0, 1.0, 0.0))
    run = api.train(tmp_path / "tiny.yaml", out=tmp_path / "run", device="cpu")
    before = load_model(run.model).occlusions.state_dict()
    more = {"out": tmp_path / "run", "resume": True, "device": "cpu", "train.steps": 8}
    with monkeypatch.context() as stopping:
        stopping.setattr(loop, "learn_to_uncover", lambda *arguments: None)
        with pytest.raises(InterruptedRunError):
            api.train(**more)
    stopped = load_model(run.model)
    assert stopped.step == 8
    assert all(torch.equal(tensor, before[name]) for name, tensor in stopped.occlusions.state_dict().items())
    monkeypatch.setattr(loop, "try_finder", lambda *arguments: uncover.Trial(2.0, 2.0, 0.0))
    assert load_model(api.train(**more).model).occlusions is None


def test_steps_after_the_last_row_are_not_slower_for_it(tiny, tmp_path, no_pictures, monkeypatch):
    config = uncovering(tiny, 3)
    (tmp_path / "tiny.yaml").write_text(
        to_yaml(config.model_copy(update={"train": config.train.model_copy(update={"log_every": 4})}))
    )
    rows = []
    monkeypatch.setattr(
        loop, "add_finder", lambda *arguments: bool(rows.append(read_metrics(tmp_path / "run/metrics.csv"))) or True
    )
    api.train(tmp_path / "tiny.yaml", out=tmp_path / "run", device="cpu")
    assert [row["step"] for row in rows[0]] == [4, 6]


def test_a_run_without_the_memory_for_it_is_complete_without(tiny, tmp_path, no_pictures, monkeypatch):
    def fail(*arguments):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(loop, "learn_to_uncover", fail)
    (tmp_path / "tiny.yaml").write_text(to_yaml(uncovering(tiny, 3)))
    said = []
    run = api.train(tmp_path / "tiny.yaml", out=tmp_path / "run", device=Runtime("cpu", say=said.append))
    assert load_model(run.model).occlusions is None
    assert any(line.startswith("note: memory ran out while learning this") for line in said)


def test_a_model_file_gives_back_what_finds(model_file):
    torch.manual_seed(5)
    finder = OcclusionFinder().eval()
    before = load_model(model_file)
    save_finder(model_file, finder)
    loaded, images = load_model(model_file), torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(loaded.occlusions(images), finder(images))
    assert torch.equal(loaded.model.raw_links, before.model.raw_links)
    assert torch.equal(loaded.known.tokens, before.known.tokens)
