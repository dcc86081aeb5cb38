"""The program as a user meets it: help, version, errors, exit codes."""

import itertools
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ppl_cli import __version__
from ppl_cli.cli.app import main
from ppl_cli.cli.train import next_command
from ppl_cli.config.sections import DataConfig
from tests.forks import NO_PICTURES


def ppl(capsys, *arguments) -> tuple[int, str, str]:
    """Run in this process: (exit code, stdout, stderr)."""
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    output = capsys.readouterr()
    return stopped.value.code, output.out, output.err


def one_line(error: str) -> str:
    lines = [line for line in error.strip().splitlines() if line.startswith("ppl: ")]
    assert len(lines) == 1
    assert error.strip().endswith(lines[0])
    assert "Traceback" not in error
    return lines[0]


def test_version(capsys):
    assert ppl(capsys, "--version") == (0, f"ppl {__version__}\n", "")


@pytest.mark.parametrize("command", [(), ("train",), ("infer",)])
def test_help_teaches_with_examples(capsys, command):
    code, out, _ = ppl(capsys, *command, "--help")
    assert code == 0
    assert "ppl train quickstart" in out or "ppl infer runs/quickstart-1" in out


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("command", [(), ("train",), ("eval",), ("infer",), ("refine",), ("export-prior",)])
def test_help_keeps_its_paragraphs(capsys, monkeypatch, command, columns):
    """A line ends where the next word has no room, or with its paragraph."""
    monkeypatch.setenv("COLUMNS", str(columns))
    _, out, _ = ppl(capsys, *command, "--help")
    lines = [line.strip() for line in out.partition("\u256d")[0].splitlines()]
    for line, below in itertools.pairwise(lines):
        if line and below and not line.startswith("ppl "):
            assert len(line) + 1 + len(below.split()[0]) > columns - 2, line
    assert sum(line.startswith("ppl ") for line in lines) >= 2


