"""`ppl_cli.api.train.train`: what it takes, what it gives, and `ppl train` on top of it."""

import shlex
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
import yaml
from safetensors.torch import load_file

from ppl_cli.api.train import settle_camera, train
from ppl_cli.checkpoints.model_file import load_model, save_finder
from ppl_cli.cli.app import main
from ppl_cli.cli.train import complete_config
from ppl_cli.config.loading import load_config
from ppl_cli.errors import UsageError
from ppl_cli.model.finder import OcclusionFinder
from ppl_cli.runtime import Runtime
from ppl_cli.training.examples import remove_examples
from ppl_cli.training.metrics import read_metrics
from tests.data.test_camera import film


def ppl(capsys, *arguments) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    output = capsys.readouterr()
    return stopped.value.code, output.out, output.err


def test_writes_the_run_folder(tiny_yaml, tmp_path):
    run = train(tiny_yaml, out=tmp_path / "run", device="cpu")
    names = {path.name for path in run.folder.iterdir()} - {"samples", "try"}
    written = {"config.yaml", "model.safetensors", "training.pt", "metrics.csv", "prior.json", "curves.png"}
    assert names == written | {"report.json", "report.html"}
    samples = {f"{name}-{step}" for step in ("000000", "000006") for name in ("step", "prior")}
    assert {path.stem for path in (run.folder / "samples").iterdir()} == samples
    assert [row["step"] for row in read_metrics(run.folder / "metrics.csv")] == [2, 4, 6]
    assert run.step == 6
    assert not run.learner.training
    assert not any("vgg" in name or "perceptual" in name for name in load_file(run.model))


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_it_learns_also_where_gradients_are_off(tiny_yaml, tmp_path, mode):
    with mode():
        run = train(tiny_yaml, out=tmp_path / "run", device="cpu", **{"train.uncover": 2})
        assert not torch.is_grad_enabled()
    assert run.step == 6


@pytest.mark.usefixtures("no_pictures")
def test_random_numbers_of_the_caller_stay_as_they_were(tiny_yaml, tmp_path):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    run = train(tiny_yaml, out=tmp_path / "run", device="cpu", **{"train.uncover": 2})
    assert torch.equal(torch.get_rng_state(), before)
    save_finder(run.model, OcclusionFinder())
    before = torch.get_rng_state()
    assert load_model(run.model).occlusions is not None
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize("kind", ["figures", "folder"])
def test_the_last_line_is_a_command_that_runs_as_it_stands(tiny_yaml, tmp_path, capsys, pictures, kind):
    """Also for a run in a folder with a space, and a second time for a run that replaces the first."""
    words = ["train", tiny_yaml, "--out", tmp_path / "the run", "--device", "cpu"]
    words += ["--data", pictures, "--set", "data.kind=folder"] if kind == "folder" else []
    for _ in range(2):
        code, out, error = ppl(capsys, *words, "--overwrite")
        assert code == 0, error
        name, *command = shlex.split(out.splitlines()[-1])
        assert name == "ppl"
        code, out, error = ppl(capsys, *command, "--device", "cpu")
        assert code == 0, error
    assert (tmp_path / "the run" / "poses" / "keypoints.csv").is_file()
    assert len(list((tmp_path / "the run" / "poses" / "overlay").rglob("*.??g"))) == (8 if kind == "folder" else 2)


def test_settings_are_python_values_and_the_run_says_where_its_model_is(tiny_yaml, tmp_path, pictures):
    said = []
    settings = {"train.steps": 2, "data.kind": "folder", "model.keypoints": 4, "prior.freeze": ["links"]}
    run = train(tiny_yaml, pictures, tmp_path / "run", device=Runtime("cpu", say=said.append), **settings)
    assert (run.step, run.folder, run.config.train.steps) == (2, tmp_path / "run", 2)
    checkpoint = load_model(run.model)
    assert (checkpoint.step, checkpoint.config) == (2, run.config)
    assert checkpoint.config.data.path == str(pictures)
    assert said[0].startswith(f"configuration {tiny_yaml}, seed 0")
    assert said[1].startswith("note: 8 different images are too few")
    assert "8 images, in memory" in said[2]


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.usefixtures("no_pictures")
def test_a_run_goes_on_without_its_configuration(tiny_yaml, tmp_path, capsys):
    train(tiny_yaml, out=tmp_path / "run", device="cpu", **{"train.steps": 1})
    assert train(out=tmp_path / "run", resume=True, device="cpu", **{"train.steps": 2}).step == 2
    code, out, _ = ppl(capsys, "train", "--out", tmp_path / "run", "--resume", "--set", "train.steps=3", "--device", "cpu")
    assert code == 0
    assert out.startswith("3 steps, ")


