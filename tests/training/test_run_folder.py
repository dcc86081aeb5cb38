"""The life of a run folder, without any training in it."""

import pytest

from ppl_cli.checkpoints.model_file import save_model
from ppl_cli.checkpoints.shapes import build_model
from ppl_cli.config.loading import to_yaml
from ppl_cli.errors import UsageError
from ppl_cli.lock import TakenError
from ppl_cli.training.run_folder import SETTLED, RunFolder


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def a_run(folder, tiny):
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(to_yaml(tiny, {"ppl": "0"}))
    (folder / "training.pt").touch()
    return folder


def names(folder) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_numbers_go_on_after_the_latest_and_no_two_runs_get_the_same(tmp_path, tiny):
    a_run(tmp_path / "runs" / "tiny-4", tiny)
    (tmp_path / "runs" / "tiny-x").mkdir()
    assert [RunFolder.create("tiny").path.as_posix() for _ in range(2)] == ["runs/tiny-5", "runs/tiny-6"]
    assert RunFolder.replace("tiny").path.as_posix() == "runs/tiny-6"
    assert RunFolder.resume("tiny", tmp_path / "runs" / "tiny-4").resuming
    assert not RunFolder.resume("tiny").resuming  # the latest holds nothing yet
    assert RunFolder.replace("other").path.as_posix() == "runs/other-1"
    with pytest.raises(UsageError, match="there is no runs/another-1"):
        RunFolder.resume("another")


def test_a_new_run_takes_an_empty_folder_and_replaces_only_a_run(tmp_path, tiny):
    assert not RunFolder.create("tiny", tmp_path / "new").resuming
    run = a_run(tmp_path / "run", tiny)
    with pytest.raises(UsageError, match="not empty"):
        RunFolder.create("tiny", run)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").touch()
    with pytest.raises(UsageError, match="is not a run"):
        RunFolder.replace("tiny", tmp_path / "mine")
    folder = RunFolder.replace("tiny", run)
    assert "training.pt" in names(run)  # until the new run begins
    with folder.writing():
        folder.begin()
        assert names(run) == {"samples", ".lock"}
        (run / "training.pt").touch()
    assert names(run) == {"samples", "training.pt"}


def fail_in(folder: RunFolder, begun: bool) -> None:
    with folder.writing():
        if begun:
            folder.begin()
            (folder.path / "metrics.csv").touch()
        raise ZeroDivisionError


@pytest.mark.parametrize("begun", [False, True])
def test_what_fails_before_the_first_checkpoint_leaves_nothing_of_its_own(tmp_path, begun):
    with pytest.raises(ZeroDivisionError):
        fail_in(RunFolder.create("tiny"), begun)
    assert not (tmp_path / "runs").exists()


def test_what_fails_later_or_in_the_folder_of_another_run_leaves_all(tmp_path, tiny):
    run = a_run(tmp_path / "run", tiny)
    for folder, begun in ((RunFolder.resume(None, run), True), (RunFolder.replace("tiny", run), False)):
        with pytest.raises(ZeroDivisionError):
            fail_in(folder, begun)
        assert names(run) == {"config.yaml", "training.pt", "samples", "metrics.csv"}


def test_one_writer_at_a_time(tmp_path):
    folder = RunFolder.create("tiny", tmp_path / "run")
    with folder.writing(), pytest.raises(TakenError, match="another ppl is writing"), RunFolder(folder.path).writing():
        pass


def test_a_place_is_the_same_however_it_is_spelt(tmp_path, tiny):
    run = a_run(tmp_path / "run", tiny.with_fields("train", init="m"))
    settings = {"train.init": "m"}
    assert RunFolder.resume("tiny", run).config(settings).train.init == str(tmp_path / "m")
    with pytest.raises(UsageError, match=r"train\.init was m in this run and cannot become .*other"):
        RunFolder.resume("tiny", run).config({"train.init": "other"})


def test_a_finished_run_without_its_configuration_says_so(tmp_path, tiny):
    (tmp_path / "training.pt").touch()
    with pytest.raises(UsageError, match=r"has no config\.yaml any more, and cannot go on without: put it back"):
        RunFolder.resume("x", tmp_path).config({})


def test_a_resumed_run_has_its_own_configuration_with_what_may_change_on_top(tmp_path, tiny):
    folder = RunFolder.resume("tiny", a_run(tmp_path / "run", tiny))
    assert folder.config({}) == folder.config(dict.fromkeys(SETTLED, "auto")) == tiny
    assert folder.config({"train.steps": 99, "data.path": None}, "tiny").train.steps == 99
    with pytest.raises(UsageError, match="is a run of tiny, not of other"):
        folder.config({}, "other")
    with pytest.raises(UsageError, match="seed was 0 in this run and cannot become 1"):
        folder.config({"seed": 1})
    flip = tiny.train.flip
    words = rf"train\.flip was {str(flip).lower()} in this run and cannot become {str(not flip).lower()};"
    with pytest.raises(UsageError, match=words):
        folder.config({"train.flip": not flip})


def test_a_configuration_that_was_edited_is_compared_with_that_of_the_weights(tmp_path, tiny):
    folder = RunFolder.resume("tiny", a_run(tmp_path / "run", tiny))
    save_model(folder.path / "model.safetensors", build_model(tiny), tiny, 3)
    for key, value in (("learning_rate", 0.5), ("steps", 99)):
        folder.config_file.write_text(to_yaml(tiny.with_fields("train", **{key: value}), {"ppl": "0"}))
        if key == "steps":
            assert folder.config({}).train.steps == 99
            continue
        with pytest.raises(UsageError, match=r"train\.learning_rate was .* in this run and cannot become 0\.5"):
            folder.config({})
    (folder.path / "model.safetensors").write_bytes(b"damaged")
    assert folder.config({}).train.steps == 99


def test_a_folder_that_was_there_stays_and_a_model_alone_is_no_run(tmp_path, tiny):
    (tmp_path / "mine").mkdir()
    for out, stays in (("mine", True), ("new", False)):
        folder = RunFolder.create("tiny", tmp_path / out)
        with pytest.raises(ZeroDivisionError), folder.writing():
            raise ZeroDivisionError
        assert (tmp_path / out).exists() == stays
    (tmp_path / "mine" / "model.safetensors").touch()
    with pytest.raises(UsageError, match="is not a run"):
        RunFolder.replace("tiny", tmp_path / "mine")
