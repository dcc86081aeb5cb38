"""Names that keypoints get after training are used by all that comes later."""

import csv
import json
import os
import shutil

import pytest

import ppl_cli
from ppl_cli.api import naming
from ppl_cli.checkpoints.model_file import load_model
from ppl_cli.errors import UsageError
from ppl_cli.lock import locked
from ppl_cli.prior.names import read_names
from ppl_cli.prior.prior import load_prior
from tests import conftest

NAMES = ["nose", "left ear", "Schwanz", "尾", "hip, left"]


def ppl(*arguments) -> int:
    return conftest.ppl(*arguments, "--device", "cpu")


@pytest.fixture
def run(trained_run, tmp_path):
    return shutil.copytree(trained_run, tmp_path / "run")


@pytest.fixture
def names(tmp_path):
    (tmp_path / "names.txt").write_text("\n".join(NAMES) + "\n", encoding="utf-8")
    return tmp_path / "names.txt"


def edit(run, *names: str) -> None:
    content = json.loads((run / "prior.json").read_text(encoding="utf-8"))
    for keypoint, name in zip(content["keypoints"], names, strict=False):
        keypoint["name"] = name
    (run / "prior.json").write_text(json.dumps(content), encoding="utf-8")


@pytest.mark.parametrize("way", ["--names", "edited"])
def test_every_later_command_uses_them(run, names, pictures, tmp_path, capsys, way):
    if way == "--names":
        assert ppl("export-prior", run, "--out", tmp_path / "named", "--names", names) == 0
        assert f"5 names stored in {run}" in capsys.readouterr().err
    else:
        edit(run, *NAMES)
        assert ppl("export-prior", run, "--out", tmp_path / "named") == 0
    assert load_prior(run / "prior.json").names == load_prior(tmp_path / "named/prior.json").names == NAMES
    assert "Schwanz" in (tmp_path / "named/prior.html").read_text(encoding="utf-8")
    for command in ("infer", "refine"):
        assert ppl(command, run, pictures / "0.jpg", "--out", tmp_path / command) == 0
        with (tmp_path / command / "keypoints.csv").open(encoding="utf-8", newline="") as file:
            assert [row["keypoint"] for row in csv.DictReader(file)] == NAMES
        coco = json.loads((tmp_path / command / "keypoints.coco.json").read_text(encoding="utf-8"))
        assert coco["categories"][0]["keypoints"] == NAMES
    model = ppl_cli.load(run, "cpu")
    assert model.names == model.prior.names == model(pictures / "0.jpg").names == NAMES


def test_a_copied_model_file_has_those_it_was_given(run, names, tmp_path):
    weights = load_model(run).model.state_dict()
    assert ppl("export-prior", run, "--out", tmp_path / "named", "--names", names) == 0
    shutil.copy(run / "model.safetensors", tmp_path / "alone.safetensors")
    alone = load_model(tmp_path / "alone.safetensors")
    assert alone.config.prior.names == NAMES
    assert all((alone.model.state_dict()[name] == tensor).all() for name, tensor in weights.items())
    assert all((a == b).all() for a, b in zip(alone.known.calibration, load_model(run).known.calibration, strict=True))


def test_the_names_of_a_model_are_not_those_of_another_beside_it(run, names, tmp_path):
    (models := tmp_path / "models").mkdir()
    for name in ("a.safetensors", "b.safetensors"):
        shutil.copy(run / "model.safetensors", models / name)
    assert ppl("export-prior", models / "a.safetensors", "--out", models, "--names", names) == 0
    assert load_model(models / "a.safetensors").config.prior.names == load_prior(models / "prior.json").names == NAMES
    assert load_model(models / "b.safetensors").config.prior.names == []


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_a_link_to_a_model_stays_one_and_its_run_gets_the_names(run, names, tmp_path):
    (best := tmp_path / "best.safetensors").symlink_to(run / "model.safetensors")
    assert ppl("export-prior", best, "--out", tmp_path / "named", "--names", names) == 0
    assert best.is_symlink()
    assert load_model(best).config.prior.names == load_model(run).config.prior.names == NAMES
    assert load_prior(run / "prior.json").names == NAMES


