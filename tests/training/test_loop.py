"""Training end to end on a tiny model: what it writes, resuming, stopping, failing."""

import csv
import importlib.util
import os
import re
import shutil
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ppl_cli.api import train as api
from ppl_cli.config.loading import load_config, to_yaml
from ppl_cli.config.sections import Config
from ppl_cli.device import choose_compute
from ppl_cli.errors import InterruptedRunError, PPLError, UsageError
from ppl_cli.runtime import Runtime
from ppl_cli.training import loop
from ppl_cli.training import save as writer
from ppl_cli.training.averaging import Average
from ppl_cli.training.step import TrainingStep
from tests.conftest import TINY, leave_out_pictures
from tests.forks import NO_PICTURES

pytestmark = pytest.mark.usefixtures("no_pictures")


def run(config: Config, out, settings=None, precision="fp32", say=print, **options):
    file = out.parent / f"{out.name}.yaml"
    file.write_text(to_yaml(config))
    return api.train(file, out=out, device=Runtime("cpu", precision, say=say), **options, **(settings or {}))


def with_train(config: Config, **settings) -> Config:
    return config.model_copy(update={"train": config.train.model_copy(update=settings)})


def weights(folder) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def same(first, second) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


def losses(folder) -> list[list[str]]:
    with (folder / "metrics.csv").open() as file:
        return [[row[c] for c in ("step", "total", "reconstruction", "equivariance")] for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """The run of `tiny`, never stopped; not to be changed."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("loop") / "whole"
    with pytest.MonkeyPatch.context() as patch:
        leave_out_pictures(patch)
        run(Config.model_validate(TINY), folder)
    return folder


@pytest.fixture
def copied(whole, tmp_path) -> Path:
    """A copy of it."""
    return shutil.copytree(whole, tmp_path / "run")


def test_one_seed_one_run_another_seed_another(tiny, tmp_path, whole):
    for name, seed in {"again": 0, "other": 1}.items():
        run(tiny.model_copy(update={"seed": seed}), tmp_path / name)
    assert same(weights(whole), weights(tmp_path / "again"))
    assert losses(whole) == losses(tmp_path / "again")
    assert not same(weights(whole), weights(tmp_path / "other"))


def test_learning_lowers_the_loss(tiny, tmp_path):
    run(with_train(tiny, steps=40, log_every=5, save_every=40), tmp_path / "run")
    rows = losses(tmp_path / "run")
    assert float(rows[-1][2]) < 0.7 * float(rows[0][2])


@pytest.mark.parametrize("stop_at", [1, 3, 5])
def test_a_signal_saves_and_resume_continues_as_if_never_stopped(tiny, tmp_path, monkeypatch, stop_at, whole):
    steps = 0

    def counted(*arguments, **settings):
        nonlocal steps
        steps += 1
        if steps == stop_at + 1:  # the first batch is the one that samples/ shows
            os.kill(os.getpid(), signal.SIGTERM)
        return make_batch(*arguments, **settings)

    make_batch = loop.make_batch
    monkeypatch.setattr(loop, "make_batch", counted)
    with pytest.raises(InterruptedRunError, match=f"stopped at step {stop_at}, everything is saved"):
        run(tiny, tmp_path / "parts")
    monkeypatch.setattr(loop, "make_batch", make_batch)
    run(tiny, tmp_path / "parts", resume=True)
    assert same(weights(whole), weights(tmp_path / "parts"))
    assert losses(whole) == losses(tmp_path / "parts")


def test_a_run_that_averages_its_weights_resumes_exactly_and_saves_the_average(tiny, tmp_path, whole):
    config = with_train(tiny, ema=0.5)
    run(config, tmp_path / "whole")
    run(with_train(config, steps=3), tmp_path / "parts")
    run(config, tmp_path / "parts", resume=True, settings={"train.steps": 6})
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "parts"))
    assert losses(tmp_path / "whole") == losses(tmp_path / "parts")
    state = torch.load(tmp_path / "whole" / "training.pt", weights_only=True)
    saved = weights(tmp_path / "whole")
    assert same(state["average"], saved)
    assert not torch.equal(state["model"]["raw_links"], saved["raw_links"])
    assert same(state["model"], weights(whole))  # averaging does not change what is trained


def test_the_average_takes_one_step_with_every_step(tiny, tmp_path, monkeypatch):
    taken = []
    monkeypatch.setattr(Average, "update", lambda self, step: taken.append(step))
    run(with_train(tiny, ema=0.5), tmp_path / "run")
    assert taken == [1, 2, 3, 4, 5, 6]


def test_a_finished_run_can_be_made_longer(tiny, tmp_path):
    run(with_train(tiny, steps=8), tmp_path / "whole")
    run(with_train(tiny, steps=5), tmp_path / "parts")
    assert [row[0] for row in losses(tmp_path / "parts")] == ["2", "4", "5"]
    run(tiny, tmp_path / "parts", resume=True, settings={"train.steps": 8})
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "parts"))
    assert losses(tmp_path / "whole") == losses(tmp_path / "parts")
    assert load_config(str(tmp_path / "parts" / "config.yaml")).train.steps == 8


@pytest.mark.parametrize(
    ("key", "value"), [("seed", 9), ("train.learning_rate", 0.5), ("loss.separation", 0), ("model.keypoints", 6)]
)
def test_a_run_goes_on_with_its_own_configuration(tiny, tmp_path, key, value, copied):
    before = weights(copied)
    with pytest.raises(UsageError, match=rf"--resume: {re.escape(key)} was .* cannot become"):
        run(tiny, copied, resume=True, settings={key: value, "train.steps": 9})
    assert same(before, weights(copied))


def test_a_run_goes_on_with_its_own_images(tiny, tmp_path, pictures):
    data = tiny.data.model_copy(update={"kind": "folder", "path": str(pictures)})
    config = tiny.model_copy(update={"data": data})
    run(config, tmp_path / "run")
    (pictures / "0.jpg").unlink()
    with pytest.raises(UsageError, match="the images are not those of this run"):
        run(config, tmp_path / "run", resume=True, settings={"train.steps": 9})


def test_a_run_can_be_resumed_from_its_first_moment(tiny, tmp_path, monkeypatch, whole):
    class Killed(BaseException):
        pass

    def killed(*arguments, **settings):
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(TrainingStep, "forward", killed)
        with pytest.raises(Killed):
            run(tiny, tmp_path / "parts")
    run(tiny, tmp_path / "parts", resume=True)
    assert same(weights(whole), weights(tmp_path / "parts"))


def test_weights_that_are_no_numbers_are_never_saved(tiny, tmp_path, monkeypatch):
    """The loss of the last step is finite, its gradient is not."""
    steps = 0

    def broken(keypoints):
        nonlocal steps
        steps += 1
        return (keypoints.sum() * 0).sqrt() if steps == 6 else keypoints.sum() * 0

    monkeypatch.setattr("ppl_cli.training.step.boundary_loss", broken)
    with pytest.raises(PPLError, match="step 6: a weight is no longer a number"):
        run(tiny, tmp_path / "run")
    assert all(tensor.isfinite().all() for tensor in weights(tmp_path / "run").values())


def test_streamed_unreadable_images_are_listed_too(tiny, tmp_path, pictures):
    (pictures / "broken.jpg").write_text("no")
    data = tiny.data.model_copy(update={"kind": "folder", "path": str(pictures), "cache_gib": 0})
    run(tiny.model_copy(update={"data": data}), tmp_path / "run")
    assert "broken.jpg" in (tmp_path / "run" / "skipped.csv").read_text()


def test_a_loss_that_is_no_number_stops_with_its_step_and_keeps_the_last_checkpoint(tiny, tmp_path, monkeypatch):
    calls = 0

    class Broken(torch.nn.Module):
        def forward(self, reconstruction, images):
            nonlocal calls
            calls += 1
            return (reconstruction - images).abs().mean() * (float("nan") if calls == 5 else 1)

    monkeypatch.setattr(api, "reconstruction_loss", lambda config: Broken())
    with pytest.raises(PPLError, match=r"step 5: the loss is no longer a number .*reconstruction nan"):
        run(tiny, tmp_path / "run")
    assert all(tensor.isfinite().all() for tensor in weights(tmp_path / "run").values())
    assert torch.load(tmp_path / "run" / "training.pt", weights_only=True)["step"] == 3


def test_never_writes_over_a_run_unasked(tiny, tmp_path, copied):
    before = weights(copied)
    with pytest.raises(UsageError, match="not empty"):
        run(tiny.model_copy(update={"seed": 3}), copied)
    assert same(before, weights(copied))
    (copied / "notes.txt").write_text("mine")
    run(tiny.model_copy(update={"seed": 3}), copied, overwrite=True)
    assert not same(before, weights(copied))
    assert (copied / "notes.txt").exists()


def test_takes_the_next_free_number(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    short = with_train(tiny, steps=1)
    (tmp_path / "c.yaml").write_text(to_yaml(short))
    folders = [api.train("c.yaml", device="cpu").folder.as_posix() for _ in range(2)]
    assert folders == ["runs/tiny-1", "runs/tiny-2"]
    with pytest.raises(UsageError, match="nothing to resume"):
        run(tiny, tmp_path / "nowhere", resume=True)


def test_a_damaged_training_file_is_one_line(tiny, tmp_path, copied):
    file = copied / "training.pt"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(UsageError, match=r"training\.pt is damaged"):
        run(tiny, copied, resume=True)


def test_only_a_run_is_replaced(tiny, tmp_path):
    (tmp_path / "mine" / "samples").mkdir(parents=True)
    (tmp_path / "mine" / "config.yaml").write_text("mine")
    with pytest.raises(UsageError, match="is not a run of ppl train"):
        run(tiny, tmp_path / "mine", overwrite=True)
    assert (tmp_path / "mine" / "config.yaml").read_text() == "mine"


def test_a_run_that_cannot_begin_leaves_the_old_one(tiny, tmp_path, copied):
    before = weights(copied)
    data = tiny.data.model_copy(update={"kind": "folder", "path": str(tmp_path / "nowhere")})
    with pytest.raises(UsageError, match="no such folder"):
        run(tiny.model_copy(update={"data": data}), copied, overwrite=True)
    assert same(before, weights(copied))
    (copied / "training.pt").unlink()
    loss = tiny.loss.model_copy(update={"kind": "perceptual", "weights": str(tmp_path / "none.pth")})
    with pytest.raises(UsageError, match="no such file"):
        run(tiny.model_copy(update={"loss": loss}), copied, overwrite=True)
    assert same(before, weights(copied))


def test_fewer_images_than_a_batch_train(tiny, tmp_path):
    few = tiny.model_copy(update={"data": tiny.data.model_copy(update={"figures": 2})})
    assert run(few, tmp_path / "run").step == 6


def test_streaming_trains_to_the_same_weights_as_the_cache(tiny, tmp_path, pictures):
    for name, gib in {"cached": 4, "streamed": 0}.items():
        data = tiny.data.model_copy(update={"kind": "folder", "path": str(pictures), "cache_gib": gib})
        run(tiny.model_copy(update={"data": data}), tmp_path / name)
    assert same(weights(tmp_path / "cached"), weights(tmp_path / "streamed"))


def test_a_full_disk_leaves_the_old_checkpoint(forks, tiny, tmp_path):
    """The file size limit of the process stands in for the disk: the write fails midway, as on a full disk."""
    run(with_train(tiny, steps=3), tmp_path / "run")
    before = weights(tmp_path / "run")
    (tmp_path / "c.yaml").write_text(to_yaml(tiny, {}))
    limit = (tmp_path / "run" / "model.safetensors").stat().st_size // 2
    code = f"""
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
"""
    arguments = ("train", tmp_path / "c.yaml", "--out", tmp_path / "run", "--resume", "--device", "cpu")
    done = forks.run(*arguments, prepare=NO_PICTURES + code)
    assert done.wait() == 1, done.error
    line = done.error.strip().splitlines()[-1]
    assert line.startswith("ppl: cannot write")
    assert "intact" in line
    assert same(before, weights(tmp_path / "run"))
    assert not list((tmp_path / "run").glob(".*"))


def test_bf16_keeps_to_the_losses_of_fp32(tiny, tmp_path):
    assert choose_compute("cpu", "bf16").precision == "bf16"
    for precision in ("fp32", "bf16"):
        run(with_train(tiny, log_every=1, steps=2, warp=0.5), tmp_path / precision, precision=precision)
    first = [[float(value) for value in losses(tmp_path / precision)[0]] for precision in ("fp32", "bf16")]
    assert first[0] == pytest.approx(first[1], rel=0.03)


def test_tensorboard_gets_the_rows_of_metrics_or_says_how_to_install_it(tiny, tmp_path):
    config = with_train(tiny, tensorboard=True)
    if importlib.util.find_spec("tensorboard") is None:
        with pytest.raises(UsageError, match=r"pip install 'ppl-cli\[tensorboard\]'"):
            run(config, tmp_path / "run")
        return
    run(config, tmp_path / "run")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("total")] == [2, 4, 6]


def test_a_second_signal_does_not_stop_the_saving(tiny, tmp_path, monkeypatch):
    def signalled(*arguments):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        return forward(*arguments)

    forward = TrainingStep.forward
    monkeypatch.setattr(TrainingStep, "forward", signalled)
    with pytest.raises(InterruptedRunError, match="stopped at step 1"):
        run(tiny, tmp_path / "run")
    assert torch.load(tmp_path / "run" / "training.pt", weights_only=True)["step"] == 1


def test_a_signal_after_the_last_step_is_heard(tiny, tmp_path, monkeypatch):
    with monkeypatch.context() as stopping:
        stopping.setattr(loop, "save_curves", lambda *arguments: os.kill(os.getpid(), signal.SIGINT))
        with pytest.raises(InterruptedRunError, match="finished and saved, its report is not written; go on with: ppl train"):
            run(tiny, tmp_path / "run")
    said = []
    assert run(tiny, tmp_path / "run", resume=True, say=said.append).step == tiny.train.steps
    assert any(line.startswith(f"all {tiny.train.steps} steps are done") for line in said)


def test_a_run_that_never_began_leaves_nothing(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "save", lambda *arguments: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        run(tiny, tmp_path / "run")
    assert not (tmp_path / "run").exists()


class Killed(BaseException):
    """Nothing in the package handles it."""


@pytest.mark.parametrize(("where", "steps"), [("save_model", 7), ("save_curves", 6)])
def test_killed_within_its_last_save_a_run_still_comes_to_its_end(tiny, tmp_path, monkeypatch, where, steps):
    """training.pt has the last step, what is written after it does not; 7 steps end between two rows of metrics.csv."""
    config = with_train(tiny, steps=steps)
    run(config, tmp_path / "whole")
    owner = loop if where == "save_curves" else writer
    function = getattr(owner, where)

    def killed(path, *arguments):
        file = tmp_path / "parts" / "training.pt"
        if path.parent == file.parent and file.exists() and torch.load(file, weights_only=True)["step"] == steps:
            raise Killed
        function(path, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(owner, where, killed)
        with pytest.raises(Killed):
            run(config, tmp_path / "parts")
    run(config, tmp_path / "parts", resume=True)
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "parts"))
    assert losses(tmp_path / "whole") == losses(tmp_path / "parts")
    assert (tmp_path / "parts" / "prior.json").read_bytes() == (tmp_path / "whole" / "prior.json").read_bytes()
    assert (tmp_path / "parts" / "curves.png").exists()


@pytest.mark.parametrize("left", [(), (".lock",), ("samples/",), ("samples/", "config.yaml", "metrics.csv", ".writing-x.tmp")])
def test_killed_before_its_first_checkpoint_a_run_begins_again(tiny, tmp_path, left):
    folder = tmp_path / "parts"
    short = with_train(tiny, steps=2)
    for option in ("resume", "overwrite"):
        for name in left:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            if name.endswith("/"):
                (folder / name).mkdir(parents=True)
            else:
                (folder / name).write_text(to_yaml(short, {"ppl": "0"}))
        folder.mkdir(exist_ok=True)
        assert run(short, folder, **{option: True}).step == 2
        assert not list(folder.glob(".*"))
        shutil.rmtree(folder)


def test_overwriting_takes_the_reports_of_the_old_run_along(tiny, tmp_path):
    from ppl_cli.api.evaluate import FILES
    from ppl_cli.training.run_folder import EVALUATION

    assert FILES == EVALUATION
    short = with_train(tiny, steps=1)
    run(short, tmp_path / "run")
    for folder in ("eval-1", "eval-12", "eval-mine"):
        (tmp_path / "run" / folder).mkdir()
        (tmp_path / "run" / folder / "eval.json").write_text("{}")
    (tmp_path / "run" / "eval-12" / "notes.txt").write_text("mine")
    run(short, tmp_path / "run", overwrite=True)
    left = {path.relative_to(tmp_path / "run").as_posix() for path in (tmp_path / "run").glob("eval-*/*")}
    assert left == {"eval-12/notes.txt", "eval-mine/eval.json"}
    assert not (tmp_path / "run" / "eval-1").exists()


def test_resuming_needs_no_data_and_refuses_another_configuration(tiny, tmp_path, pictures):
    data = tiny.data.model_copy(update={"kind": "folder", "path": str(pictures)})
    run(tiny.model_copy(update={"data": data}), tmp_path / "run")
    nowhere = tiny.data.model_copy(update={"kind": "folder", "path": None})
    run(tiny.model_copy(update={"data": nowhere}), tmp_path / "run", resume=True, settings={"train.steps": 8})
    with pytest.raises(UsageError, match="is a run of tiny, not of other"):
        run(tiny.model_copy(update={"name": "other"}), tmp_path / "run", resume=True)
    with pytest.raises(UsageError, match="at step 8 already"):
        run(tiny, tmp_path / "run", resume=True, settings={"train.steps": 7})
    assert load_config(str(tmp_path / "run" / "config.yaml")).train.steps == 8
