"""`ppl refine` from the command line: results, masks and colours, confidence, pictures, bad input."""

import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image

from ppl_cli.api.predictor import load
from ppl_cli.checkpoints.model_file import load_model, save_finder, save_model
from ppl_cli.cli.app import main
from ppl_cli.data.figures import figure
from ppl_cli.data.frame import Frame
from ppl_cli.device import choose_compute
from ppl_cli.errors import UsageError
from ppl_cli.inference import overlays
from ppl_cli.inference.estimate import Estimator
from ppl_cli.inference.occluder import Occluder
from ppl_cli.inference.refine import Options, refine
from ppl_cli.model.finder import OcclusionFinder
from ppl_cli.runtime import Runtime
from tests.conftest import lively_model, measured

HOLE = (slice(20, 44), slice(16, 40))


def run(*arguments) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(["refine", *map(str, arguments), "--device", "cpu"])
    return stopped.value.code


@pytest.fixture
def model_file(tmp_path, tiny):
    model = lively_model(tiny)
    save_model(tmp_path / "model.safetensors", model, tiny, 7, measured(model, tiny, limit=100.0))
    return tmp_path / "model.safetensors"


@pytest.fixture
def occluded(tmp_path):
    """images/ with a red hole each, masks/ of them, one in a sub-folder."""
    for name in ("a.png", "b.png", "sub/c.png"):
        pixels = figure(len(name), 64)[0]
        mask = np.zeros((64, 64), np.uint8)
        mask[HOLE] = 255
        pixels[HOLE] = (250, 5, 5)
        for folder, content in (("images", pixels), ("masks", mask)):
            place = tmp_path / folder / name
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(content).save(place)
    return tmp_path / "images", tmp_path / "masks"


