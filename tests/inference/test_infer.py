"""`ppl infer` end to end: the same poses in every format, in any order and batch size, whatever the folder holds."""

import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image

from ppl_cli.api.details import Details
from ppl_cli.api.predictor import load
from ppl_cli.checkpoints.model_file import Known, save_model
from ppl_cli.data.frame import Frame
from ppl_cli.data.images import decode
from ppl_cli.device import choose_compute
from ppl_cli.errors import PPLError, UsageError
from ppl_cli.inference.estimate import Estimator
from ppl_cli.results.table import UNEXPLAINED
from ppl_cli.runtime import Output, Runtime, silent
from tests.conftest import lively_model, measured


def infer(model, inputs, out, formats=("csv", "coco", "npz"), overwrite=False, say=silent, **details):
    model = load(model, Runtime("cpu", "fp32", say))
    model.infer_files(inputs, Output(out, tuple(formats), overwrite), Details(**({"batch": 4} | details)))
    return out


def read_csv(out) -> dict[str, np.ndarray]:
    poses: dict[str, list] = {}
    with (out / "keypoints.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            poses.setdefault(row["image"], []).append([float(row[c] or "nan") for c in ("x", "y", "confidence")])
    return {name: np.array(rows) for name, rows in poses.items()}


def test_every_format_says_the_same(model_file, pictures, tmp_path):
    out = infer(model_file, [pictures], tmp_path / "out")
    table = read_csv(out)
    arrays = np.load(out / "keypoints.npz")
    assert arrays["names"].tolist() == ["k0", "k1", "k2", "k3", "k4"]
    coco = json.loads((out / "keypoints.coco.json").read_text())
    assert list(table) == arrays["images"].tolist() == [image["name"] for image in coco["images"]]
    assert set(table) == {*(f"{i}.jpg" for i in range(6)), "sub/6.png", "sub/7.png"}
    for k, (name, rows) in enumerate(table.items()):
        assert np.abs(rows[:, :2] - arrays["keypoints_px"][k]).max() < 1e-5
        assert np.abs(rows[:, 2] - arrays["confidence"][k]).max() < 1e-5
        annotation = coco["annotations"][k]
        assert annotation["image_id"] == coco["images"][k]["id"]
        assert np.abs(np.reshape(annotation["keypoints"], (-1, 3))[:, :2] - rows[:, :2]).max() < 1e-5
        image = decode(pictures / name)
        assert (coco["images"][k]["width"], coco["images"][k]["height"]) == image.size
    assert arrays["prior"].shape == (5, 2)
    assert arrays["confidence"].min() >= 0
    assert arrays["confidence"].max() <= 1


def test_from_python_the_formats_are_those_of_the_command(model_file, pictures, tmp_path):
    model = load(model_file, "cpu")
    assert str(model.infer_files(pictures, Output(tmp_path / "out"))) == f"8 poses in {tmp_path / 'out'}"
    assert {path.name for path in (tmp_path / "out").glob("keypoints*")} == {
        "keypoints.csv",
        "keypoints.coco.json",
        "keypoints.npz",
    }
    for output, words in ((Output(tmp_path / "x", ("CSV",)), "format CSV: expected any of csv"), (Output(), "where")):
        with pytest.raises(UsageError, match=words):
            model.infer_files([pictures], output)


@pytest.mark.parametrize(("limit", "said"), [(1e-9, True), (100.0, False)])
def test_images_unlike_those_of_training_are_said(pictures, tmp_path, tiny, limit, said):
    """`limit` is what 99 % of training images stay below."""
    model = lively_model(tiny)
    save_model(tmp_path / "model.safetensors", model, tiny, 7, measured(model, tiny, limit=limit))
    lines = []
    out = infer(tmp_path / "model.safetensors", [pictures], tmp_path / "out", say=lines.append)
    assert any("8 of 8 images are unlike those that the model was trained on" in line for line in lines) == said
    with (out / "keypoints.csv").open(encoding="utf-8", newline="") as file:
        assert {row["status"] for row in csv.DictReader(file)} == {UNEXPLAINED if said else "ok"}
    assert any("the column `status` of keypoints.csv says which" in line for line in lines) == said
    infer(tmp_path / "model.safetensors", [pictures], tmp_path / "npz", formats=("npz",), say=lines.append)
    assert any("with --format csv a column says which" in line for line in lines) == said


@pytest.mark.parametrize("remembers", [True, False])
def test_without_calibration_confidence_is_empty_and_that_is_said(pictures, tmp_path, tiny, remembers):
    file, lines, formats = tmp_path / "model.safetensors", [], ("csv", "coco", "npz", "dlc", "slp")
    known = Known(torch.zeros(1, tiny.model.banks)) if remembers else None
    save_model(file, lively_model(tiny), tiny, 7, known)
    out = infer(file, [pictures], tmp_path / "out", formats, say=lines.append)
    noted = [line for line in lines if "so confidence is left empty" in line]
    assert len(noted) == 1
    assert ("--resume" in noted[0]) == remembers
    assert all(np.isnan(rows[:, 2]).all() and np.isfinite(rows[:, :2]).all() for rows in read_csv(out).values())
    assert np.isnan(np.load(out / "keypoints.npz")["confidence"]).all()
    text = (out / "keypoints.coco.json").read_text()
    assert "NaN" not in text
    assert all("score" not in annotation for annotation in json.loads(text)["annotations"])


def test_useful_leaves_idle_keypoints_out_of_everything(pictures, tmp_path, tiny):
    model, file, lines = lively_model(tiny), tmp_path / "model.safetensors", []
    links = torch.zeros(5, 5)
    for i, j, weight in ((0, 2, 1.0), (2, 4, 0.8), (1, 2, 0.2), (3, 4, 0.1)):
        links[i, j] = links[j, i] = weight
    model.start_from(None, links)
    save_model(file, model, tiny, 7, measured(model, tiny))
    everything = infer(file, [pictures], tmp_path / "all", ("csv", "coco", "npz", "dlc"), overlay=True)
    out = infer(file, [pictures], tmp_path / "few", ("csv", "coco", "npz", "dlc"), overlay=True, useful=True, say=lines.append)
    assert "idle keypoints, left out: k1, k3" in lines
    rows, fewer = read_csv(everything), read_csv(out)
    assert all(np.array_equal(fewer[name], rows[name][[0, 2, 4]]) for name in rows)
    assert max(rows[name][[1, 3], 2].max() for name in rows) <= 0.2
    category = json.loads((out / "keypoints.coco.json").read_text())["categories"][0]
    assert (category["keypoints"], category["skeleton"]) == (["k0", "k2", "k4"], [[1, 2], [2, 3]])
    arrays, whole = np.load(out / "keypoints.npz"), np.load(everything / "keypoints.npz")
    assert np.array_equal(arrays["links"], whole["links"][[0, 2, 4]][:, [0, 2, 4]])
    assert np.array_equal(arrays["prior"], whole["prior"][[0, 2, 4]])
    assert "k1" not in next((out / "dlc").glob("*.csv")).read_text()
    assert (out / "overlay/5.jpg").is_file()


def test_equals_the_model_called_by_hand(model_file, pictures, tmp_path, tiny):
    from ppl_cli.checkpoints.model_file import load_model

    table = read_csv(infer(model_file, [pictures], tmp_path / "out"))
    model = load_model(model_file).model
    for name, rows in table.items():
        image = decode(pictures / name)
        frame = Frame(*image.size, 32, tiny.data.resize)
        pixels = torch.from_numpy(frame.apply_image(image).copy()).permute(2, 0, 1)[None] / 127.5 - 1
        with torch.no_grad():
            by_hand = frame.to_pixels(model.estimate(pixels).keypoints[0].numpy())
        assert np.abs(rows[:, :2] - by_hand).max() < 1e-3


def assert_same(rows, other):
    assert np.abs(rows - other)[:, :2].max() < 1e-4
    # To this model, which has learned nothing, all images look nearly alike: its confidence tells rounding errors apart.
    assert np.abs(rows - other)[:, 2].max() < 5e-3


@pytest.mark.parametrize("batch", [1, 3, 8, 64])
def test_batch_size_does_not_change_the_poses(model_file, pictures, tmp_path, batch):
    reference = read_csv(infer(model_file, [pictures], tmp_path / "a", batch=4))
    other = read_csv(infer(model_file, [pictures], tmp_path / "b", batch=batch))
    for name, rows in reference.items():
        assert_same(rows, other[name])


def test_order_and_company_do_not_change_the_poses(model_file, pictures, tmp_path):
    reference = read_csv(infer(model_file, [pictures], tmp_path / "a"))
    files = [pictures / name for name in reversed(list(reference))]
    (pictures / "sub" / "broken.jpg").write_text("no image")
    other = read_csv(infer(model_file, [*files, pictures / "sub" / "broken.jpg"], tmp_path / "b"))
    alone = read_csv(infer(model_file, [pictures / "2.jpg"], tmp_path / "c"))
    assert list(other)[-1] == "broken.jpg"
    for name, rows in reference.items():
        assert_same(rows, other[name.split("/")[-1]])
    assert_same(reference["2.jpg"], alone["2.jpg"])


def test_unreadable_images_keep_their_rows_and_are_listed(model_file, pictures, tmp_path):
    (pictures / "text.jpg").write_text("hello")
    Image.new("RGB", (1, 1)).save(pictures / "dot.png")
    out = infer(model_file, [pictures], tmp_path / "out")
    table = read_csv(out)
    assert np.isnan(table["text.jpg"]).all()
    assert np.isfinite(table["dot.png"]).all()
    assert len(table) == 10
    assert (out / "skipped.csv").read_text().splitlines() == [
        "image,reason",
        'text.jpg,"not an image, or of an unknown format"',
    ]
    arrays = np.load(out / "keypoints.npz")
    assert np.isnan(arrays["keypoints_px"][arrays["images"].tolist().index("text.jpg")]).all()
    assert "text.jpg" not in (out / "keypoints.coco.json").read_text()


def test_strict_stops_and_leaves_no_result(model_file, pictures, tmp_path):
    (pictures / "text.jpg").write_text("hello")
    with pytest.raises(PPLError, match=r"text\.jpg: not an image"):
        infer(model_file, [pictures], tmp_path / "out", strict=True, batch=16)
    assert not list((tmp_path / "out").iterdir())


def test_only_unreadable_images_fail(model_file, tmp_path):
    (tmp_path / "x.jpg").write_text("no")
    with pytest.raises(PPLError, match=r"the image could not be used \(x\.jpg: not an image, or of an unknown format\)"):
        infer(model_file, [tmp_path / "x.jpg"], tmp_path / "out")
    (tmp_path / "links").mkdir()
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / "links" / name).symlink_to(tmp_path / "nowhere")
    with pytest.raises(
        PPLError, match=r"none of the 2 images could be used \(first: a\.jpg: a link to a file that is not there\)"
    ):
        infer(model_file, [tmp_path / "links"], tmp_path / "out", overwrite=True)


