"""Folders as annotation tools export them, by the tools' own writers where they install."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from ppl_cli.config.sections import DataConfig
from ppl_cli.data.datasets import list_part
from ppl_cli.data.figures import figure
from ppl_cli.data.layouts import detect_kind
from ppl_cli.errors import UnreadableImageError, UsageError
from tests.clips import read_number, write_clip
from tests.conftest import ppl
from tests.data.layouts import picture
from tests.training_images import open_dataset

NODES = ["nose", "ear", "tail"]
SIZE = 48


def draw_images(folder: Path, count: int, first: int = 0) -> tuple[list[Path], np.ndarray]:
    """Images and (count, 3, 2) keypoints in pixels, one of them missing."""
    paths = [folder / f"img{index:03d}.png" for index in range(first, first + count)]
    for index, path in enumerate(paths, first):
        picture(path, index, SIZE)
    points = np.random.default_rng(first).uniform(2, SIZE - 2, (count, 3, 2))
    points[0, 1] = np.nan
    return paths, points


def read(root: Path, *names: str, kind: str | None = None, **settings):
    kind = kind or detect_kind(root, settings.get("fit"), settings.get("test"))
    return [list_part(DataConfig(kind=kind, path=str(root), **settings), name, 0, 32) for name in names]


def coco_file(file: Path, names: list[str], points: np.ndarray) -> None:
    images = [{"id": i, "file_name": name, "width": SIZE, "height": SIZE} for i, name in enumerate(names)]
    annotations = []
    for number, pose in enumerate(points):
        triples = [[0, 0, 0] if np.isnan(x) else [float(x), float(y), 2] for x, y in pose]
        annotations.append(
            {"id": number, "image_id": number, "category_id": 1, "keypoints": [v for three in triples for v in three]}
        )
    file.parent.mkdir(parents=True, exist_ok=True)
    categories = [{"id": 1, "name": "mouse", "keypoints": NODES}]
    file.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))


def sleap_labels(paths: list[Path], points: np.ndarray):
    sio = pytest.importorskip("sleap_io")
    skeleton = sio.Skeleton(list(NODES), name="mouse")
    video = sio.Video.from_filename([str(path) for path in paths])
    frames = [
        sio.LabeledFrame(video=video, frame_idx=i, instances=[sio.Instance.from_numpy(pose, skeleton=skeleton)])
        for i, pose in enumerate(points)
    ]
    return sio, sio.Labels(frames, skeletons=[skeleton], videos=[video])


def same(listing, points) -> bool:
    return np.allclose(listing.keypoints, points, atol=1e-3, equal_nan=True)


def test_cvat_with_images_below_their_subset(tmp_path):
    """The same file names in both subsets."""
    truth = {}
    for subset, first in (("Train", 0), ("Validation", 5)):
        _, truth[subset] = draw_images(tmp_path / "images" / subset, 4, first)
        for path in (tmp_path / "images" / subset).iterdir():
            path.rename(path.with_name(f"frame{int(path.stem[3:]) - first}.png"))
        names = [f"frame{i}.png" for i in range(4)]
        coco_file(tmp_path / f"annotations/person_keypoints_{subset}.json", names, truth[subset])
        coco_file(tmp_path / f"annotations/instances_{subset}.json", names, truth[subset] * 0)
    train, fit, test = read(tmp_path, "train", "fit", "test")
    assert train.names == fit.names == [f"images/Train/frame{i}.png" for i in range(4)]
    assert test.names == [f"images/Validation/frame{i}.png" for i in range(4)]
    assert same(fit, truth["Train"])
    assert same(test, truth["Validation"])


def test_roboflow_trains_on_its_training_part(tmp_path):
    for part, first in (("train", 0), ("valid", 3), ("test", 6)):
        paths, points = draw_images(tmp_path / part, 3, first)
        coco_file(tmp_path / part / "_annotations.coco.json", [path.name for path in paths], points)
    train, test = read(tmp_path, "train", "test")
    assert [name.split("/")[0] for name in (*train.names, *test.names)] == ["train"] * 3 + ["test"] * 3
    assert len(open_dataset(DataConfig(kind="folder", path=str(tmp_path)), 32, 0)) == 3
    shutil.rmtree(tmp_path / "test")
    assert read(tmp_path, "test")[0].names[0] == "valid/img003.png"


def test_label_studio_has_one_file_for_all_parts(tmp_path):
    paths, points = draw_images(tmp_path / "images", 10)
    coco_file(tmp_path / "result.json", [f"images\\{path.name}" for path in paths], points)
    train, fit, test = read(tmp_path, "train", "fit", "test")
    assert train.names == fit.names
    assert (len(fit), len(test), len({*fit.names, *test.names})) == (7, 3, 10)
    assert any("3 of its 10 images (30%, drawn with seed 0)" in note for note in test.notes)
    order = [int(name[-7:-4]) for name in test.names]
    assert same(test, points[order])
    assert np.array_equal(np.asarray(test.open_image(1)), figure(order[1], SIZE)[0])
    fit, test = read(tmp_path, "fit", "test", test="0.5")
    assert (len(fit), len(test)) == (5, 5)
    assert len(read(tmp_path, "train", annotations="result.json")[0]) == 10
    with pytest.raises(UsageError, match="must lie between 0 and 1"):
        read(tmp_path, "test", kind="coco", test="1.5")


def test_several_files_and_no_way_to_tell(tmp_path):
    paths, points = draw_images(tmp_path, 2)
    for name in ("one", "two"):
        coco_file(tmp_path / f"{name}.json", [path.name for path in paths], points)
    with pytest.raises(UsageError, match=r"several annotation files \(one\.json, two\.json\): choose one with --fit FILE"):
        read(tmp_path, "fit")


def test_ultralytics_as_sleap_io_writes_it(tmp_path):
    paths, points = draw_images(tmp_path / "source", 8)
    sio, labels = sleap_labels(paths, points)
    sio.save_ultralytics(labels, str(tmp_path / "yolo"), split_ratios={"train": 0.5, "val": 0.5}, verbose=False)
    train, fit, test = read(tmp_path / "yolo", "train", "fit", "test")
    assert fit.keypoint_names == NODES
    assert (len(train), len(fit), len(test)) == (4, 4, 4)
    assert {name.split("/")[0] for name in train.names} == {"train"}
    assert {name.split("/")[0] for name in test.names} == {"val"}
    by_pixels = {Image.open(path).convert("RGB").tobytes(): pose for path, pose in zip(paths, points, strict=True)}
    for listing in (fit, test):
        assert same(listing, np.stack([by_pixels[listing.open_image(i).tobytes()] for i in range(4)]))


def write_ultralytics(root: Path, labels: dict[str, str], **more) -> None:
    """As its own documentation describes it: images/PART, labels/PART."""
    for name in labels:
        picture(root / "images" / name, 0, SIZE)
        (root / "labels" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "labels" / name).with_suffix(".txt").write_text(labels[name])
    described = {
        "path": "../datasets/x",
        "train": "images/train",
        "val": "images/val",
        "kpt_shape": [2, 3],
        "names": {0: "mouse"},
    }
    (root / "data.yaml").write_text(yaml.safe_dump({**described, **more}))


def test_ultralytics_takes_the_largest_and_the_category_and_leaves_out_the_missing(tmp_path):
    small, large = "0 .5 .5 .1 .1 .1 .1 2 .1 .1 2", "0 .5 .5 .9 .9 .25 .5 1 0 0 0"
    write_ultralytics(tmp_path, {"train/a.png": f"{small}\n{large}\n", "train/b.png": "", "val/a.png": large})
    (fit,) = read(tmp_path, "fit")
    assert fit.names == ["images/train/a.png"]
    assert np.allclose(fit.keypoints, [[[12, 24], [np.nan, np.nan]]], equal_nan=True)
    assert any("1 image of" in note and "without an annotated object" in note for note in fit.notes)
    assert any("1 image with several objects" in note for note in fit.notes)
    assert len(open_dataset(DataConfig(kind="folder", path=str(tmp_path)), 32, 0)) == 2  # images/train only
    write_ultralytics(tmp_path, {"train/a.png": f"{small}\n1{large[1:]}"}, names=["mouse", "rat"])
    with pytest.raises(UsageError, match=r"several categories: mouse \(2 keypoints\), rat .*--category NAME"):
        read(tmp_path, "fit")
    assert np.allclose(read(tmp_path, "fit", category="mouse")[0].keypoints, 4.8)
    write_ultralytics(tmp_path, {"train/a.png": f"\ufeff{large}"}, train="train.txt", names=[f"class {k}" for k in range(500)])
    (tmp_path / "train.txt").write_text("images/train/a.png\nimages/train/gone.png\n")
    (fit,) = read(tmp_path, "fit")
    assert (fit.names, len(fit.notes)) == (["images/train/a.png"], 1)
    assert "1 image of" in fit.notes[0]
    assert "that are not there, left out (the first: " in fit.notes[0]
    (tmp_path / "images/train/a.png").unlink()
    with pytest.raises(UsageError, match=r"none of its 2 images is there; the first was looked for as .*a\.png"):
        read(tmp_path, "fit")


@pytest.mark.parametrize(
    ("labels", "more", "said"),
    [
        ("0 .5 .5 .1", {}, r"a\.txt, line 1: expected class, box and 2 x 3 finite numbers .*\(11 in all\), found 4"),
        ("x .5", {}, r"line 1: expected numbers"),
        ("0 .5 .5 .1 .1 300 200 2 310 220 2", {}, r"line 1: keypoints look like pixels; expected shares"),
        ("", {"kpt_shape": [2]}, r"kpt_shape must be \[KEYPOINTS, 2\]"),
        ("", {"train": "nowhere"}, "train is nowhere, which is not there"),
        ("", {"train": None}, "has no part train: it has val"),
    ],
)
def test_ultralytics_wrong(tmp_path, labels, more, said):
    write_ultralytics(tmp_path, {"train/a.png": labels, "val/a.png": ""}, **more)
    with pytest.raises(UsageError, match=said):
        read(tmp_path, "fit")


def test_sleap_projects(tmp_path):
    paths, points = draw_images(tmp_path / "images", 6)
    sio, labels = sleap_labels(paths, points)
    sio.save_slp(labels, str(tmp_path / "mice.slp"))
    fit, test = read(tmp_path, "fit", "test")
    order = [int(name[-7:-4]) for name in (*fit.names, *test.names)]
    assert sorted(order) == list(range(6))
    assert same(fit, points[order[: len(fit)]])
    assert fit.keypoint_names == NODES
    # On another machine: the frames lie below the data set, but not where the project says.
    (tmp_path / "moved").mkdir()
    (tmp_path / "images").rename(tmp_path / "moved/frames")
    (tmp_path / "mice.slp").rename(tmp_path / "moved/train.slp")
    (moved,) = read(tmp_path / "moved", "fit")
    assert moved.names == [f"frames/img{i:03d}.png" for i in range(6)]
    assert np.array_equal(np.asarray(moved.open_image(3)), figure(3, SIZE)[0])
    (tmp_path / "moved/train.slp").write_bytes(b"no")
    with pytest.raises(UsageError, match=r"train\.slp is not a readable SLEAP project \(\w+\)$"):
        read(tmp_path / "moved", "fit")


def test_sleap_frames_beyond_the_list_and_predictions(tmp_path):
    paths, points = draw_images(tmp_path / "images", 3)
    sio, labels = sleap_labels(paths, points)
    labels.labeled_frames[2].frame_idx = 33
    sio.save_slp(labels, str(tmp_path / "train.slp"))
    (fit,) = read(tmp_path, "fit")
    assert fit.names == ["images/img000.png", "images/img001.png"]
    assert any("1 labelled frame beyond the end of its list of images, left out" in note for note in fit.notes)
    for frame, pose in zip(labels.labeled_frames, points, strict=True):
        frame.instances = [sio.PredictedInstance.from_numpy(pose, skeleton=labels.skeletons[0], score=1)]
    sio.save_slp(labels, str(tmp_path / "train.slp"))
    with pytest.raises(UsageError, match="holds predictions only: ppl measures on what a person has labelled"):
        read(tmp_path, "fit")


def test_sleap_frames_that_were_only_predicted_are_counted(tmp_path):
    sio, labels = sleap_labels(*draw_images(tmp_path, 4))
    for labelled in labels.labeled_frames[2:]:
        predicted = sio.PredictedInstance.from_numpy(labelled.instances[0].numpy(), skeleton=labels.skeletons[0])
        labelled.instances = [predicted]
    labels.save(str(tmp_path / "train.slp"), verbose=False, embed=False)
    (train,) = read(tmp_path, "train", kind="sleap")
    assert len(train) == 2
    assert any("2 frames that no person has labelled, left out" in note for note in train.notes)


def test_a_sleap_project_and_others_beside_it(tmp_path):
    for name, count in (("mice", 2), ("more", 3), ("last", 4)):
        sio, labels = sleap_labels(*draw_images(tmp_path / name, count))
        sio.save_slp(labels, str(tmp_path / f"{name}.slp"))

    def count(**settings) -> list[int]:
        config = DataConfig(kind="sleap", path=str(tmp_path / "mice.slp"), **settings)
        return [len(list_part(config, part, 0, SIZE)) for part in ("fit", "test")]

    assert count(test="more.slp") == [2, 3]
    assert count(fit="more.slp", test="last.slp") == [3, 4]
    assert count(fit="more.slp") == [3, 2]
    assert count(fit="last.slp", test="0.5") == [2, 2]
    assert count(test="0.5") == [1, 1]


def test_sleap_packages_hold_their_frames(tmp_path):
    paths, points = draw_images(tmp_path / "images", 4)
    sio, labels = sleap_labels(paths, points)
    (tmp_path / "package").mkdir()
    sio.save_slp(labels, str(tmp_path / "package/train.pkg.slp"), embed=True, verbose=False)
    shutil.rmtree(tmp_path / "images")
    (fit,) = read(tmp_path / "package", "fit")
    assert len(fit) == 4
    assert same(fit, points)
    assert np.array_equal(np.asarray(fit.open_image(2)), figure(2, SIZE)[0])


@pytest.mark.parametrize("name", ["mice.mp4", "mice.avi"])
def test_sleap_frames_of_a_video(tmp_path, name, lively_file, capsys):
    """Also where project and video have moved together, and in training as in evaluation."""
    sio = pytest.importorskip("sleap_io")
    video = sio.Video.from_filename(str(write_clip(tmp_path / name)))
    skeleton = sio.Skeleton(list(NODES), name="mouse")
    points = np.array([[1.0, 2], [30, 4], [5, 40]])
    frames = [
        sio.LabeledFrame(video=video, frame_idx=number, instances=[sio.Instance.from_numpy(points + number, skeleton=skeleton)])
        for number in (2, 13, 21)
    ]
    sio.save_slp(sio.Labels(frames, skeletons=[skeleton], videos=[video]), str(tmp_path / "train.slp"), verbose=False)
    (tmp_path / "moved").mkdir()
    for file in (name, "train.slp"):
        (tmp_path / file).rename(tmp_path / "moved" / file)
    for listing in read(tmp_path / "moved", "fit", "train"):
        assert listing.names == [f"{name}#2", f"{name}#13", f"{name}#21"]
        assert [read_number(listing.open_image(index)) for index in range(3)] == [2, 13, 21]
        assert same(listing, [points + number for number in (2, 13, 21)])
    given = ("--data", tmp_path / "moved/train.slp", "--test", "0.5", "--device", "cpu", "--out", tmp_path / "out")
    assert ppl("eval", lively_file, *given, "--protocol", "ridge", "--json") == 0
    data = json.loads(capsys.readouterr().out)["data"]
    assert (data["kind"], data["fit_images"] + data["test_images"]) == ("sleap", 3)
    (tmp_path / "moved" / name).unlink()
    assert ppl("eval", lively_file, *given, "--overwrite") == 1
    assert "put the video beside the project" in capsys.readouterr().err.splitlines()[-1]


def test_sleap_videos_and_images_of_one_name_are_told_apart(tmp_path):
    sio = pytest.importorskip("sleap_io")
    skeleton, points = sio.Skeleton(list(NODES), name="mouse"), np.array([[1.0, 2], [30, 4], [5, 40]])

    def save(place, videos):
        frames = [sio.LabeledFrame(video, 2, [sio.Instance.from_numpy(points, skeleton=skeleton)]) for video in videos]
        sio.save_slp(sio.Labels(frames, videos=videos, skeletons=[skeleton]), str(place / "train.slp"), verbose=False)

    (movies := tmp_path / "movies").mkdir()
    for session in "ab":
        (movies / session).mkdir()
    save(movies, [sio.Video.from_filename(str(write_clip(movies / session / "clip.mp4"))) for session in "ab"])
    movies = movies.rename(tmp_path / "moved")
    assert sorted(read(movies, "fit")[0].names) == ["a/clip.mp4#2", "b/clip.mp4#2"]
    (movies / "a/clip.mp4").rename(movies / "a/gone")  # b's is not taken for it
    listing = read(movies, "fit")[0]
    assert sorted(listing.names) == ["b/clip.mp4#2", "clip.mp4#2"]
    with pytest.raises(UnreadableImageError, match="put the video beside the project"):
        listing.open_image(listing.names.index("clip.mp4#2"))
    for folder in ("b", "c"):
        (movies / folder).mkdir(exist_ok=True)
        shutil.copy(movies / "a/gone", movies / folder / "clip.mp4")
    (movies / "b").rename(movies / "d")
    with pytest.raises(UsageError, match=r"cannot be told which video .*clip\.mp4 is"):
        read(movies, "fit")


def test_coco_as_sleap_io_writes_it(tmp_path):
    paths, points = draw_images(tmp_path, 4)
    sio, labels = sleap_labels(paths, points)
    sio.save_coco(labels, str(tmp_path / "train.json"))
    (fit,) = read(tmp_path, "fit", kind="coco")
    assert len(fit) == 4
    assert same(fit, points)


def deeplabcut_table(names: list[str], points: np.ndarray, individuals: list[str] | None = None) -> pd.DataFrame:
    levels = [["me"], NODES, ["x", "y"]]
    columns = pd.MultiIndex.from_product(levels, names=["scorer", "bodyparts", "coords"])
    if individuals:
        rows = [("me", animal, node, axis) for animal, node in zip(individuals, NODES, strict=True) for axis in "xy"]
        columns = pd.MultiIndex.from_tuples(rows, names=["scorer", "individuals", "bodyparts", "coords"])
    return pd.DataFrame(points.reshape(len(names), -1), index=names, columns=columns)


def test_lightning_pose_has_one_table_and_perhaps_another_to_measure_on(tmp_path):
    truth = {}
    for video, first in (("walk", 0), ("run", 4), ("jump", 8)):
        truth[video] = draw_images(tmp_path / "labeled-data" / video, 4, first)
    names = [f"labeled-data/{video}/{path.name}" for video in truth for path in truth[video][0]]
    points = np.concatenate([truth[video][1] for video in truth])
    mixed = [0, 4, 1, 5, 2, 6, 3, 7]
    deeplabcut_table([names[i] for i in mixed], points[mixed]).to_csv(tmp_path / "CollectedData.csv")
    (tmp_path / "labeled-data").rename(tmp_path / "labelled")  # or all images of the folder are learned from
    fit, test = read(tmp_path, "fit", "test")
    assert fit.names == [f"labelled/{names[i].partition('/')[2]}" for i in (0, 1, 4, 5)]
    assert fit.groups == [0, 0, 1, 1]
    assert same(test, points[[2, 3, 6, 7]])
    assert same(read(tmp_path, "test", test="run, walk")[0], points[:8])
    deeplabcut_table(names[8:], points[8:]).to_csv(tmp_path / "CollectedData_new.csv")
    train, fit, test = read(tmp_path, "train", "fit", "test")
    assert len(train) == 8
    assert same(fit, points[:8]), same(test, points[8:])
    assert any("fitted on CollectedData.csv and measured on CollectedData_new.csv" in note for note in test.notes)
    assert same(read(tmp_path, "test", test="walk")[0], points[:4])
    (tmp_path / "CollectedData.csv").unlink()
    assert same(read(tmp_path, "test")[0], points[10:])


@pytest.mark.parametrize(
    ("separator", "decimal", "encoding"),
    [(";", ",", "utf-8-sig"), ("\t", ",", "utf-16"), ("\t", ".", "utf-16"), (",", ".", "utf-8")],
)
def test_deeplabcut_tables_as_a_spreadsheet_saves_them(tmp_path, separator, decimal, encoding):
    paths, points = draw_images(tmp_path / "labeled-data/walk", 4)
    file = tmp_path / "labeled-data/walk/CollectedData_me.csv"
    table = deeplabcut_table([f"labeled-data/walk/{path.name}" for path in paths], points)
    table.to_csv(file, sep=separator, decimal=decimal, encoding=encoding)
    (fit,) = read(tmp_path, "fit")
    assert same(fit, points[:2])


def test_deeplabcut_one_animal_beside_parts_of_none(tmp_path):
    paths, points = draw_images(tmp_path / "labeled-data/walk", 2)
    table = deeplabcut_table([f"labeled-data/walk/{path.name}" for path in paths], points, ["mouse", "mouse", "single"])
    table.to_csv(tmp_path / "labeled-data/walk/CollectedData_me.csv")
    (fit,) = read(tmp_path, "fit")
    assert fit.keypoint_names == NODES
    assert same(fit, points[:1])


def test_deeplabcut_columns_of_animals_that_are_never_there(tmp_path):
    for video, first in (("run", 0), ("walk", 2)):
        paths, points = draw_images(tmp_path / "labeled-data" / video, 2, first)
        names = [f"labeled-data/{video}/{path.name}" for path in paths]
        absent = np.full_like(points, np.nan)
        both = [absent, points] if video == "run" else [points, absent]
        rows = [("me", animal, node, axis) for animal in ("a", "b") for node in NODES for axis in "xy"]
        columns = pd.MultiIndex.from_tuples(rows, names=["scorer", "individuals", "bodyparts", "coords"])
        table = pd.DataFrame(np.concatenate([one.reshape(2, -1) for one in both], 1), index=names, columns=columns)
        table.to_csv(tmp_path / "labeled-data" / video / "CollectedData_me.csv")
    fit, test = read(tmp_path, "fit", "test")
    assert fit.keypoint_names == NODES
    assert np.isfinite(fit.keypoints).any((1, 2)).all()
    assert same(test.take([1]), points[1:])


def test_deeplabcut_tables_need_not_be_alike_nor_complete(tmp_path):
    truth = []
    for video, first in (("run", 0), ("walk", 4)):
        paths, points = draw_images(tmp_path / "labeled-data" / video, 4, first)
        points[3] = np.nan  # a frame that was taken and not annotated
        table = deeplabcut_table([f"labeled-data/{video}/{path.name}" for path in paths], points)
        file = tmp_path / "labeled-data" / video / "CollectedData_me.csv"
        (table if video == "run" else table.iloc[:, [4, 5, 2, 3, 0, 1]]).to_csv(file)
        if video == "walk":  # in another order, and as a spreadsheet saves it, with an empty column
            file.write_text(file.read_text().replace("\n", ",\n"))
        truth.append(points)
    draw_images(tmp_path / "labeled-data/jump", 1)
    fit, test = read(tmp_path, "fit", "test")
    assert same(fit, np.concatenate([points[:2] for points in truth]))
    assert same(test, np.concatenate([points[2:3] for points in truth]))
    assert "2 frames of the tables without an annotation, left out" in fit.notes
    assert any(note.startswith("1 video of ") and note.endswith("without a table, left out (jump, ...)") for note in fit.notes)


def test_deeplabcut_images_named_twice_count_once(tmp_path):
    paths, points = draw_images(tmp_path / "labeled-data/walk", 3)
    file = tmp_path / "labeled-data/walk/CollectedData_me.csv"
    names = [f"labeled-data/walk/{path.name}" for path in paths]
    twice = [*names, names[1].replace("/", "\\")]
    deeplabcut_table(twice, points[[0, 1, 2, 1]]).to_csv(file)
    fit, test = read(tmp_path, "fit", "test")
    assert fit.names + test.names == names
    assert any("1 image listed more than once" in note for note in fit.notes)
    deeplabcut_table(twice, points[[0, 1, 2, 2]]).to_csv(file)
    with pytest.raises(
        UsageError, match=r"CollectedData_me\.csv: .*img001\.png is annotated twice and differently \(line 5, line 7\)"
    ):
        read(tmp_path, "fit")
