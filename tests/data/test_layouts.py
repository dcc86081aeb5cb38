"""Every data set of the paper, from a small true copy of its layout; and what is said when a part of it is missing."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from ppl_cli.config.sections import DataConfig
from ppl_cli.data import figures
from ppl_cli.data.datasets import list_part
from ppl_cli.data.figures import figure
from ppl_cli.data.layouts import detect_kind
from ppl_cli.errors import UsageError
from tests.data import layouts
from tests.training_images import open_dataset


def parts(kind, path, *names, **settings):
    config = DataConfig(kind=kind, path=str(path), **settings)
    return [list_part(config, name, 0, 32) for name in names]


def test_human36m(tmp_path):
    landmarks = layouts.human36m(tmp_path)
    train, fit, test = parts("h36m", tmp_path, "train", "fit", "test")
    assert len(train) == len(fit) == 2 * 2 * 3  # two subjects, two of the six actions, three frames
    assert len(test) == 2 * 3
    assert train.names[:3] == [f"S1/WithBackground/Waiting-0/frame_{k}.jpg" for k in (1, 2, 10)]
    assert not any("Sitting" in name for name in train.names)
    assert train.groups == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert train.keypoints is None
    row, column = landmarks["S11/Waiting-0/frame_1"][7]
    assert test.keypoints_px(0, (100, 50))[7] == pytest.approx([column * 100 - 0.5, row * 50 - 0.5])
    assert any("lacks S6, S7, S8, S9" in note for note in fit.notes)


def test_human36m_without_background_is_black_where_the_mask_is(tmp_path):
    layouts.human36m(tmp_path)
    plain, masked = (parts(kind, tmp_path, "train")[0].open_image(0) for kind in ("h36m", "h36m_wobg"))
    plain, masked = np.asarray(plain), np.asarray(masked)
    assert np.array_equal(masked[8:24, 8:24], plain[8:24, 8:24])
    assert masked.sum() == masked[8:24, 8:24].sum()


@pytest.mark.parametrize(
    ("remove", "part", "expected"),
    [
        ("S11", "test", r"S11/WithBackground/Walking/FRAME\.jpg"),
        ("S11/Landmarks", "test", r"S11/Landmarks/Waiting-0/frame_1\.mat"),
    ],
)
def test_human36m_says_which_file_is_expected_where(tmp_path, remove, part, expected):
    layouts.human36m(tmp_path)
    shutil.rmtree(tmp_path / remove)
    with pytest.raises(UsageError, match=expected):
        parts("h36m", tmp_path, part)


def test_human36m_incomplete(tmp_path):
    layouts.human36m(tmp_path, masks=False)
    with pytest.raises(UsageError, match=r"S1/BackgroudMask/Waiting-0/frame_1\.png"):
        parts("h36m_wobg", tmp_path, "train")
    (tmp_path / "S11/Landmarks/Walking/frame_1.mat").unlink()
    (tmp_path / "S11/Landmarks/Waiting-0/frame_2.mat").write_bytes(b"no")
    with pytest.raises(UsageError, match=r"frame_2\.mat is not a \.mat file"):
        parts("h36m", tmp_path, "test")
    (tmp_path / "S11/Landmarks/Waiting-0/frame_2.mat").unlink()
    (test,) = parts("h36m", tmp_path, "test")
    assert len(test) == 4
    assert any("left out: 2 frames without Landmarks" in note for note in test.notes)


def test_cub(tmp_path):
    arrays = layouts.cub(tmp_path / "birds.h5")
    for path in (tmp_path, tmp_path / "birds.h5"):
        train, fit, test = parts("h5", path, "train", "fit", "test")
        assert (len(train), len(fit), len(test)) == (6, 6, 3)
        assert np.array_equal(np.asarray(test.open_image(2)), figure(2, 32)[0])
        seen = arrays["test_vis"] > 0
        assert np.allclose(test.keypoints[seen], arrays["test_kp"][seen])
        assert np.isnan(test.keypoints[~seen]).all()
    assert open_dataset(DataConfig(kind="h5", path=str(tmp_path)), 32, 0).cache.shape == (6, 3, 32, 32)


def test_cub_three_has_three_test_splits(tmp_path):
    arrays = layouts.cub(tmp_path / "birds.h5", ("test001", "test002", "test003"))
    for split in ("001", "002", "003", "test003"):
        (test,) = parts("h5", tmp_path, "test", test=split)
        kept = np.isfinite(test.keypoints)
        assert np.allclose(test.keypoints[kept], arrays[f"test{split[-3:]}_kp"][kept])
    with pytest.raises(UsageError, match=r"lacks test_img; it holds .*choose a split with --test 001, 002, 003"):
        parts("h5", tmp_path, "test")


def test_cub_of_other_scales_is_refused(tmp_path):
    import h5py

    arrays = layouts.cub(tmp_path / "birds.h5")
    for name, factor, said in (
        ("train_kp", 32, "looks like pixels; expected shares"),
        ("train_img", 1 / 255, "expected 0 to 255"),
    ):
        with h5py.File(tmp_path / "birds.h5", "a") as file:
            file[name][...] = arrays[name] * factor
        with pytest.raises(UsageError, match=f"{name}.*{said}"):
            parts("h5", tmp_path, "fit")
        with h5py.File(tmp_path / "birds.h5", "a") as file:
            file[name][...] = arrays[name]
    assert len(parts("h5", tmp_path, "fit")[0]) == 6


def test_cub_wrong(tmp_path):
    import h5py

    with pytest.raises(UsageError, match=r"expected one file \*\.h5 in this folder, found none"):
        parts("h5", tmp_path, "train")
    (tmp_path / "a.h5").write_bytes(b"no")
    with pytest.raises(UsageError, match=r"a\.h5 is not a readable HDF5 file"):
        parts("h5", tmp_path, "train")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["train_img"] = np.zeros((2, 32, 32, 3))
    with pytest.raises(UsageError, match="train_img is 2x32x32x3, expected Mx3xHxW"):
        parts("h5", tmp_path, "train")


def test_taichi(tmp_path):
    values = layouts.taichi(tmp_path)
    train, fit, test = parts("taichi", tmp_path, "train", "fit", "test")
    assert train.names == [f"train/{video}/{frame:07d}.png" for video in "ab" for frame in range(3)]
    assert train.groups == [0, 0, 0, 1, 1, 1]
    assert (len(fit), len(test)) == (4, 3)
    assert np.isnan(test.keypoints[0, 2]).all()
    assert np.allclose(test.keypoints_px(1, (256, 256)), values["test"][1])
    assert np.array_equal(np.asarray(test.open_image(1)), figure(1, 32)[0])


def test_taichi_frames_by_number(tmp_path):
    import pandas as pd

    layouts.taichi(tmp_path)
    points = np.full((2, 6, 2), 7.0)
    table = pd.DataFrame({"file_name": ["b", "b"], "frame_number": [2, 0], "value": list(points)})
    table.to_pickle(tmp_path / "landmark" / "taichi_train_gt.pkl")
    (fit,) = parts("taichi", tmp_path, "fit")
    assert fit.names == ["train/b/0000002.png", "train/b/0000000.png"]


def test_taichi_frames_one_folder_deeper(tmp_path):
    layouts.taichi(tmp_path)
    (tmp_path / "deeper").mkdir()
    (tmp_path / "eval_images").rename(tmp_path / "deeper/taichi-256")
    (tmp_path / "deeper").rename(tmp_path / "eval_images")
    assert parts("taichi", tmp_path, "test")[0].names[1] == "eval_images/taichi-256/test/1.png"


def test_taichi_wrong(tmp_path):
    import pandas as pd

    layouts.taichi(tmp_path)
    (tmp_path / "eval_images/test/1.png").unlink()
    (test,) = parts("taichi", tmp_path, "test")
    assert len(test) == 2
    assert any("left out: 1 annotated frame without an image (the first: 1.png)" in note for note in test.notes)
    file = tmp_path / "landmark/taichi_test_gt.pkl"
    pd.DataFrame({"file_name": ["../../0.png"], "value": [np.zeros((6, 2))]}).to_pickle(file)
    with pytest.raises(UsageError, match="none of its images is there"):
        parts("taichi", tmp_path, "test")
    pd.DataFrame({"file_name": ["0.png"]}).to_pickle(file)
    with pytest.raises(UsageError, match="no column value; it has file_name"):
        parts("taichi", tmp_path, "test")
    pd.DataFrame({"file_name": ["0.png"], "value": ["x"]}).to_pickle(file)
    with pytest.raises(UsageError, match="is not a list of"):
        parts("taichi", tmp_path, "test")
    file.unlink()
    with pytest.raises(UsageError, match=r"expected .*landmark/taichi_test_gt\.pkl"):
        parts("taichi", tmp_path, "test")


@pytest.mark.parametrize("columns", [1, 3])
@pytest.mark.parametrize("individuals", [(), ("mouse",)])
def test_deeplabcut(tmp_path, columns, individuals):
    points = layouts.deeplabcut(tmp_path, index_columns=columns, individuals=individuals)
    train, fit, test = parts("deeplabcut", tmp_path, "train", "fit", "test")
    assert len(train) == 14
    assert train.groups == [0] * 7 + [1] * 7
    assert fit.keypoint_names == ["snout", "ear", "tail"]
    assert np.allclose(fit.keypoints, points[:, :3].reshape(-1, 3, 2), equal_nan=True)
    assert np.allclose(test.keypoints, points[:, 3:].reshape(-1, 3, 2), equal_nan=True)
    assert test.names[0] == "labeled-data/mouse1/img003.png"
    assert any("2 images beside the annotated ones without an annotation" in note for note in test.notes)
    fit, test = parts("deeplabcut", tmp_path, "fit", "test", test="mouse1")
    assert np.allclose(test.keypoints, points[0], equal_nan=True)
    assert np.allclose(fit.keypoints, points[1], equal_nan=True)


def test_deeplabcut_wrong(tmp_path):
    with pytest.raises(UsageError, match=r"no DeepLabCut tables in .*: expected"):
        parts("deeplabcut", tmp_path, "fit")
    layouts.deeplabcut(tmp_path, individuals=("a", "b"))
    with pytest.raises(UsageError, match=r"annotates several animals \(a, b\)"):
        parts("deeplabcut", tmp_path, "fit")
    layouts.deeplabcut(tmp_path)
    with pytest.raises(UsageError, match="no annotated video rat: there are mouse1, mouse2"):
        parts("deeplabcut", tmp_path, "test", test="rat")
    with pytest.raises(UsageError, match="both fitted and measured on"):
        parts("deeplabcut", tmp_path, "test", fit="mouse1", test="mouse1")
    table = tmp_path / "labeled-data/mouse1/CollectedData_me.csv"
    text = table.read_text()
    for mouse in ("mouse1", "mouse2"):
        other = tmp_path / f"labeled-data/{mouse}/CollectedData_me.csv"
        other.write_text("".join(other.read_text().splitlines(keepends=True)[:4]))
    with pytest.raises(UsageError, match="no video has two annotated frames"):
        parts("deeplabcut", tmp_path, "test")
    for bad, said in (
        (text.replace("x,y", "x,z", 1), "must read x,y"),
        (text.replace("bodyparts", "parts"), "is not a DeepLabCut table"),
        (text.replace("\nlabeled-data/mouse1/img003.png,", "\nlabeled-data/mouse1/img003.png,oops,", 1), "line 7"),
        ("\n".join(text.splitlines()[:3]), "has no rows"),
        (text.replace("snout", "nose"), "has other bodyparts"),
    ):
        table.write_text(bad)
        with pytest.raises(UsageError, match=said):
            parts("deeplabcut", tmp_path, "fit")


def test_coco_parts_and_what_lies_beside(tmp_path):
    layouts.coco(tmp_path)
    layouts.picture(tmp_path / "test" / "stray.png", 0)
    fit, test = parts("coco", tmp_path, "fit", "test")
    assert (len(fit), len(test)) == (40, 12)
    assert np.isnan(test.keypoints[0, 0]).all()
    assert np.allclose(test.keypoints[1, 1], (figure(41, 32)[1][1] + 1) / 2 * 31)
    (named,) = parts("coco", tmp_path, "test", test="train.json")
    assert len(named) == 40
    with pytest.raises(UsageError, match=r"no COCO file .*nothing\.json: name it with --test FILE"):
        parts("coco", tmp_path, "test", test="nothing.json")


def test_coco_takes_the_largest_visible_object_and_its_category(tmp_path):
    layouts.coco(tmp_path)
    content = json.loads((tmp_path / "test.json").read_text())
    real = content["annotations"][2]
    content["annotations"] += [
        {**real, "id": 900, "area": None, "keypoints": [1.0, 1.0, 2] * 11},
        {**real, "id": 901, "area": 1e6, "keypoints": [1.0, 1.0, 0] * 11},
    ]
    real["area"] = 5
    content["categories"].insert(0, {"id": 7, "keypoints": ["other"]})
    (tmp_path / "test.json").write_text(json.dumps(content))
    (test,) = parts("coco", tmp_path, "test")
    assert np.allclose(test.keypoints[2, 5], real["keypoints"][15:17])
    assert test.keypoint_names[3] == "joint3"
    assert any("1 image with several objects; the largest of each is taken" in note for note in test.notes)
    content["annotations"][5]["category_id"] = 7
    (tmp_path / "test.json").write_text(json.dumps(content))
    with pytest.raises(UsageError, match=r"annotates several categories: id 1 \(11 keypoints\), id 7"):
        parts("coco", tmp_path, "test")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda c: c["annotations"][3]["keypoints"].pop(),
            "keypoints of test/003.png are 32 numbers; expected x, y and visibility",
        ),
        (lambda c: c["annotations"][3].update(keypoints=[1, 2, 2] * 4), "has 4 keypoints, images before it 11"),
        (lambda c: c["annotations"][3]["keypoints"].__setitem__(3, float("nan")), "not a number"),
        (lambda c: c["categories"][0]["keypoints"].pop(), "names 10 keypoints, annotations have 11"),
        (lambda c: c.update(annotations=[]), "holds no keypoint annotations"),
    ],
)
def test_coco_wrong(tmp_path, change, said):
    layouts.coco(tmp_path)
    content = json.loads((tmp_path / "test.json").read_text())
    change(content)
    (tmp_path / "test.json").write_text(json.dumps(content))
    with pytest.raises(UsageError, match=said):
        parts("coco", tmp_path, "test")


def test_every_shipped_data_set_trains_from_its_layout(tmp_path, tiny):
    """The configurations name kinds that exist, and their images come out as squares."""
    from ppl_cli.config.loading import load_config

    layouts.human36m(tmp_path / "h36m")
    layouts.taichi(tmp_path / "taichi")
    (tmp_path / "cub").mkdir()
    layouts.cub(tmp_path / "cub/birds.h5", ("test001", "test002", "test003"))
    for name in ("hands", "flowers", "horse"):
        layouts.picture(tmp_path / name / "a.jpg", 0)
    for frame in range(2):
        layouts.picture(tmp_path / "dogs/rex" / f"{frame}.jpg", frame)
    folders = {"h36m_wobg": "h36m", "cub_three": "cub"}
    for name in ("h36m", "h36m_wobg", "taichi", "cub", "cub_three", "hands", "flowers", "horse", "dogs"):
        config = load_config(name, {"data.path": tmp_path / folders.get(name, name)})
        images = open_dataset(config.data, 32, 0)
        assert images.cache.shape[1:] == (3, 32, 32), name
        assert config.reference.kind in ("mask", "auto") or images.groups is not None, name


def test_figures_know_their_keypoints():
    fit, test = (list_part(DataConfig(kind="figures", figures=20), part, 3, 32) for part in ("fit", "test"))
    assert (len(fit), len(test)) == (20, figures.TEST)
    pixels, keypoints = figure(5, 32, 3)
    assert np.array_equal(np.asarray(fit.open_image(5)), pixels)
    assert np.allclose(fit.keypoints_px(5, (32, 32)), (keypoints + 1) / 2 * 31)
    assert not np.allclose(fit.keypoints[:20], test.keypoints[:20])
    assert isinstance(test.open_image(0), Image.Image)


@pytest.mark.parametrize("program", ["deeplabcut", "camera"])
def test_files_of_other_programs_are_no_annotations(program, tmp_path):
    if program == "deeplabcut":
        h5py = pytest.importorskip("h5py")
        with h5py.File(tmp_path / "clipDLC_resnet50.h5", "w") as file:
            file["df_with_missing/table"] = [1.0]
    else:
        (tmp_path / "camera.json").write_text(json.dumps({"info": {"exposure": 3}}))
    assert detect_kind(tmp_path, None, None) is None
    layouts.cub(tmp_path / "birds.h5")
    assert detect_kind(tmp_path, None, None) == "h5"