@pytest.mark.usefixtures("no_pictures")
def test_training_that_goes_on_keeps_them(run, tmp_path, tiny_yaml):
    edit(run, *NAMES)
    assert ppl("train", "--out", run, "--resume", "--set", "train.steps=8") == 0
    assert load_model(run).step == 8
    assert load_prior(run / "prior.json").names == NAMES
    shutil.move(run / "model.safetensors", tmp_path / "alone.safetensors")
    assert load_model(tmp_path / "alone.safetensors").config.prior.names == NAMES
    more = (
        "--init",
        tmp_path / "alone.safetensors",
        "--out",
        tmp_path / "more",
        "--set",
        "train.steps=2",
        "--set",
        "model.encoder=fine",
    )
    assert ppl("train", tiny_yaml, *more) == 0
    assert load_prior(tmp_path / "more/prior.json").names == NAMES


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a\nb\nc\nd", "has 4 names, the model 5 keypoints"),
        ("a\nb\nc\nd\ne\nf\n", "has 6 names, the model 5 keypoints"),
        ("a\nb\n\nd\ne\n", "line 3: expected the name of a keypoint, got nothing"),
        ("", "line 1: expected the name of a keypoint, got nothing"),
        ("a\nb\nc\nb\ne\n", "lines 2 and 4 have the same name, b"),
        ("a\nb\x1b[31m\nc\nd\ne\n", "line 2: name: a name must be printable text on one line"),
        ("a\nb\n=1+1\nd\ne\n", "line 3: name: the name =1+1 begins as a formula"),
        ("a\nb\nc\nd\n" + "e" * 201, "line 5: name: String should have at most 200 characters"),
        (b"a\nb\xff\nc\nd\ne", "is not text in UTF-8"),
    ],
)
def test_wrong_names_are_one_line(run, tmp_path, capsys, text, problem):
    file, before = tmp_path / "names.txt", (run / "prior.json").read_bytes()
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    capsys.readouterr()
    assert ppl("export-prior", run, "--out", tmp_path / "out", "--names", file) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert problem in line
    assert line.isprintable()
    assert (run / "prior.json").read_bytes() == before
    assert load_model(run).config.prior.names == []


def test_windows_lines_spaces_and_a_mark_at_the_beginning_do_no_harm(tmp_path):
    (tmp_path / "names.txt").write_bytes(b"\xef\xbb\xbfa b \r\n c\r\n")
    assert read_names(tmp_path / "names.txt", 2) == ["a b", "c"]


@pytest.mark.parametrize(
    ("names", "problem"),
    [(("a", "a"), "two keypoints have the same name"), (("",), "not empty"), ((" ",), "not empty"), (("a\n",), "printable")],
)
def test_wrong_names_in_a_prior_are_one_line(run, tmp_path, capsys, names, problem):
    edit(run, *names)
    capsys.readouterr()
    for command in (("infer", run, run, "--out", tmp_path / "out"), ("train", "--resume", "--out", run)):
        assert ppl(*command) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert problem in line
        assert "prior.json" in line


def test_a_prior_of_another_model_is_one_line(run):
    content = json.loads((run / "prior.json").read_text())
    content["keypoints"].pop()
    content["links"] = [row[:4] for row in content["links"][:4]]
    content |= {"prototypes": [], "banks": []}
    (run / "prior.json").write_text(json.dumps(content))
    with pytest.raises(UsageError, match=r"has 4 keypoints, the model beside it 5"):
        load_model(run)


def test_a_model_in_training_is_left_alone(run, names, tmp_path, capsys):
    with locked(run):
        assert ppl("export-prior", run, "--out", tmp_path / "out", "--names", names) == 1
    assert "another ppl is writing" in capsys.readouterr().err
    assert load_prior(run / "prior.json").names != NAMES


def test_stopped_between_the_two_files_new_names_count(run, names, tmp_path, monkeypatch):
    def stop(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(naming, "prepare_names", lambda *arguments: stop)
    ppl("export-prior", run, "--out", tmp_path / "out", "--names", names)
    assert load_model(run).config.prior.names == NAMES


@pytest.mark.parametrize(
    "wrong",
    [("--format", "xml"), ("--data", "nowhere"), ("--out", "."), ("--prototypes", "9", "--data", "unreadable")],
)
def test_a_refused_command_stores_no_names(run, names, tmp_path, monkeypatch, wrong):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prior.json").touch()
    (tmp_path / "unreadable").mkdir()
    (tmp_path / "unreadable" / "x.png").touch()
    before = {file: file.read_bytes() for file in run.iterdir() if file.is_file()}
    assert ppl("export-prior", run, "--names", names, "--out", "out", *wrong) in (1, 2)
    assert {file: file.read_bytes() for file in run.iterdir() if file.is_file()} == before
