"""Every case of ../shared/cases gives the value that its README names."""

import csv
import importlib.util
import json
import shutil
import sys

import numpy as np
import pytest
from PIL import Image

from ppl_cli.checkpoints.model_file import save_model
from ppl_cli.cli.app import main
from ppl_cli.config.sections import Config, DataConfig
from ppl_cli.data.datasets import list_part
from tests.conftest import TINY, lively_model, ppl, shared

CVAT = ("--fit", "annotations/person_keypoints_train.json", "--test", "annotations/person_keypoints_test.json")
ROBOFLOW = ("--fit", "train/_annotations.coco.json", "--test", "test/_annotations.coco.json")


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    spec = importlib.util.spec_from_file_location("make_cases", shared("cases", "make_cases.py"))
    out, module = tmp_path_factory.mktemp("cases"), importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["make_cases", str(out), "--data", str(shared("data"))])
        module.main()
    config = Config.model_validate(TINY)
    save_model(out / "model.safetensors", lively_model(config), config, 7)
    return out


def evaluate(cases, capsys, name, *more):
    """(exit code, values by protocol and counts of images, lines said)."""
    where = ["--data", cases / name, "--out", cases / f"out-{name}", "--overwrite", "--json", "--device", "cpu"]
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        main(list(map(str, ["eval", cases / "model.safetensors", *where, *more])))
    captured = capsys.readouterr()
    if stopped.value.code:
        return stopped.value.code, None, captured.err
    report = json.loads(captured.out)
    protocols = report["models"][0]["protocols"]
    counts = report["data"]["fit_images"], report["data"]["test_images"]
    return 0, (counts, {name: (found["value"], found["mean_pose"]) for name, found in protocols.items()}), captured.err


@pytest.fixture(scope="module")
def plain(cases):
    """What the plain layout gives, measured once."""
    found = {}

    def measure(capsys):
        if not found:
            found["value"] = evaluate(cases, capsys, "coco-plain")
        return found["value"]

    return measure


def test_plain(plain, capsys):
    code, (counts, values), err = plain(capsys)
    assert (code, counts) == (0, (12, 8))
    assert values["regression"][1] == pytest.approx(7.196, abs=5e-4)
    notes = [line for line in err.splitlines() if "note:" in line]
    assert all("worse than answering the mean pose" in line for line in notes)  # the model is not trained


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("coco-backslashes", ()),
        ("coco-annotations-folder", CVAT),
        ("coco-annotations-folder", ()),
        ("coco-roboflow", ROBOFLOW),
        ("coco-roboflow", ()),
        *(
            ("coco-without-sizes", ("--fit", f"{k}-train.json", "--test", f"{k}-test.json"))
            for k in ("missing", "null", "zero")
        ),
        ("coco-string-ids", ()),
        ("coco-two-objects-without-area", ()),
        ("deeplabcut-labeled-copy", ("--fit", "walk1", "--test", "walk2")),
        ("excel-csv", ("--fit", "walk1", "--test", "walk2")),
    ],
)
def test_the_same_poses_give_the_same_numbers(cases, plain, capsys, name, options):
    code, measured, err = evaluate(cases, capsys, name, *options)
    assert (code, measured) == (0, plain(capsys)[1]), err
    if "two-objects" in name:
        assert "12 images with several objects; the largest of each is taken" in err


@pytest.mark.parametrize("annotations", ["missing-train.json", "null-train.json", "zero-train.json"])
def test_training_needs_no_sizes(cases, annotations):
    config = DataConfig(kind="coco", path=str(cases / "coco-without-sizes"), annotations=annotations)
    assert len(list_part(config, "train", 0, 32)) == 12


def test_training_finds_names_with_backslashes(cases):
    config = DataConfig(kind="coco", path=str(cases / "coco-backslashes"))
    assert len(list_part(config, "train", 0, 32)) == 12


def test_training_leaves_out_the_copy_with_drawn_labels(cases):
    listing = list_part(DataConfig(kind="deeplabcut", path=str(cases / "deeplabcut-labeled-copy")), "train", 0, 32)
    assert len(listing) == 20
    assert any("walk1_labeled" in note for note in listing.notes)


