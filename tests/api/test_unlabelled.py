"""Reports without labels, from the command line, from Python, and at the end of a training."""

import json
import shutil

import pytest

import ppl_cli
from ppl_cli.api.evaluate import evaluate
from ppl_cli.checkpoints.model_file import load_model, save_model
from ppl_cli.evaluation.unlabelled import FILES
from ppl_cli.runtime import Runtime
from tests.conftest import ppl


def run(*arguments) -> int:
    return ppl("eval", *arguments, "--device", "cpu")


def test_images_without_annotations_get_a_report(lively_file, pictures, tmp_path, capsys):
    (pictures / "broken.jpg").write_bytes(b"no image")
    assert run(lively_file, "--data", pictures, "--out", tmp_path / "out") == 0
    printed = capsys.readouterr()
    content = json.loads((tmp_path / "out/report.json").read_text())
    assert f"verdict: {content['verdict']}" in printed.out
    assert "k4" in printed.out
    assert "without annotations" in printed.err
    assert "note: 1 unreadable image is left out: broken.jpg" in printed.err
    assert content["images"] == 8
    assert content["data"] == {"images": 9, "kind": "folder", "path": str(pictures)}
    assert len(content["keypoints"]) == 5
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(FILES)
    assert content["verdict"] in (tmp_path / "out/report.html").read_text(encoding="utf-8")
    assert run(lively_file, "--data", pictures, "--out", tmp_path / "out") == 2
    assert "already holds report.json" in capsys.readouterr().err
    assert run(lively_file, "--data", pictures, "--out", tmp_path / "out", "--overwrite", "--strict") == 1
    assert "broken.jpg" in capsys.readouterr().err


def test_in_python_the_numbers_are_those_of_the_command(lively_file, pictures, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(lively_file, "--data", pictures, "--out", "out", "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    report = ppl_cli.evaluate(lively_file, pictures, device="cpu")
    assert isinstance(report, ppl_cli.UnlabelledReport)
    assert report.to_dict() == printed
    assert report.folder is None
    assert report.poses.shape == (8, 5, 2)
    assert repr(report).endswith(f", {report.verdict!r})")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "pictures"]


def test_a_video_goes_too_whatever_the_model_was_trained_on(lively_file, clips, pictures, tmp_path):
    checkpoint, said = load_model(lively_file), []
    config = checkpoint.config.model_copy(update={"data": checkpoint.config.data.model_copy(update={"kind": "video_frames"})})
    save_model(tmp_path / "frames.safetensors", checkpoint.model, config, 7, checkpoint.known)
    for model in (lively_file, tmp_path / "frames.safetensors"):
        assert evaluate(model, clips / "good/plain.mp4", device=Runtime("cpu", say=said.append)).images > 1
    evaluate(model, pictures, device=Runtime("cpu", say=said.append))
    places = [line.partition("; ")[2] for line in said if "without annotations" in line]
    assert places[:2] == [f"images in {clips / 'good/plain.mp4'}, without annotations"] * 2
    assert places[2:] == [f"images in {pictures}, without annotations, each folder read as the frames of one video"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--protocol", "ridge"), "For a report without labels leave --protocol"),
        (("--occlusion", "random=0.1"), "For a report without labels leave --protocol"),
        (("--test", "0.3"), "For a report without labels leave --protocol"),
        (("--kind", "folder", "--protocol", "ridge"), "no annotations to measure against"),
        (("--kind", "folder", "--category", "cat"), "data.kind folder has no categories"),
    ],
)
def test_what_needs_annotations_is_one_line(lively_file, pictures, tmp_path, capsys, arguments, words):
    assert run(lively_file, "--data", pictures, "--out", tmp_path / "out", *arguments) == 2
    assert words in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_it_is_of_one_model(lively_file, pictures, capsys):
    assert run(lively_file, lively_file, "--data", pictures) == 2
    assert "a report without labels is one of a single model" in capsys.readouterr().err


def test_annotations_can_be_left_unread(lively_file, pictures):
    (pictures / "test.json").write_text('{"images": [], "annotations": []}')
    assert evaluate(lively_file, ppl_cli.AnnotatedData(pictures, kind="folder"), device="cpu").images == 8