@pytest.mark.usefixtures("no_pictures")
def test_a_run_that_never_began_begins_with_its_own_configuration(tiny_yaml, tmp_path):
    train(tiny_yaml, out=tmp_path / "run", device="cpu", **{"train.steps": 1})
    for file in ("training.pt", "model.safetensors", "prior.json", "curves.png"):
        (tmp_path / "run" / file).unlink()
    remove_examples(tmp_path / "run")
    said = []
    assert train(out=tmp_path / "run", resume=True, device=Runtime("cpu", say=said.append)).step == 1
    assert said[0].endswith("was stopped before its first checkpoint: starting with step 0")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "expected CONFIG"),
        ({"resume": True}, "expected CONFIG"),
        ({"resume": True, "out": "empty"}, r"empty was stopped before it had a config\.yaml: name the CONFIG"),
        ({"resume": True, "out": "nowhere"}, "nothing to resume: there is no training.pt in nowhere"),
        ({"resume": True, "overwrite": True}, "exclude each other"),
        ({"config": "quickstart", "resume": True, "train.init": "x"}, "goes on from its own weights"),
        ({"config": "quickstart", "train.stepz": 3}, "did you mean train.steps"),
        ({"config": "quickstart", "device": "gpu"}, "write auto, cpu"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_written(tmp_path, monkeypatch, options, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=words):
        train(**options)
    assert [path.name for path in tmp_path.rglob("*")] == ["empty"]


def test_fields_and_the_whole_configuration_are_printed(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    code, out, error = ppl(capsys, "train", "--fields")
    assert (code, error) == (0, "")
    assert "train.steps: whole number > 0" in out
    assert max(map(len, out.splitlines())) <= 80
    code, out, error = ppl(capsys, "train", "folder", "--data", tmp_path, "--set", "model.keypoints=7", "--show")
    assert (code, error) == (0, "")
    assert yaml.safe_load(out)["model"]["keypoints"] == 7
    (tmp_path / "mine.yaml").write_text(out)
    expected = load_config("folder", {"model.keypoints": 7, "data.path": str(tmp_path)})
    assert load_config(tmp_path / "mine.yaml") == expected
    assert ppl(capsys, "train", "--show")[0] == 2


def test_a_configuration_shown_where_text_is_not_utf8_can_be_trained_from(tmp_path, monkeypatch):
    saved = tmp_path / "mine.yaml"
    with saved.open("w", encoding="cp1252") as file:  # as Windows redirects
        monkeypatch.setattr(sys, "stdout", file)
        with pytest.raises(SystemExit):
            main(["train", "folder", "--data", str(tmp_path / "Bären"), "--show"])
    assert load_config(saved).data.path == str(tmp_path / "Bären")


def test_the_shell_is_offered_the_names_of_configurations():
    assert complete_config("folder") == ["folder", "folder_small"]
    assert "quickstart" in complete_config("")
    code = (
        "import sys; from ppl_cli.cli.train import complete_config; complete_config('q');"
        "assert not {'torch', 'pydantic', 'numpy', 'yaml'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.usefixtures("no_pictures")
def test_a_run_is_not_replaced_before_the_new_one_can_begin(tiny_yaml, tmp_path, monkeypatch):
    out = tmp_path / "run"
    train(tiny_yaml, out=out, device="cpu")
    before = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}

    def broken(*arguments):
        raise MemoryError

    monkeypatch.setattr("ppl_cli.training.loop.prepare_model", broken)
    with pytest.raises(MemoryError):
        train(tiny_yaml, out=out, overwrite=True, device="cpu")
    assert {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()} == before


@pytest.mark.usefixtures("no_pictures")
def test_rows_of_another_rhythm_stay(tiny_yaml, tmp_path):
    out = tmp_path / "run"
    train(tiny_yaml, out=out, device="cpu")  # rows of steps 2, 4 and 6
    train(out=out, resume=True, device="cpu", **{"train.steps": 9, "train.log_every": 3})
    steps = [int(line.split(",")[0]) for line in (out / "metrics.csv").read_text().splitlines()[1:]]
    assert steps == [2, 4, 6, 9]


@pytest.mark.usefixtures("no_pictures")
def test_a_row_stays_where_the_run_stopped_and_goes_on_in_another_rhythm(tiny_yaml, tmp_path):
    out = tmp_path / "run"
    train(tiny_yaml, out=out, device="cpu", **{"train.steps": 4})  # rows of steps 2 and 4
    train(out=out, resume=True, device="cpu", **{"train.steps": 9, "train.log_every": 3})
    train(out=out, resume=True, device="cpu", **{"train.steps": 11, "train.log_every": 5})
    steps = [int(line.split(",")[0]) for line in (out / "metrics.csv").read_text().splitlines()[1:]]
    assert steps == [2, 4, 6, 9, 10, 11]


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize(("pan", "near"), [(6, 15), (0, 0)])
def test_where_the_camera_moves_references_are_near_ghosts_mirrored_and_relevance_tells_nothing(tmp_path, tiny_yaml, pan, near):
    film(tmp_path / "frames" / "a", 20, pan, 0)
    out, auto = tmp_path / "run", dict.fromkeys(("reference.near", "train.ghosts_mirrored", "loss.relevance"), "auto")
    kinds, said = {"reference.kind": "video", "data.kind": "video_frames"}, []
    machine = Runtime("cpu", say=said.append)
    run = train(tiny_yaml, data=tmp_path / "frames", out=out, device=machine, **kinds, **auto, **{"train.steps": 2})
    assert any("--set backbone=" in line for line in said) is (near > 0)
    written = load_config(str(out / "config.yaml"))
    assert run.config.reference.near == written.reference.near == near
    assert run.config.train.ghosts_mirrored is written.train.ghosts_mirrored is (near > 0)
    assert run.config.loss.relevance == written.loss.relevance == (0 if near else 0.2)
    assert train(out=out, resume=True, device="cpu", **auto, **{"train.steps": 3}).config.reference.near == near


@pytest.mark.parametrize(("turns", "relevance"), [(None, 0.0), ([1, 0], 0.2)])
def test_relevance_counts_where_images_are_turned_though_the_picture_moves(tiny, monkeypatch, turns, relevance):
    monkeypatch.setattr("ppl_cli.api.train.moves", lambda images: True)
    config = tiny.with_fields("reference", kind="video", near="auto").with_fields("loss", relevance="auto")
    settled = settle_camera(config, SimpleNamespace(turns=turns), SimpleNamespace(say=print))
    assert settled.loss.relevance == relevance
    assert settled.reference.near == 15
