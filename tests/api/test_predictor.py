"""A trained model from Python: the example of the README, arrays in a notebook, streams, and the numbers of the commands."""

import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import ppl_cli
from ppl_cli.checkpoints.model_file import save_model
from ppl_cli.cli.app import main
from ppl_cli.data.figures import figure
from ppl_cli.data.images import decode
from ppl_cli.inference import estimate
from tests.clips import write_clip
from tests.conftest import lively_model, measured

HOLE = (slice(20, 44), slice(16, 40))


@pytest.fixture
def model_file(tmp_path, tiny):
    model = lively_model(tiny)
    known = measured(model, tiny, limit=100.0)
    known.tokens = torch.randint(0, tiny.model.vectors, (20, tiny.model.banks))
    save_model(tmp_path / "model.safetensors", model, tiny, 7, known)
    return tmp_path / "model.safetensors"


@pytest.fixture
def model(model_file):
    return ppl_cli.load(model_file, device="cpu")


@pytest.fixture
def occluded(tmp_path):
    """Three images with a hole each, and masks of them."""
    for number in range(3):
        pixels, mask = figure(number, 64)[0], np.zeros((64, 64), np.uint8)
        mask[HOLE] = 255
        for folder, content in (("images", pixels), ("masks", mask)):
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.fromarray(content).save(tmp_path / folder / f"{number}.png")
    return tmp_path / "images", tmp_path / "masks"


def run(*arguments) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([*map(str, arguments), "--device", "cpu"])
    assert stopped.value.code == 0


def paths_of(folder) -> list:
    return [folder / name for name in (*(f"{i}.jpg" for i in range(6)), "sub/6.png", "sub/7.png")]


def test_importing_is_quick_and_takes_neither_torch_nor_numpy():
    code = """
import sys, time
begun = time.perf_counter()
import ppl_cli
took = time.perf_counter() - begun
assert {"load", "train", "evaluate", "export_prior", "Predictor", "Pose", "Prior", "Runtime", "PPLError"} <= set(dir(ppl_cli))
assert ppl_cli.UsageError("x").exit_code == 2
assert not {"torch", "numpy", "PIL", "pydantic"} & set(sys.modules), sys.modules.keys()
print(took)
"""
    done = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60) for _ in range(3)]
    assert not any(process.returncode for process in done), done[0].stderr
    assert min(float(process.stdout) for process in done) < 0.1


def test_poses_know_the_file_and_the_frame_that_they_were_given(model, pictures, tmp_path):
    write_clip(tmp_path / "clip.mp4", range(5))
    frame, still = f"{tmp_path}/clip.mp4#3", pictures / "1.jpg"
    expected = list(model.stream(tmp_path / "clip.mp4"))[3]
    for pose in (model(frame), model([still, frame])[1], next(model.stream(iter([frame]))), model.refine([still, frame])[1]):
        assert (pose.frame, pose.time, pose.place.video) == (3, expected.time, "clip.mp4")
        assert pose.image.size == expected.image.size
    assert model(still).image.size == Image.open(still).size
    assert model(still).frame is None
    assert model(Image.open(still)).source is None


def test_names_resolve_and_unknown_ones_are_errors():
    from ppl_cli.api.predictor import Predictor, load

    assert (ppl_cli.load, ppl_cli.Predictor) == (load, Predictor)
    found = {name: ppl_cli.__getattr__(name).__name__ for name in ppl_cli.__all__}
    assert found == {name: name for name in ppl_cli.__all__}
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        ppl_cli.lode  # noqa: B018


def test_the_example_of_the_readme(model_file, pictures):
    model = ppl_cli.load(model_file, device="cpu")
    pose = model(pictures / "1.jpg")
    assert pose.keypoints.shape == (5, 2)
    assert pose.confidence.shape == (5,)
    assert list(pose.names) == model.names == ["k0", "k1", "k2", "k3", "k4"]
    assert (pose.width, pose.height, pose.problem) == (90, 50, None)
    assert [model(pictures / "1.jpg"), pose].index(pose) == 1
    for number, pose in enumerate(model.stream(paths_of(pictures))):
        assert pose.index == number
    assert model.config.name == "tiny"
    assert (model.prior.names, len(model.prior.links)) == (model.names, 5)
    assert len(model.prior.prototypes) > 1
    assert len(repr(model.prior)) < 600  # a notebook shows it