def test_a_model_of_drawn_figures_has_no_folder_of_its_own(lively_file, capsys):
    assert run(lively_file, "--kind", "folder") == 2
    assert capsys.readouterr().err == "ppl: --kind folder: which images? give --data FOLDER\n"


def test_a_training_ends_with_a_report_of_its_own_images(trained_run):
    content = json.loads((trained_run / "report.json").read_text())
    assert content["data"] == {"images": 24, "kind": "figures", "path": None}
    assert content["step"] == 6
    assert content["familiar"] is not None
    assert (trained_run / "report.html").is_file()


def test_a_training_in_bfloat16_ends_with_the_numbers_that_eval_gives(tiny_yaml, pictures, tmp_path):
    settings = {"data.kind": "folder", "reference.kind": "mask", "train.steps": 4}
    done = ppl_cli.train(tiny_yaml, pictures, tmp_path / "run", device=ppl_cli.Runtime("cpu", "bf16"), **settings)
    assert done.compute.precision == "bf16"
    again = evaluate(done.folder, device="cpu")
    assert again.score == done.report.score
    assert [keypoint.shift for keypoint in again.keypoints] == [keypoint.shift for keypoint in done.report.keypoints]


def test_without_data_the_images_of_training(tiny_yaml, pictures, tmp_path, no_pictures, monkeypatch):
    settings = {"data.kind": "folder", "reference.kind": "mask"}
    done = ppl_cli.train(tiny_yaml, pictures, tmp_path / "run", device="cpu", **settings)
    report = evaluate(done.folder, output=ppl_cli.Output(), device="cpu")
    assert report.folder == done.folder / "eval-1"
    assert report.images == 8
    ppl_cli.train(tiny_yaml, pictures, done.folder, overwrite=True, device="cpu", **settings)
    assert not report.folder.exists()


def test_a_report_that_fails_costs_the_training_nothing(tiny_yaml, tmp_path, monkeypatch, capsys):
    def fail(*arguments):
        raise RuntimeError("no\nluck")

    monkeypatch.setattr("ppl_cli.api.unlabelled.sample_images", fail)
    assert ppl("train", tiny_yaml, "--out", tmp_path / "run", "--device", "cpu") == 0
    printed = capsys.readouterr()
    assert "note: no report without labels: no luck" in printed.err
    assert "verdict" not in printed.out
    assert not (tmp_path / "run/report.json").exists()


def test_an_interrupted_report_says_that_the_training_is_saved_and_is_made_later(tiny_yaml, tmp_path, monkeypatch, capsys):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    out, device = tmp_path / "run", ("--device", "cpu")
    words = ("train", tiny_yaml, "--set", "train.steps=1", *device)
    with monkeypatch.context() as patch:
        patch.setattr("ppl_cli.api.unlabelled.sample_images", interrupt)
        assert ppl(*words, "--out", out) == 130
        saved = "the training is finished and saved, its report is not written; go on with: ppl train --out"
        assert f"ppl: {saved} {out} --resume" in capsys.readouterr().err
        assert ppl(*words, "--out", tmp_path / "tries", "--seeds", "2") == 130
        assert f"seed-0 was stopped, everything is saved; go on with: ppl train --out {tmp_path / 'tries'} --resume" in (
            capsys.readouterr().err
        )
    for folder, report in ((out, out), (tmp_path / "tries", tmp_path / "tries/seed-0")):
        assert not (report / "report.json").exists()
        assert ppl("train", "--out", folder, "--resume", *device) == 0
        assert (report / "report.json").is_file()


def test_the_table_is_printed_and_a_new_run_removes_the_old_report(tiny_yaml, trained_run, tmp_path, capsys, monkeypatch):
    run = shutil.copytree(trained_run, tmp_path / "run")
    monkeypatch.setattr("ppl_cli.api.train.report_training", lambda run, listing, say: run)
    assert ppl("train", tiny_yaml, "--out", run, "--overwrite", "--device", "cpu") == 0
    assert not (run / "report.json").exists()
    monkeypatch.undo()
    capsys.readouterr()
    assert ppl("train", "--out", run, "--resume", "--device", "cpu") == 0
    printed = capsys.readouterr().out
    assert "verdict: " in printed
    assert str(run / "report.html") in printed.replace("\n", "")
