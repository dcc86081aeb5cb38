"""Several processes against one: gloo on this machine's CPU, started as torchrun starts them."""

import csv
from functools import partial

import pytest
import torch
from safetensors.torch import load_file

from ppl_cli.checkpoints.shapes import build_model
from ppl_cli.config.loading import to_yaml
from ppl_cli.config.sections import Config
from ppl_cli.device import choose_compute
from ppl_cli.distributed import ALONE, World, launched
from ppl_cli.evaluation.unlabelled import FILES as REPORT
from ppl_cli.training.prepare import prepare_step
from tests.conftest import ppl
from tests.forks import NO_PICTURES, Forks, torchrun
from tests.training.one_step import one_step


def with_batch(config: Config, batch: int, **settings) -> Config:
    return config.model_copy(update={"train": config.train.model_copy(update={"batch": batch, **settings})})


def largest_difference(first: dict, second: dict) -> float:
    """Relative to the largest number of all tensors: gradients that are zero but for rounding do not count."""
    largest = max(float(tensor.double().abs().max()) for tensor in first.values())
    return max(float((first[name].double() - second[name].double()).abs().max()) for name in first) / largest


def test_two_processes_step_as_one_that_takes_the_whole_batch_in_two_pieces(forks, tiny, tmp_path):
    """In float64: batch normalisation over a few pixels makes 1e-4 of what float32 rounds."""
    (tmp_path / "tiny.yaml").write_text(to_yaml(tiny, {}))
    done = forks.run_two(tmp_path / "tiny.yaml", tmp_path / "state", module="tests.training.one_step")
    assert done.wait() == [0, 0], done.error
    ours = [torch.load(tmp_path / f"state.{rank}") for rank in (0, 1)]
    pieces, whole = one_step(with_batch(tiny, 8, accumulate=2), ALONE), one_step(with_batch(tiny, 8), ALONE)
    assert largest_difference(pieces["gradients"], ours[0]["gradients"]) < 1e-8
    assert largest_difference(pieces["gradients"], whole["gradients"]) > 1e-3  # batch norms see each piece alone
    for kind in ("gradients", "buffers"):
        assert all(tensor.equal(ours[1][kind][name]) for name, tensor in ours[0][kind].items())
    memory = {name: tensor for name, tensor in pieces["buffers"].items() if name.startswith("memory.")}
    assert len(memory) == 3
    assert largest_difference(memory, ours[0]["buffers"]) < 1e-8
    first = "encoder.blocks.0.side_norm.running_mean"  # of the images, before any norm: the mean of the pieces' means
    assert torch.allclose(ours[0]["buffers"][first], whole["buffers"][first], rtol=1e-8)


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize(
    "launch", [partial(Forks.run_two, prepare=NO_PICTURES), pytest.param(torchrun, marks=pytest.mark.slow)]
)
def test_two_processes_train_with_one_writer(forks, tiny, tmp_path, monkeypatch, capsys, launch):
    # Adam moves what has no gradient but rounding (biases before batch norm) by the whole rate, in either direction: with the
    # usual rate losses part by 1e-3 in a few steps, depending on the versions of the libraries; with this one by 1e-6.
    (tmp_path / "tiny.yaml").write_text(to_yaml(with_batch(tiny, 4, learning_rate=1e-5), {}))
    monkeypatch.chdir(tmp_path)
    train = ["train", "tiny.yaml", "--device", "cpu"]
    done = launch(forks, *train, "--out", "two")
    assert done.wait() in (0, [0, 0]), done.error
    assert done.out.count("6 steps") == 1
    assert "FutureWarning" not in done.error
    assert ppl(*train, "--out", "one", "--set", "train.batch=8", "--set", "train.accumulate=2") == 0
    names = [{file.name for file in (tmp_path / folder).iterdir()} for folder in ("one", "two")]
    assert names[1] - set(REPORT) == names[0]
    assert set(REPORT) <= names[1] or launch is not torchrun
    rows = [list(csv.DictReader((tmp_path / name / "metrics.csv").open())) for name in ("one", "two")]
    assert [row["step"] for row in rows[1]] == ["2", "4", "6"]
    for one, two in zip(*rows, strict=True):
        assert float(one["total"]) == pytest.approx(float(two["total"]), rel=3e-5)
    assert ppl(*train, "--out", "two", "--resume", "--set", "train.steps=8") != 0
    assert "the run was one of 2 processes, now there are 1" in capsys.readouterr().err


STOP_AT_3 = """
import os
save = loop.save

def save_and_stop(*arguments):
    save(*arguments)
    if arguments[5] == 3:
        os._exit(9)

loop.save = save_and_stop
"""