def test_arrays_pictures_and_paths_give_the_same(model, pictures):
    """As in a notebook."""
    path = pictures / "5.jpg"
    array = np.asarray(decode(path))
    poses = model([path, str(path), Image.open(path), array])
    alone = [model(image) for image in (path, Image.open(path), array)]
    for pose in poses + alone:
        assert np.abs(pose.keypoints - poses[0].keypoints).max() < 1e-4
        assert np.isfinite(pose.keypoints).all()
    assert model([]) == []
    grey = model(Image.fromarray(array).convert("L"))
    assert np.allclose(grey.keypoints, model(np.asarray(decode(path).convert("L").convert("RGB"))).keypoints, atol=1e-4)


def test_a_photograph_that_is_turned_gives_the_pose_as_displayed(model, pictures, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(pictures / "1.jpg").save(tmp_path / "turned.png", exif=exif)
    pose, opened = model([tmp_path / "turned.png", Image.open(tmp_path / "turned.png")])
    assert (pose.width, pose.height) == (opened.width, opened.height) == (50, 90)
    assert np.array_equal(pose.keypoints, opened.keypoints)


def test_the_numbers_are_those_of_ppl_infer(model, model_file, pictures, tmp_path):
    run("infer", model_file, pictures, "--out", tmp_path / "out", "--batch", 32)
    arrays = np.load(tmp_path / "out" / "keypoints.npz")
    for poses in (model(paths_of(pictures)), list(model.stream(paths_of(pictures)))):
        assert np.abs(np.stack([pose.keypoints for pose in poses]) - arrays["keypoints_px"]).max() < 1e-6
        assert np.abs(np.stack([pose.confidence for pose in poses]) - arrays["confidence"]).max() < 1e-6


def test_the_numbers_are_those_of_ppl_refine(model, model_file, occluded, tmp_path):
    images, masks = occluded
    out = tmp_path / "out"
    run("refine", model_file, images, "--masks", masks, "--iterations", 2, "--out", out)
    every, names = np.load(out / "keypoints_iterations.npz"), [f"{number}.png" for number in range(3)]
    hidden = np.zeros((64, 64), bool)
    hidden[HOLE] = True
    files = [images / name for name in names]
    ways = [hidden] * 3, [masks / name for name in names], [Image.open(masks / name) for name in names]
    for given in (*ways, [hidden.astype(np.uint8) * 255] * 3):
        poses = model.refine(files, hidden=given, iterations=2)
        assert np.abs(np.stack([pose.refined.keypoints for pose in poses]) - every["keypoints_px"]).max() < 1e-6
        assert np.array_equal([pose.refined.visible[-1] for pose in poses], every["visible"])
    one = model.refine(Image.open(files[1]), hidden=hidden, iterations=2)
    assert np.abs(one.keypoints - every["keypoints_px"][1, -1]).max() < 1e-3
    assert one.refined.moved_px.max() > 0
    assert one.explained is True

    run("refine", model_file, images, "--out", tmp_path / "paper")
    every = np.load(tmp_path / "paper" / "keypoints_iterations.npz")["keypoints_px"]
    assert np.abs(np.stack([pose.refined.keypoints for pose in model.refine(files)]) - every).max() < 1e-6
    early = model.refine(files[0], hidden=hidden, until_px=1000)
    assert early.refined.used == 1


def test_streams_take_images_as_they_are_needed_and_name_what_cannot_be_read(model, pictures):
    (pictures / "text.jpg").write_text("no image")
    taken = []

    def endless():
        while True:
            taken.append(len(taken))
            yield pictures / ("text.jpg" if len(taken) == 3 else "1.jpg")

    stream = model.stream(endless(), batch=2)
    poses = [next(stream) for _ in range(20)]
    assert [pose.index for pose in poses] == list(range(20))
    assert [pose.problem for pose in poses].count(None) == 19
    assert poses[2].problem == "not an image, or of an unknown format"
    assert np.isnan(poses[2].keypoints).all()
    assert len(taken) <= 20 + 5 * 2
    stream.close()
    time.sleep(0.05)
    assert len(taken) <= 20 + 5 * 2


def test_what_cannot_be_read_is_an_error_alone_and_a_problem_in_a_list(model, pictures):
    (pictures / "text.jpg").write_text("no image")
    with pytest.raises(ppl_cli.PPLError, match=r"text\.jpg: not an image"):
        model(pictures / "text.jpg")
    with pytest.raises(ppl_cli.PPLError, match=r"none\.jpg: no such file"):
        model("none.jpg")
    poses = model([pictures / "1.jpg", pictures / "text.jpg"])
    assert [pose.problem is None for pose in poses] == [True, False]
    cut = Image.open(pictures / "5.jpg")
    cut.fp.close()
    with pytest.raises(ppl_cli.PPLError, match="the image: "):
        model(cut)


GOOD = np.zeros((8, 8, 3), np.uint8)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (GOOD[..., 0], r"the image: expected a path, a PIL image or an array .*, got an array of shape \(8, 8\)"),
        (GOOD[..., 0], r"shape \(8, 8\); give grey or RGBA as Image\.fromarray\(array\)"),
        (GOOD.transpose(2, 0, 1), r"got an array of shape \(3, 8, 8\)"),
        (GOOD[:0], r"got an array of shape \(0, 8, 3\)"),
        (GOOD.astype(np.float32), "expected values of 0 to 255 in uint8, got float32"),
        (torch.zeros(8, 8, 3), "got Tensor"),
        (None, "got NoneType"),
        ([GOOD, 3], "image 1: expected a path"),
    ],
)
def test_what_is_no_image_is_one_line(model, image, words):
    with pytest.raises(ppl_cli.UsageError, match=words) as raised:
        model(image)
    assert len(str(raised.value).splitlines()) == 1
    with pytest.raises(ppl_cli.UsageError, match=words):
        model.refine(image)