def table(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_results_are_those_of_infer_and_of_every_iteration(model_file, occluded, tmp_path):
    images, masks = occluded
    out = tmp_path / "out"
    assert run(model_file, images, "--masks", masks, "--out", out, "--iterations", 3) == 0
    rows = table(out / "keypoints.csv")
    assert len(rows) == 3 * 5
    assert list(rows[0]) == ["image", "status", "keypoint", "x", "y", "confidence", "visible", "moved", "explained"]
    plain, every = np.load(out / "keypoints.npz"), np.load(out / "keypoints_iterations.npz")
    assert list(every["images"]) == ["a.png", "b.png", "sub/c.png"]
    assert every["keypoints_px"].shape == (3, 4, 5, 2)
    assert np.array_equal(every["keypoints_px"][:, -1], plain["keypoints_px"])
    assert np.allclose([[float(row["x"]), float(row["y"])] for row in rows], plain["keypoints_px"].reshape(-1, 2), atol=1e-6)
    moved = np.linalg.norm(every["keypoints_px"][:, -1] - every["keypoints_px"][:, 0], axis=-1)
    assert np.allclose(moved, every["moved_px"])
    assert np.allclose([float(row["moved"]) for row in rows], moved.ravel(), atol=1e-6)
    assert moved.max() > 0.01
    assert (every["iterations_used"] == 3).all()

    # The numbers are those of the loop itself.
    estimator = Estimator(load_model(model_file).model, choose_compute("cpu", "fp32"))
    frame = Frame(64, 64, 32)
    hidden = np.zeros((64, 64), bool)
    hidden[HOLE] = True
    pixels, covered = frame.apply_occluded(Image.open(images / "a.png"), hidden)
    visible = torch.from_numpy(~covered)[None, None].float()
    expected = refine(estimator, estimator.to_images(pixels[None]), visible, Options(3)).keypoints[:, 0].numpy()
    assert np.allclose(frame.to_pixels(expected), every["keypoints_px"][0], atol=1e-3)

    # Whether a keypoint is seen, in all three files.
    points = np.rint(plain["keypoints_px"][0]).clip(0, 63).astype(int)
    inner = [HOLE[1].start + 2 < x < HOLE[1].stop - 2 and HOLE[0].start + 2 < y < HOLE[0].stop - 2 for x, y in points]
    assert not every["visible"][0][inner].any()
    assert [row["visible"] for row in rows] == ["yes" if v else "no" for v in every["visible"].ravel()]
    coco = json.loads((out / "keypoints.coco.json").read_text())
    values = np.array([a["keypoints"] for a in coco["annotations"]]).reshape(3, 5, 3)[..., 2]
    assert (values[~every["visible"]] == 1).all()


def test_every_iteration_in_the_table(model_file, occluded, tmp_path):
    images, masks = occluded
    out = tmp_path / "out"
    assert run(model_file, images, "--masks", masks, "--out", out, "--iterations", 2, "--all-iterations") == 0
    rows = table(out / "keypoints.csv")
    assert [row["iteration"] for row in rows[:15]] == ["0"] * 5 + ["1"] * 5 + ["2"] * 5
    every = np.load(out / "keypoints_iterations.npz")["keypoints_px"]
    assert np.allclose([[float(row["x"]), float(row["y"])] for row in rows], every.reshape(-1, 2), atol=1e-6)
    assert all(float(row["moved"]) == 0 for row in rows if row["iteration"] == "0")


def test_masks_and_colour_say_the_same(model_file, occluded, tmp_path):
    images, masks = occluded
    results = []
    for number, where in enumerate((("--masks", masks), ("--occluder-color", "#fa0505"), ("--occluder-color", "250,5,5"))):
        assert run(model_file, images, *where, "--out", tmp_path / str(number)) == 0
        results.append(np.load(tmp_path / str(number) / "keypoints.npz")["keypoints_px"])
    assert np.allclose(results[0], results[1], atol=1e-4)
    assert np.array_equal(results[1], results[2])


def test_the_colour_of_the_occluder_does_not_matter_with_a_mask(model_file, occluded, tmp_path):
    images, masks = occluded
    assert run(model_file, images, "--masks", masks, "--out", tmp_path / "red") == 0
    for path in images.rglob("*.png"):
        pixels = np.array(Image.open(path))
        pixels[HOLE] = np.random.default_rng(0).integers(0, 255, (24, 24, 3))
        Image.fromarray(pixels).save(path)
    assert run(model_file, images, "--masks", masks, "--out", tmp_path / "noise") == 0
    red, noise = (np.load(tmp_path / name / "keypoints.npz")["keypoints_px"] for name in ("red", "noise"))
    assert np.allclose(red, noise, atol=1e-4)


def test_without_a_mask_the_paper_s_procedure_is_run_and_said(model_file, occluded, tmp_path, capsys):
    assert run(model_file, occluded[0], "--out", tmp_path / "out") == 0
    err = capsys.readouterr().err
    assert "method paper" in err
    assert "nothing says what is hidden" in err
    every = np.load(tmp_path / "out/keypoints_iterations.npz")
    points = every["keypoints_px"][:, -1]
    assert np.array_equal(every["visible"], ((points >= -0.5) & (points < 63.5)).all(-1))
    assert run(model_file, occluded[0], "--out", tmp_path / "same", "--method", "visible") == 0
    assert "leaves every pose as it is found" in capsys.readouterr().err
    assert np.load(tmp_path / "same/keypoints_iterations.npz")["moved_px"].max() == 0


def test_without_a_mask_the_model_finds_what_is_hidden_where_it_has_learned_that(model_file, occluded, tmp_path, capsys):
    finder = OcclusionFinder().eval()
    with torch.no_grad():  # sees red, in one look at a pixel
        for parameter in finder.parameters():
            parameter.zero_()
        finder.down[0].norm.weight.fill_(1)
        finder.down[0].conv.weight[0, :, 1, 1] = torch.tensor([1.0, -1, -1])
        finder.decide[0].norm.weight.fill_(1)
        finder.decide[0].conv.weight[0, 0, 1, 1] = 1
        finder.decide[1].weight[0, 0], finder.decide[1].bias[0] = 1, -2.5
    save_finder(model_file, finder)
    assert run(model_file, occluded[0], "--out", tmp_path / "found") == 0
    err = capsys.readouterr().err
    assert "method found" in err
    assert "nothing says what is hidden: the model finds it" in err
    assert run(model_file, occluded[0], "--occluder-color", "red", "--out", tmp_path / "said") == 0
    found, said = (np.load(tmp_path / name / "keypoints_iterations.npz") for name in ("found", "said"))
    assert np.allclose(found["keypoints_px"][:, 0], said["keypoints_px"][:, 0], atol=1.5)
    assert said["moved_px"].max() > 0
    assert np.allclose(found["keypoints_px"][:, -1], said["keypoints_px"][:, -1], atol=1.5)


def test_padding_is_not_taken_for_hidden(model_file, tmp_path, capsys, monkeypatch):
    save_finder(model_file, OcclusionFinder())
    grey = lambda finder, images: (images.abs().amax(1, keepdim=True) > 0.01).float()  # noqa: E731
    monkeypatch.setattr(OcclusionFinder, "find_visible", grey)
    monkeypatch.setattr("ppl_cli.inference.refine.believe", lambda estimator, images, visible, found: found)
    Image.new("RGB", (64, 32), "red").save(tmp_path / "wide.png")
    assert run(model_file, tmp_path / "wide.png", "--out", tmp_path / "wide") == 0
    assert "nothing is hidden in 1 of 1 image" in capsys.readouterr().err
    Image.new("RGB", (64, 32), (128, 128, 128)).save(tmp_path / "grey.png")
    assert run(model_file, tmp_path / "grey.png", "--out", tmp_path / "grey") == 0
    assert "nothing is hidden" not in capsys.readouterr().err


def test_gifs_strips_and_overlays(model_file, occluded, tmp_path):
    images, masks = occluded
    out = tmp_path / "out"
    assert run(model_file, images, "--masks", masks, "--out", out, "--iterations", 2, "--gif", "--overlay") == 0
    for name in ("a.png", "b.png", "sub/c.png"):
        gif = Image.open(out / "gifs" / f"{name}.gif")
        assert gif.n_frames == 3
        strip = Image.open(out / "strips" / name)
        assert strip.width > 2.9 * strip.height / 3.2
        assert (out / "overlay" / name).is_file()
    # Coloured keypoints survive the few colours of a GIF.
    frame = np.asarray(gif.convert("RGB")).astype(int)
    assert (frame.max(-1) - frame.min(-1) > 100).sum() > 20


def test_useful_leaves_idle_keypoints_out_and_hidden_ones_are_crosses(model_file, occluded, tmp_path, tiny, monkeypatch):
    model = lively_model(tiny)
    links = torch.zeros(5, 5)
    for i, j, weight in ((0, 2, 1.0), (2, 4, 0.8), (1, 2, 0.2)):
        links[i, j] = links[j, i] = weight
    model.start_from(None, links)
    save_model(model_file, model, tiny, 7, measured(model, tiny, limit=100.0))
    images, masks = occluded
    drawn = []
    monkeypatch.setattr(overlays, "overlay", lambda image, *rest, **marks: drawn.append((rest[0], marks["inferred"])) or image)
    options = (model_file, images / "a.png", "--masks", masks, "--iterations", 2, "--overlay", "--gif")
    for name, more in (("all", ()), ("few", ("--useful",))):
        assert run(*options, *more, "--out", tmp_path / name) == 0
    whole, few = (np.load(tmp_path / name / "keypoints_iterations.npz") for name in ("all", "few"))
    for key in ("keypoints_px", "visible", "moved_px"):
        assert np.array_equal(few[key], whole[key][..., [0, 2, 4], :] if key == "keypoints_px" else whole[key][..., [0, 2, 4]])
    assert [row["keypoint"] for row in table(tmp_path / "few" / "keypoints.csv")] == ["k0", "k2", "k4"]
    (points, crosses), (fewer, fewer_crosses) = drawn
    assert np.array_equal(crosses, ~whole["visible"][0])
    assert np.isnan(fewer[[1, 3]]).all()
    assert np.array_equal(fewer[[0, 2, 4]], points[[0, 2, 4]])
    assert np.array_equal(fewer_crosses, crosses & [True, False, True, False, True])
    assert (tmp_path / "few" / "gifs" / "a.png.gif").read_bytes() != (tmp_path / "all" / "gifs" / "a.png.gif").read_bytes()


def test_images_unlike_those_of_training_are_flagged(model_file, occluded, tmp_path, capsys, tiny):
    images, masks = occluded
    out = tmp_path / "out"
    assert run(model_file, images, "--masks", masks, "--out", out) == 0
    assert {row["explained"] for row in table(out / "keypoints.csv")} == {"yes"}
    checkpoint = load_model(model_file)
    save_model(model_file, checkpoint.model, tiny, 7, measured(checkpoint.model, tiny, limit=1e-9))
    assert run(model_file, images, "--masks", masks, "--out", out, "--overwrite") == 0
    rows = table(out / "keypoints.csv")
    assert {row["explained"] for row in rows} == {"no"}
    assert {row["status"] for row in rows} == {"ok, but unlike the training images"}
    assert "3 of 3 images, as completed, are unlike those that the model was trained on" in capsys.readouterr().err
    save_model(model_file, checkpoint.model, tiny, 7)
    assert run(model_file, images, "--masks", masks, "--out", out, "--overwrite") == 0
    assert {row["explained"] for row in table(out / "keypoints.csv")} == {""}


def test_until_converged_stops_early(model_file, occluded, tmp_path):
    images, masks = occluded
    where = (model_file, images, "--masks", masks, "--iterations", 4)
    assert run(*where, "--out", tmp_path / "all") == 0
    assert run(*where, "--out", tmp_path / "few", "--until-converged", 1000) == 0
    few = np.load(tmp_path / "few/keypoints_iterations.npz")
    assert (few["iterations_used"] == 1).all()
    assert np.array_equal(few["keypoints_px"][:, 1], few["keypoints_px"][:, 4])


def test_bad_images_and_masks_cost_only_themselves(model_file, occluded, tmp_path, capsys):
    images, masks = occluded
    good = np.array(Image.open(images / "a.png"))
    for name in ("nomask", "other", "all", "unreadable", "tiny"):
        Image.fromarray(good).save(images / f"{name}.png")
    Image.new("L", (10, 10)).save(masks / "other.png")
    Image.new("L", (64, 64), 255).save(masks / "all.png")
    (images / "unreadable.png").write_text("no")
    Image.new("L", (64, 64)).save(masks / "unreadable.png")
    Image.fromarray(good[:20, :20]).save(images / "tiny.png")
    Image.new("L", (20, 20)).save(masks / "tiny.png")
    out = tmp_path / "out"
    assert run(model_file, images, "--masks", masks, "--out", out) == 0
    reasons = {row["image"]: row["reason"] for row in table(out / "skipped.csv")}
    assert reasons["nomask.png"] == f"no mask for it in {masks} (expected nomask.png)"
    assert reasons["other.png"] == "its mask is 10 pixels wide and 10 high, the image 64 and 64"
    assert reasons["all.png"] == "everything is hidden"
    assert "not an image" in reasons["unreadable.png"]
    assert len(reasons) == 4
    printed = capsys.readouterr()
    assert "1 image is smaller than the network's 32 pixels and was enlarged (tiny.png)" in printed.err
    assert "4 poses in" in printed.out
    every = np.load(out / "keypoints_iterations.npz")
    bad = [name[:-4] in ("nomask", "other", "all", "unreadable") for name in every["images"]]
    assert np.isnan(every["keypoints_px"][bad]).all()
    assert np.isfinite(every["keypoints_px"][~np.array(bad)]).all()
    assert run(model_file, images, "--masks", masks, "--out", out, "--overwrite", "--strict") == 1


def test_of_a_letterboxed_image_only_the_picture_counts(model_file, tmp_path):
    """Its padding is never hidden, and never shows a keypoint."""
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    stripes = np.full((30, 90), 255, np.uint8)
    stripes[::5] = 0  # a fifth of the rows is visible: too thin for the network to see
    for name, mask in (
        ("hidden", stripes),
        ("half", np.where(np.arange(90) < 45, 255, 0).astype(np.uint8)[None].repeat(30, 0)),
    ):
        Image.fromarray(figure(0, 90)[0][:30]).save(tmp_path / f"images/{name}.png")
        Image.fromarray(mask).save(tmp_path / f"masks/{name}.png")
    out = tmp_path / "out"
    assert run(model_file, tmp_path / "images", "--masks", tmp_path / "masks", "--out", out) == 0
    assert {row["image"]: row["reason"] for row in table(out / "skipped.csv")} == {
        "hidden.png": "nothing of it is visible at the network's 32 pixels"
    }
    beyond = 0
    for row in table(out / "keypoints.csv"):
        if row["image"] == "half.png" and not (-0.5 <= float(row["y"]) < 29.5 and -0.5 <= float(row["x"]) < 89.5):
            assert row["visible"] == "no"
            beyond += 1
    assert beyond


def test_which_mask_belongs_to_an_image(model_file, occluded, tmp_path, capsys):
    images, masks = occluded
    picture = Image.open(images / "a.png")
    picture.save(images / "a.bmp")
    picture.save(images / "d.png")
    Image.new("L", (64, 64)).save(masks / "a.bmp")  # nothing hidden in this one
    for suffix in ("bmp", "tif"):
        Image.new("L", (64, 64)).save(masks / f"d.{suffix}")
    Image.fromarray(np.eye(64, dtype=np.uint8)).save(masks / "b.png")  # 0 and 1
    out = tmp_path / "out"
    assert run(model_file, images, "--masks", masks, "--out", out) == 0
    reasons = {row["image"]: row["reason"] for row in table(out / "skipped.csv")}
    assert reasons == {
        "d.png": "several masks fit: d.bmp, d.tif",
        "b.png": "its mask has no white: hidden is 255, its largest value is 1",
    }
    every = np.load(out / "keypoints_iterations.npz")
    used = dict(zip(every["images"].tolist(), every["iterations_used"].tolist(), strict=True))
    assert (used["a.png"], used["a.bmp"]) == (4, 0)
    assert "nothing is hidden in 1 of 3 images (the first: a.bmp)" in capsys.readouterr().err


def test_masks_among_the_images_are_not_refined(model_file, occluded, tmp_path, capsys):
    images, masks = occluded
    masks.rename(images / "masks")
    out = tmp_path / "out"
    assert run(model_file, images, "--masks", images / "masks", "--out", out) == 0
    assert set(np.load(out / "keypoints.npz")["images"]) == {"a.png", "b.png", "sub/c.png"}
    assert run(model_file, images / "masks", "--masks", images / "masks", "--out", tmp_path / "x") == 2
    assert "is the folder of the images too" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--occluder-color", "300,0,0"), "write a colour"),
        (("--occluder-color", ""), "the argument behind --occluder-color is empty"),
        (("--iterations", "1000000"), "--iterations"),
        (("--masks", "nowhere"), "--masks nowhere: no such folder"),
        (("--occluder-color", "blurple"), "--occluder-color blurple: write a colour"),
        (("--method", "best"), "is not one of 'visible', 'found', 'paper'"),
        (("--method", "found"), "has not learned to find what hides the object"),
        (("--pose", "found"), "No such option: --pose"),
        (("--until-converged", "0"), "a number of pixels above 0"),
        (("--format", "xml"), "any of csv,coco,npz"),
        (("--iterations", "-1"), "--iterations"),
    ],
)
def test_wrong_options_get_one_line(model_file, occluded, tmp_path, capsys, arguments, expected):
    assert run(model_file, occluded[0], "--out", tmp_path / "out", *arguments) == 2
    assert expected in capsys.readouterr().err.strip().splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_a_colour_that_no_image_has_hides_nothing_and_is_said(model_file, tmp_path):
    pixels = np.full((64, 80, 3), 90, np.uint8)
    pixels[5:20, 5:20] = 200, 30, 40
    Image.fromarray(pixels).save(tmp_path / "a.png")
    said = []
    predictor = load(model_file, Runtime("cpu", say=said.append))
    predictor.refine_files(tmp_path / "a.png", tmp_path / "red", Occluder(colour=(255, 0, 0)))
    assert "note: nothing is hidden in 1 of 1 image (the first: a.png)" in said
    said.clear()
    predictor.refine_files(str(tmp_path / "a.png"), str(tmp_path / "right"), Occluder(colour=(200, 30, 40)))
    assert not any("nothing is hidden" in line for line in said)


@pytest.mark.parametrize("colour", [(0.8, 0.1, 0.1), (256, 0, 0), (1, 2), 7, "blurple", None])
def test_a_colour_is_three_whole_numbers_or_a_text(colour):
    for same in ("200,30,40", "#c81e28", np.array([200, 30, 40], np.uint8), [200, 30, 40]):
        assert Occluder(colour=same).colour == (200, 30, 40)
    if colour is not None:
        with pytest.raises(UsageError, match=r"write a colour|expected three whole numbers of 0 to 255"):
            Occluder(colour=colour)