def test_help_is_quick_and_imports_no_torch():
    code = """
import sys
from ppl_cli.cli.app import main
try:
    main(["--help"])
except SystemExit:
    pass
heavy = {"torch", "torchvision", "numpy", "pydantic", "matplotlib"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60)
    times = []
    for _ in range(3):
        begun = time.perf_counter()
        subprocess.run([sys.executable, "-m", "ppl_cli", "--help"], check=True, capture_output=True, timeout=60)
        times.append(time.perf_counter() - begun)
    assert min(times) < 0.5 * (3 if os.getloadavg()[0] > 2 else 1)  # a busy machine is no reason to fail


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("train", "quikstart"), "did you mean quickstart"),
        (("train", "quickstart", "--set", "train.stepz=3"), "did you mean train.steps"),
        (("train", "folder"), "give --data FOLDER"),
        (("train", "folder", "--data", "nowhere"), "no such folder"),
        (("train", "h36m", "--data", "."), "expected files such as"),
        (("train", "quickstart", "--data", "photos"), "ppl train folder_small --data"),
        (("train", "quickstart", "--perceptual-weights", "x.pth"), "needs no perceptual weights"),
        (
            ("train", "folder", "--data", ".", "--set", "data.kind=coco", "--set", "reference.kind=video"),
            "reference.kind video needs videos",
        ),
        (("train", "quickstart", "--device", "cpu:"), "write auto, cpu"),
        (("train", "quickstart", "--set", "name=2024-13-45"), "not a value that YAML can read"),
        (("train", "quickstart", "--resume", "--overwrite"), "exclude each other"),
        (("train", "quickstart", "--device", "cuda"), "no CUDA GPU"),
        (("train", "quickstart", "--device", "gpu"), "write auto, cpu"),
        (("train", "quickstart", "--precision", "fp64"), "'--precision': 'fp64' is not one of 'auto', 'fp32', 'bf16' (see"),
        (("train",), "expected CONFIG"),
        (("trian",), "No such command"),
        (("train", "quickstart", "photos"), "(photos): folders and videos are given with --data (see ppl train --help)"),
        (("infer", "m", "--data", "photos"), "images are given without an option, behind the model (see ppl infer --help)"),
        (("infer", "nowhere", "x.jpg", "--out", "o"), "no model at nowhere"),
        (("infer", "m", "x.jpg", "--out", "o", "--format", "xml"), "any of csv,coco,npz"),
        (("infer", "m", "x.jpg"), "--out"),
        (("infer", "m", "", "--out", "o"), "the argument behind m is empty"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(capsys, tmp_path, monkeypatch, arguments, words):
    import torch

    if "cuda" in arguments and torch.cuda.is_available():
        pytest.skip("this machine has a CUDA GPU")
    monkeypatch.chdir(tmp_path)
    code, _, error = ppl(capsys, *arguments)
    assert code == 2
    assert words in one_line(error)
    assert not list(tmp_path.iterdir())


def test_a_file_whose_name_looks_like_an_option_is_recognised(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "-dash.jpg").touch()
    code, _, error = ppl(capsys, "infer", "m", "-dash.jpg", "--out", "o")
    assert code == 2
    assert one_line(error).endswith(": for the file -dash.jpg write ./-dash.jpg (see ppl infer --help)")


def test_no_arguments_print_the_help(capsys):
    code, out, error = ppl(capsys)
    assert code == 2
    assert "ppl train quickstart" in out + error
    assert "ppl: " not in error


def test_missing_perceptual_weights_say_how_to_get_them(capsys, tmp_path, tiny_yaml, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nobody listens there: as without a network
    code, _, error = ppl(capsys, "train", tiny_yaml, "--out", tmp_path / "run", "--set", "loss.kind=perceptual")
    assert code == 1
    line = one_line(error)
    assert "vgg19-dcbb9e9d.pth" in line
    assert "--perceptual-weights FILE" in line
    assert "loss.kind=multiscale" in line
    (tmp_path / "bad.safetensors").write_text("x")
    arguments = ("train", tiny_yaml, "--out", tmp_path / "run2", "--set", "loss.kind=perceptual", "--perceptual-weights")
    assert "not a readable" in one_line(ppl(capsys, *arguments, tmp_path / "bad.safetensors")[2])
    assert "no such file" in one_line(ppl(capsys, *arguments, tmp_path / "none.pth")[2])


def test_train_then_infer(capsys, tmp_path, tiny_yaml, pictures):
    code, out, error = ppl(capsys, "train", tiny_yaml, "--out", tmp_path / "run", "--device", "cpu")
    assert code == 0
    assert "held-out figures: error" in out
    assert "step 6/6" in error
    code, out, error = ppl(capsys, "infer", tmp_path / "run", pictures, "--out", tmp_path / "poses", "--overlay")
    assert code == 0
    assert out == f"8 poses in {tmp_path / 'poses'}\n"
    code, _, error = ppl(capsys, "infer", tmp_path / "run", pictures, "--out", tmp_path / "poses")
    assert code == 2
    assert "--overwrite" in one_line(error)


def test_ctrl_c_while_a_finished_training_is_measured_says_what_is_saved(capsys, tmp_path, tiny_yaml, no_pictures, monkeypatch):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("ppl_cli.api.evaluate.held_out", interrupt)
    code, _, error = ppl(capsys, "train", tiny_yaml, "--out", tmp_path / "run", "--device", "cpu")
    assert code == 130
    saved = "the training is finished and saved, its error is not measured; to measure it: ppl eval"
    assert error.splitlines()[-1] == f"ppl: {saved} {tmp_path / 'run'}"


def test_a_bug_shows_its_traceback_only_with_debug(capsys, monkeypatch, tiny_yaml):
    import ppl_cli.api.train

    def broken(*arguments, **settings):
        raise ZeroDivisionError("division\nby zero")

    monkeypatch.setattr(ppl_cli.api.train, "load_config", broken)
    code, _, error = ppl(capsys, "train", tiny_yaml)
    assert code == 1
    assert "internal error: ZeroDivisionError: division by zero" in one_line(error)
    code, _, error = ppl(capsys, "--debug", "train", tiny_yaml)
    assert code == 1
    assert "Traceback" in error
    assert "in broken" in error


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_no_permission_is_one_line(capsys, tmp_path, tiny_yaml):
    tmp_path.chmod(0o500)
    code, _, error = ppl(capsys, "train", tiny_yaml, "--out", tmp_path / "run")
    tmp_path.chmod(0o700)
    assert code == 2
    assert "cannot write to" in one_line(error)


def test_out_that_cannot_be_a_folder_is_one_line(capsys, tmp_path, tiny_yaml, model_file, pictures):
    for arguments in (("train", tiny_yaml), ("infer", model_file, pictures)):
        code, _, error = ppl(capsys, *arguments, "--out", model_file)
        assert code == 2
        assert str(model_file) in one_line(error)
    code, _, error = ppl(capsys, "train", tiny_yaml, "--out", "/proc/run")
    assert code == 2
    assert "cannot write to /proc/run" in one_line(error)


def test_ctrl_c_while_training_saves_and_exits_130(forks, tmp_path, tiny_yaml):
    long = ("--set", "train.steps=100000", "--set", "train.save_every=100000")
    training = forks.start("train", tiny_yaml, "--out", tmp_path / "run", "--device", "cpu", *long, prepare=NO_PICTURES)
    metrics, deadline = tmp_path / "run" / "metrics.csv", time.monotonic() + 120
    while not metrics.exists() or len(metrics.read_text().splitlines()) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    training.send(signal.SIGINT)
    assert training.wait() == 130
    assert "everything is saved; go on with: ppl train" in one_line(training.error)
    assert (tmp_path / "run" / "training.pt").exists()


def test_a_weights_file_is_found_from_wherever_the_run_goes_on(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code, shown, _ = ppl(capsys, "train", "folder", "--perceptual-weights", "vgg.pth", "--show")
    assert code == 0
    assert f"weights: {tmp_path / 'vgg.pth'}" in shown


def test_after_training_on_labels_the_next_command_asks_for_images():
    assert next_command(Path("run"), DataConfig(kind="sleap", path="mice.slp")).split()[2:4] == ["run", "IMAGES"]


@pytest.mark.skipif(os.name == "nt", reason="shells of Windows close no streams")
@pytest.mark.parametrize("closed", [">&-", "2>&-"])
def test_a_closed_stream_is_no_error(model_file, pictures, tmp_path, closed):
    command = [sys.executable, "-m", "ppl_cli", "infer", str(model_file), str(pictures), "--out", str(tmp_path / "out")]
    done = subprocess.run(f"{shlex.join(command)} {closed}", shell=True, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    assert (tmp_path / "out/keypoints.csv").is_file()