@pytest.mark.parametrize(
    ("hidden", "kind", "words"),
    [
        (np.zeros((8, 8), np.float32), ppl_cli.UsageError, "hidden: expected .* array .height, width. of bool"),
        (np.zeros((8, 8, 3), bool), ppl_cli.UsageError, r"got shape \(8, 8, 3\)"),
        (3, ppl_cli.UsageError, "got int"),
        (np.zeros((4, 5), bool), ppl_cli.PPLError, "its mask is 5 pixels wide and 4 high, the image 8 and 8"),
        (np.ones((8, 8), bool), ppl_cli.PPLError, "everything is hidden"),
    ],
)
def test_what_is_no_mask_is_one_line(model, hidden, kind, words):
    with pytest.raises(kind, match=words):
        model.refine(GOOD, hidden=hidden)


def test_lists_of_masks_fit_lists_of_images(model):
    with pytest.raises(ppl_cli.UsageError, match="a list of 2, one for each image"):
        model.refine([GOOD, GOOD], hidden=[None])
    with pytest.raises(ppl_cli.UsageError, match="until_px"):
        model.refine(GOOD, until_px=0)


def test_where_nothing_is_known_to_be_hidden_the_method_is_that_of_no_masks(model, monkeypatch):
    asked = []
    monkeypatch.setattr(type(model), "choose_method", lambda self, masked: asked.append(masked) or "paper")
    model.refine([GOOD, GOOD], [None, None], iterations=1)
    model.refine([GOOD, GOOD], [None, np.zeros((8, 8), bool)], iterations=1)
    assert asked == [False, True]


def test_images_of_a_list_for_which_nothing_is_known_are_not_left_out_silently(model, monkeypatch):
    said = []
    monkeypatch.setattr(model, "runtime", replace(model.runtime, say=said.append))
    masked = np.zeros((8, 8), bool)
    model.refine([GOOD, GOOD, GOOD], [None, masked, None], iterations=1)
    assert ["2 images of 3 without `hidden`" in line for line in said] == [True]
    model.refine([GOOD, GOOD], [masked, masked], iterations=1)
    assert len(said) == 1