def test_results_are_never_replaced_unasked(model_file, pictures, tmp_path):
    infer(model_file, [pictures / "1.jpg"], tmp_path / "out")
    with pytest.raises(UsageError, match=r"already holds keypoints\.csv"):
        infer(model_file, [pictures], tmp_path / "out")
    assert len(read_csv(infer(model_file, [pictures], tmp_path / "out", overwrite=True))) == 8


def test_names_are_kept_apart_where_they_collide(model_file, pictures, tmp_path):
    other = tmp_path / "other" / "pictures"
    other.mkdir(parents=True)
    Image.new("RGB", (20, 20)).save(other / "0.jpg")
    table = read_csv(infer(model_file, [pictures, other], tmp_path / "a", overlay=True))
    assert {"pictures/0.jpg", "other/pictures/0.jpg", "pictures/sub/6.png"} <= set(table)
    assert (tmp_path / "a" / "overlay" / "other" / "pictures" / "0.jpg").exists()
    files = read_csv(infer(model_file, [pictures / "0.jpg", other / "0.jpg", pictures / "0.jpg"], tmp_path / "b"))
    assert set(files) == {"pictures/0.jpg", "other/pictures/0.jpg"}
    apart = read_csv(infer(model_file, [pictures / "1.jpg", other / "0.jpg"], tmp_path / "c"))
    assert set(apart) == {"1.jpg", "0.jpg"}