def test_two_processes_go_on_as_if_never_stopped(forks, tiny, tmp_path, monkeypatch):
    (tmp_path / "tiny.yaml").write_text(to_yaml(with_batch(tiny, 4, ema=0.5), {}))
    monkeypatch.chdir(tmp_path)
    train = ["train", "tiny.yaml", "--device", "cpu", "--out"]
    whole, stopped = (
        forks.start_two(*train, name, prepare=NO_PICTURES + more) for name, more in (("whole", ""), ("resumed", STOP_AT_3))
    )
    assert (whole.wait(), stopped.wait()[0]) == ([0, 0], 9)
    assert stopped.error.count("another process of this command has ended") == 1
    assert not (tmp_path / "resumed" / "curves.png").exists()
    resumed = forks.run_two(*train, "resumed", "--resume", prepare=NO_PICTURES)
    assert resumed.wait() == [0, 0], resumed.error
    for weights in [lambda run: torch.load(run / "training.pt")["model"], lambda run: load_file(run / "model.safetensors")]:
        expected, found = (weights(tmp_path / name) for name in ("whole", "resumed"))
        assert all(tensor.equal(found[name]) for name, tensor in expected.items())


LEADER_LAST = """
import os, time
from ppl_cli.cli import app
first_to_say = app.first_to_say
app.first_to_say = lambda line: (os.environ["RANK"] == "0" and time.sleep(1), first_to_say(line))[1]
"""


def test_all_wait_while_the_first_learns_what_hides_and_hear_that_it_was_stopped(forks, tiny, tmp_path, monkeypatch):
    config = tiny.model_copy(update={"train": tiny.train.model_copy(update={"uncover": 3})})
    (tmp_path / "tiny.yaml").write_text(to_yaml(config, {}))
    monkeypatch.chdir(tmp_path)
    stopping = "\nloop.add_finder = lambda *arguments: False\n"
    done = forks.run_two("train", "tiny.yaml", "--device", "cpu", "--out", "run", prepare=NO_PICTURES + stopping + LEADER_LAST)
    assert done.wait() == [130, 130], done.error
    assert done.error.count("ppl: stopped at step 6, everything is saved; go on with: torchrun --nproc-per-node 2") == 1


def test_buffers_stay_alone_also_where_torch_has_the_older_name_for_it(tiny, monkeypatch):
    class Older(torch.nn.Module):
        def __init__(self, module, device_ids=None, broadcast_buffers=True, gradient_as_bucket_view=False):
            super().__init__()
            self.broadcasts = broadcast_buffers

    monkeypatch.setattr("ppl_cli.training.prepare.DistributedDataParallel", Older)
    step = prepare_step(build_model(tiny), torch.nn.Identity(), tiny, choose_compute("cpu"), World(0, 2))
    assert not step.broadcasts


def test_what_is_wrong_everywhere_is_said_once_and_what_is_wrong_in_one_process_too(forks, tiny, tmp_path):
    done = forks.run_two("train", "nowhere.yaml", "--device", "cpu")
    assert done.wait() == [2, 2]
    assert done.error.count("no configuration 'nowhere.yaml'") == 1
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "mine.txt").touch()
    (tmp_path / "tiny.yaml").write_text(to_yaml(tiny, {}))
    done = forks.run_two("train", tmp_path / "tiny.yaml", "--device", "cpu", "--out", tmp_path / "taken")
    assert 0 not in done.wait()
    assert done.error.count("taken is not empty") == 1
    assert "internal error" not in done.error


def test_pieces_of_a_batch_are_the_same_step_but_for_batch_statistics(tiny, monkeypatch):
    """Batch normalisation sees each piece alone. With fixed statistics nothing differs."""
    monkeypatch.setattr(torch.nn.BatchNorm2d, "forward", lambda self, x: x * self.weight[:, None, None])
    whole, pieces = one_step(tiny, ALONE), one_step(with_batch(tiny, 4, accumulate=2), ALONE)
    for kind in ("gradients", "buffers"):
        assert largest_difference(whole[kind], pieces[kind]) < 1e-8


def test_shares_follow_each_other_and_cover_all():
    for count in (0, 1, 7, 1000):
        for size in (1, 2, 3, 8):
            pieces = [World(rank, size).share(count) for rank in range(size)]
            assert [index for piece in pieces for index in piece] == list(range(count))
            assert max(map(len, pieces)) - min(map(len, pieces)) <= 1


def test_without_torchrun_there_is_one_process_whatever_a_shell_says(monkeypatch, capsys):
    for name, value in (("RANK", "1"), ("WORLD_SIZE", "2")):
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    assert launched() == (0, 1)
    assert ppl("--version") == 0
    assert capsys.readouterr().out.startswith("ppl ")