def test_wrong_models_and_devices_are_usage_errors(tmp_path):
    with pytest.raises(ppl_cli.UsageError, match="no model at"):
        ppl_cli.load(tmp_path / "none", device="cpu")
    with pytest.raises(ppl_cli.UsageError, match="write auto, cpu"):
        ppl_cli.load(tmp_path / "none", device="gpu")


def test_a_stream_keeps_what_it_was_given(model, pictures):
    """Its images are decoded later, when their owner has gone on to the next."""
    expected = [model(pictures / f"{i}.jpg").keypoints for i in range(3)]
    frame = np.empty((64, 64, 3), np.uint8)

    def reused():
        for number in range(3):
            frame[:] = figure(number, 64)[0]
            yield frame

    def closed():
        for number in range(3):
            with Image.open(pictures / f"{number}.jpg") as image:
                yield image

    def painted_over():
        canvas = Image.new("RGB", (64, 64))
        for number in range(3):
            canvas.paste(Image.fromarray(figure(number, 64)[0]))
            yield canvas

    arrays = [pose.keypoints for pose in model.stream(reused(), batch=1)]
    assert not np.allclose(arrays[0], arrays[1])
    for pose, keypoints in zip(model.stream(painted_over(), batch=2), arrays, strict=True):
        np.testing.assert_allclose(pose.keypoints, keypoints, atol=1e-4)
    for pose, keypoints in zip(model.stream(closed()), expected, strict=True):
        np.testing.assert_allclose(pose.keypoints, keypoints, atol=1e-4)


def test_images_and_masks_that_are_not_read_yet_may_be_shared(model, pictures, tmp_path, monkeypatch):
    """Several threads that read one open file would disturb each other."""
    monkeypatch.setattr(estimate, "DECODERS", 8)
    sys.setswitchinterval(1e-5)
    try:
        mask = Image.new("L", (640, 640))
        mask.paste(255, (0, 0, 90, 90))
        mask.save(tmp_path / "mask.png")
        Image.fromarray(figure(0, 640)[0]).save(tmp_path / "image.png")
        for _ in range(3):
            poses = model.refine([Image.open(tmp_path / "image.png")] * 6, [Image.open(tmp_path / "mask.png")] * 6)
            assert [pose.problem for pose in poses] == [None] * 6
    finally:
        sys.setswitchinterval(0.005)


def test_one_format_may_be_a_word_and_no_images_are_said(model, pictures, tmp_path):
    model.infer_files(pictures, ppl_cli.Output(tmp_path / "out", formats="npz"))
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {"keypoints.npz", "skipped.csv"}
    assert not (tmp_path / "out/keypoints.csv").exists()
    with pytest.raises(ppl_cli.UsageError, match="expected images, videos or folders, got none"):
        model.infer_files([], tmp_path / "other")
    with pytest.raises(ppl_cli.UsageError, match=r"expected Occluder\(masks=...\) or Occluder\(colour=...\), got 'masks'"):
        model.refine_files(pictures, tmp_path / "other", "masks")