def test_results_inside_the_input_are_no_input(model_file, pictures):
    infer(model_file, [pictures], pictures / "poses", overlay=True)
    table = read_csv(infer(model_file, [pictures], pictures / "poses", overlay=True, overwrite=True))
    assert len(table) == 8


def test_overwriting_leaves_nothing_of_the_earlier_run(model_file, pictures, tmp_path):
    out = infer(model_file, [pictures], tmp_path / "out", overlay=True)
    infer(model_file, [pictures / "1.jpg"], out, formats=["csv"], overwrite=True)
    assert {path.name for path in out.iterdir()} == {"keypoints.csv", "skipped.csv"}


def test_an_overlay_that_cannot_be_written_costs_no_result(model_file, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    Image.new("RGB", (20, 20)).save(folder / f"{'x' * 250}.bmp")
    Image.new("RGB", (20, 20)).save(folder / "y.png")
    lines: list[str] = []
    out = infer(model_file, [folder], tmp_path / "out", overlay=True, say=lines.append)
    assert len(read_csv(out)) == 2
    assert (out / "overlay" / "y.png").exists()
    assert any("1 picture could not be written" in line for line in lines)


def test_a_link_in_a_circle_is_an_unreadable_image(model_file, pictures, tmp_path):
    (pictures / "loop.jpg").symlink_to("loop.jpg")
    out = infer(model_file, [pictures], tmp_path / "out")
    assert "loop.jpg" in (out / "skipped.csv").read_text()
    assert len(read_csv(out)) == 9


def test_coco_is_read_by_pycocotools(model_file, pictures, tmp_path):
    coco = pytest.importorskip("pycocotools.coco")
    out = infer(model_file, [pictures], tmp_path / "out")
    loaded = coco.COCO(str(out / "keypoints.coco.json"))
    assert len(loaded.getImgIds()) == len(loaded.getAnnIds()) == 8
    category = loaded.loadCats(1)[0]
    assert category["keypoints"] == [f"k{i}" for i in range(5)]
    assert all(1 <= end <= 5 for link in category["skeleton"] for end in link)


def test_overlays_are_pictures_of_the_images(model_file, pictures, tmp_path):
    out = infer(model_file, [pictures], tmp_path / "out", overlay=True)
    with Image.open(out / "overlay" / "5.jpg") as drawn, Image.open(pictures / "5.jpg") as image:
        assert drawn.width / drawn.height == pytest.approx(image.width / image.height, rel=0.02)
        plain = np.asarray(image.resize(drawn.size, Image.Resampling.BICUBIC)).astype(int)
        changed = (np.abs(np.asarray(drawn).astype(int) - plain).max(-1) > 40).mean()
    assert 0.002 < changed < 0.4
    assert (out / "overlay" / "sub" / "6.png").exists()


def test_the_overlay_of_a_large_jpeg_is_that_of_its_copy_without_loss(model_file, tmp_path):
    """The one is decoded at half its size, the other not."""
    pixels = np.random.default_rng(0).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    image = Image.fromarray(pixels).resize((2800, 2100), Image.Resampling.BICUBIC)
    (tmp_path / "in").mkdir()
    image.save(tmp_path / "in" / "a.jpg", quality=95)
    Image.open(tmp_path / "in" / "a.jpg").save(tmp_path / "in" / "b.png", compress_level=0)
    out = infer(model_file, [tmp_path / "in"], tmp_path / "out", overlay=True)
    small, whole = (np.asarray(Image.open(out / "overlay" / name)).astype(int) for name in ("a.jpg", "b.png"))
    assert small.shape == (768, 1024, 3)
    assert np.abs(small - whole).mean() < 1  # of which JPEG makes a half


def test_estimating_twice_gives_the_same(model_file, tiny):
    from ppl_cli.checkpoints.model_file import load_model

    estimator = Estimator(load_model(model_file).model, choose_compute("cpu"))
    squares = np.random.default_rng(0).integers(0, 255, (3, 32, 32, 3), dtype=np.uint8)
    first, second = estimator(squares), estimator(squares)
    assert np.array_equal(first, second)
