"""Several processes against one: gloo on this machine's CPU, started as torchrun starts them."""

import csv
import os
import signal
import socket
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ppl_cli.checkpoints.shapes import build_model
from ppl_cli.config.loading import to_yaml
from ppl_cli.config.sections import Config
from ppl_cli.device import choose_compute
from ppl_cli.distributed import ALONE, World, launched, processes
from ppl_cli.errors import PPLError
from ppl_cli.evaluation.unlabelled import FILES as REPORT
from ppl_cli.training.prepare import prepare_step
from tests.conftest import ppl
from tests.forks import NO_PICTURES, Forks, torchrun
from tests.training.one_step import one_step

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
PATIENT = 3  # of a machine with other work: what takes 1 second may take so many


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


def test_all_wait_while_the_first_learns_what_hides_and_hear_that_it_was_stopped(forks, tiny, tmp_path, monkeypatch):
    config = tiny.model_copy(update={"train": tiny.train.model_copy(update={"uncover": 3})})
    (tmp_path / "tiny.yaml").write_text(to_yaml(config, {}))
    monkeypatch.chdir(tmp_path)
    stopping = "\nloop.add_finder = lambda *arguments: False\n"
    done = forks.run_two("train", "tiny.yaml", "--device", "cpu", "--out", "run", prepare=NO_PICTURES + stopping)
    assert done.wait() == [130, 130], done.error


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


@pytest.mark.parametrize("rank", [0, 1])
def test_variables_left_in_the_shell_are_named_and_the_first_interrupt_ends_the_wait(tiny, tmp_path, rank):
    (tmp_path / "tiny.yaml").write_text(to_yaml(tiny, {}))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    left = {"RANK": str(rank), "WORLD_SIZE": "3", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    imported = "import sys, torch.distributed, ppl_cli.api.train as _; from ppl_cli.cli.app import main"
    started = subprocess.Popen(
        [sys.executable, "-c", f"{imported}; print('ready', file=sys.stderr, flush=True); main()", "train", "tiny.yaml"],
        cwd=tmp_path,
        env=ENVIRONMENT | left,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert started.stderr.readline() == "ready\n"
    began = time.monotonic()
    line = started.stderr.readline()
    assert time.monotonic() - began < 3 * PATIENT
    assert f"waits for 2 other processes at 127.0.0.1:{port}, for at most 10 minutes" in line
    assert f"RANK={rank} and WORLD_SIZE=3 are set in your shell" in line
    assert "unset RANK WORLD_SIZE" in line
    began = time.monotonic()
    started.send_signal(signal.SIGINT)
    assert started.stderr.read() == ("ppl: interrupted\n" if rank == 0 else "")
    assert started.wait() == 130
    assert time.monotonic() - began < 2 * PATIENT
    started.stderr.close()


def test_variables_that_say_no_place_to_meet_are_named(tiny, tmp_path, monkeypatch, capsys):
    (tmp_path / "tiny.yaml").write_text(to_yaml(tiny, {}))
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "2"), ("MASTER_ADDR", "here"), ("MASTER_PORT", None)):
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    assert ppl("train", tmp_path / "tiny.yaml", "--device", "cpu", "--out", tmp_path / "run") == 2
    assert "RANK=0 and WORLD_SIZE=2 are set in your shell, but not MASTER_PORT" in capsys.readouterr().err


def test_a_port_that_is_taken_is_named(monkeypatch):
    with socket.socket(socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET) as taken:
        taken.bind(("", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        for name, value in (("RANK", "0"), ("WORLD_SIZE", "2"), ("MASTER_ADDR", "localhost"), ("MASTER_PORT", port)):
            monkeypatch.setenv(name, value)
        with pytest.raises(PPLError, match="the port is in use"), processes(choose_compute("cpu")):
            pass


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


def test_without_torchrun_there_is_one_process(monkeypatch):
    for rank, size in ((None, None), ("x", "2"), ("3", "2")):
        for name, value in (("RANK", rank), ("WORLD_SIZE", size)):
            monkeypatch.delenv(name, raising=False)
            if value is not None:
                monkeypatch.setenv(name, value)
        assert launched() == (0, 1)