def test_streams_beside_each_other_give_all_cores_back(model, pictures):
    paths, before = paths_of(pictures), torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        for one, other in zip(model.stream(paths[:3], batch=1), model.stream(paths[3:6], batch=1), strict=True):
            assert torch.get_num_threads() == 2
            assert one.problem is other.problem is None
        assert torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda model: model.refine(Image.new("RGB", (9, 9)), method="Visible"),
            "expected visible, found or paper, got 'Visible'",
        ),
        (lambda model: model.refine(Image.new("RGB", (9, 9)), iterations=-1), "whole number of 0 or more, got -1"),
        (lambda model: model.refine(Image.new("RGB", (9, 9)), iterations=2.5), "whole number of 0 or more, got 2.5"),
        (lambda model: list(model.stream([Image.new("RGB", (9, 9))], batch=0)), "expected 1 image or more, got 0"),
        (lambda model: model.stream(Image.new("RGB", (9, 9))), "expected a video, a folder, or images"),
        (lambda model: model.stream(["a.jpg"] * 99, every=2), r"\(without start, stop and every\), got list; for"),
        (lambda model: model.stream(__file__), "expected a video, a folder, or images"),
        (lambda model: model.stream("photos"), "no such image, video or folder: photos"),
        (lambda model: model.stream(["a.jpg"], start=2), r"or images \(without start, stop and every\)"),
        (lambda model: model.refine(Image.new("RGB", (9, 9)), hidden="m.png"), "the image: its mask m.png: no such file"),
        (lambda model: model("tests"), "tests: a folder: model.stream takes all images in it"),
        (lambda model: model(Image.new("RGB", (0, 5))), "it has no pixels"),
        (lambda model: model("~/there is no such image.jpg"), "no such file"),
    ],
)
def test_what_cannot_be_meant_is_said(model, call, words):
    with pytest.raises(ppl_cli.PPLError, match=words):
        call(model)


def test_no_images_are_no_poses(model):
    assert model([]) == model.refine([]) == []


def test_what_lies_beside_a_model_is_found_from_another_folder(trained_run, tmp_path, monkeypatch):
    monkeypatch.chdir(trained_run.parent)
    model = ppl_cli.load(trained_run.name, device="cpu")
    monkeypatch.chdir(tmp_path)
    assert model.checkpoint.run == trained_run.name
    assert (ppl_cli.export_prior(model, "prior").folder / "evolution.gif").is_file()


def test_a_device_of_torch_and_paths_as_text(model_file, pictures, tmp_path):
    model = ppl_cli.load(model_file, device=torch.device("cpu"))
    model.infer_files([str(pictures)], ppl_cli.Output(str(tmp_path / "poses"), ("csv",)))
    assert (tmp_path / "poses" / "keypoints.csv").is_file()


def test_every_public_name_is_there():
    assert all(getattr(ppl_cli, name) is not None for name in ppl_cli.__all__)


def test_deep_pixels_are_those_of_the_command_and_pages_are_named(model, model_file, tmp_path):
    folder = tmp_path / "deep"
    folder.mkdir()
    for number in range(3):
        grey = figure(number, 64)[0].mean(-1)
        Image.fromarray((grey * 16).astype(np.uint16)).save(folder / f"{number}.tif")  # 12 bits of 16
    frames = [Image.fromarray(figure(number, 64)[0]) for number in range(2)]
    frames[0].save(tmp_path / "clip.gif", save_all=True, append_images=frames[1:])
    run("infer", model_file, folder, "--out", tmp_path / "poses")
    expected = np.load(tmp_path / "poses" / "keypoints.npz")["keypoints_px"]
    poses = model([folder / f"{number}.tif" for number in range(3)])
    np.testing.assert_allclose([pose.keypoints for pose in poses], expected, atol=1e-4)
    for pose in (*poses, *model.stream(folder)):  # as bright as it was seen
        assert 0.5 < np.asarray(pose.image).mean() / figure(pose.index, 64)[0].mean() < 2
    opened = [Image.open(folder / f"{number}.tif") for number in range(3)]
    np.testing.assert_allclose([pose.keypoints for pose in model(opened)], expected, atol=1e-4)
    np.testing.assert_allclose(model(opened[1]).keypoints, expected[1], atol=1e-4)
    for pose in model.stream(folder / f"{number}.tif" for number in range(3)):  # no list: each as if it were alone
        np.testing.assert_allclose(pose.keypoints, expected[pose.index], atol=1e-4)
        assert pose.range == (0, 4095)
    with pytest.raises(
        ppl_cli.PPLError, match=r"2 pages: take model\.stream for all of them, or give them one by one, clip\.gif#0"
    ):
        model(tmp_path / "clip.gif")
    assert model(tmp_path / "clip.gif#1").problem is None
    assert [pose.problem for pose in model.stream(tmp_path / "clip.gif")] == [None, None]