def test_normalised_keypoints_are_refused(cases, capsys):
    code, _, err = evaluate(cases, capsys, "normalised-coco-keypoints")
    assert code == 2
    assert "train.json: all keypoints lie in [0, 1]" in err
    assert "expected pixels" in err


def test_two_categories(cases, capsys):
    code, _, err = evaluate(cases, capsys, "two-categories")
    assert code == 2
    line = err.strip().splitlines()[-1]
    assert all(part in line for part in ("tiger (12 keypoints)", "bird (4 keypoints)", "--category NAME"))
    code, chosen, _ = evaluate(cases, capsys, "two-categories", "--category", "tiger")
    alone = evaluate(cases, capsys, "two-categories", "--fit", "tiger-train.json", "--test", "tiger-test.json")
    assert (code, chosen[0], chosen) == (0, (9, 6), alone[1])


def infer(cases, folder, out, *options) -> np.ndarray:
    """(poses, keypoints, 2) in pixels, in the order of the files."""
    assert ppl("infer", cases / "model.safetensors", folder, "--out", out, "--device", "cpu", *options) == 0
    with (out / "keypoints.csv").open(newline="") as file:
        rows = [[float(row["x"]), float(row["y"])] for row in csv.DictReader(file)]
    return np.reshape(rows, (-1, TINY["model"]["keypoints"], 2))


def test_every_page_is_an_image(cases, tmp_path):
    pages = infer(cases, cases / "tiff-many-pages" / "movie", tmp_path / "pages")
    frames = infer(cases, cases / "tiff-many-pages" / "frames", tmp_path / "frames")
    assert pages.shape == frames.shape == (5, 5, 2)
    assert np.abs(pages - frames).max() < 0.01
    assert np.ptp(pages, axis=0).max() > 0.1  # or there would be nothing to compare
    config = DataConfig(kind="folder", path=str(cases / "tiff-many-pages" / "movie"))
    assert len(list_part(config, "train", 0, 32)) == 5


@pytest.mark.parametrize("name", ["full16", "camera12", "camera10", "signed16"])
def test_deep_pixels_of_one_camera_are_those_of_8_bits(cases, tmp_path, name):
    found, shown = [], []
    for file in (f"{name}.tif", "plain8.png"):
        folder = tmp_path / file.partition(".")[0]
        folder.mkdir()
        shutil.copy(cases / "tiff-16bit" / "images" / file, folder)
        found.append(infer(cases, folder, folder / "out", "--overlay"))
        shown.append(np.asarray(Image.open(next((folder / "out" / "overlay").iterdir())), float).mean())
    assert np.abs(found[0] - found[1]).max() < 0.05
    assert abs(shown[0] - shown[1]) < 3


def test_deep_pixels_of_several_cameras_are_said(cases, tmp_path, capsys):
    assert len(infer(cases, cases / "tiff-16bit" / "images", tmp_path / "out")) == 5
    note = next(line for line in capsys.readouterr().err.splitlines() if "more than 8 bits" in line)
    assert all(part in note for part in ("4 sampled images", "data.range=[", "a folder of their own"))


@pytest.mark.parametrize(("name", "count"), [("some", 12), ("all", 8), ("circle", 4)])
def test_linked_folders_are_followed(cases, tmp_path, name, count):
    folder = cases / "linked-folders" / name
    assert len(infer(cases, folder, tmp_path / "out")) == count
    assert len(list_part(DataConfig(kind="folder", path=str(folder)), "train", 0, 32)) == count


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("identical-images", "all 20 images are the same: nothing can be learned from them; 200 to 2,000"),
        ("five-images", "5 different images are too few for keypoints to hold on other images; 200 to 2,000"),
    ],
)
@pytest.mark.usefixtures("no_pictures")
def test_too_few_images_are_said_before_the_first_step(cases, tiny_yaml, tmp_path, capsys, name, said):
    where = ["--set", "data.kind=folder", "--data", cases / name / "images", "--out", tmp_path / "run", "--device", "cpu"]
    assert ppl("train", tiny_yaml, *where, "--set", "train.steps=2") == 0
    before, _, after = capsys.readouterr().err.partition("step 2/2")
    assert said in before
    assert after
