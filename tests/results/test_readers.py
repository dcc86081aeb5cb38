"""What other programs read in our files, by their own readers: the same to 1e-3 pixels, and the images where they are."""

import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ppl_cli.results.deeplabcut import Table
from tests.clips import write_clip
from tests.conftest import ppl

FORMATS = "csv,coco,npz,dlc,slp"
CLOSE = {"atol": 1e-3, "equal_nan": True}


@pytest.fixture
def poses(lively_file, pictures, tmp_path):
    """The folder of results: six images and one that is broken in a folder, two in a folder below."""
    (pictures / "3.jpg").write_text("no image")
    out = tmp_path / "results" / "poses"
    assert ppl("infer", lively_file, pictures, "--out", out, "--format", FORMATS, "--device", "cpu") == 0
    return out


@pytest.fixture
def ours(poses):
    arrays = np.load(poses / "keypoints.npz")
    return dict(zip(arrays["images"].tolist(), np.dstack((arrays["keypoints_px"], arrays["confidence"])), strict=True))


def above(ours) -> np.ndarray:
    return np.array([pose for name, pose in ours.items() if "/" not in name])


def test_dlc_has_a_table_for_each_folder(poses):
    assert {path.name for path in (poses / "dlc").glob("*.csv")} == {"picturesPPL_tiny_7.csv", "subPPL_tiny_7.csv"}


@pytest.mark.parametrize(("suffix", "loader"), [("csv", "from_dlc_file"), ("h5", "from_dlc_file"), ("csv", "from_lp_file")])
def test_movement(poses, ours, suffix, loader):
    load_poses = pytest.importorskip("movement.io.load_poses")
    if suffix == "h5":
        pytest.importorskip("tables")
    read = getattr(load_poses, loader)(poses / f"dlc/picturesPPL_tiny_7.{suffix}", fps=30)
    found = np.dstack((np.moveaxis(read.position.values[..., 0], 1, 2), read.confidence.values[..., 0]))
    assert np.allclose(found, above(ours), **CLOSE)
    assert np.isnan(found[3]).all()
    assert [str(name) for name in read.coords["keypoints" if "keypoints" in read.coords else "keypoint"].values] == [
        f"k{k}" for k in range(5)
    ]


def test_pandas(poses, ours):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("tables")
    table = pandas.read_csv(poses / "dlc/picturesPPL_tiny_7.csv", header=[0, 1, 2], index_col=0)
    same = pandas.read_hdf(poses / "dlc/picturesPPL_tiny_7.h5", key="df_with_missing")
    assert table.columns.names == same.columns.names == ["scorer", "bodyparts", "coords"]
    assert list(table.index) == list(range(6))
    assert list(same.index) == [name for name in ours if "/" not in name]
    assert np.allclose(table, same, **CLOSE)
    assert np.allclose(same["PPL_tiny_7"]["k2"][["x", "y"]], above(ours)[:, 2, :2], **CLOSE)


def test_sleap(poses, ours, pictures):
    sleap_io = pytest.importorskip("sleap_io")
    labels = sleap_io.load_file(poses / "keypoints.slp")
    (skeleton,) = labels.skeletons
    category = json.loads((poses / "keypoints.coco.json").read_text())["categories"][0]
    assert skeleton.node_names == category["keypoints"]
    assert [(i + 1, j + 1) for i, j in skeleton.edge_inds] == [tuple(link) for link in category["skeleton"]]
    found = {}
    for frame in labels:
        (instance,) = frame.predicted_instances
        place = frame.video.filename[frame.frame_idx]
        found[place] = instance.numpy(scores=True)
        assert instance.score == pytest.approx(found[place][:, 2].mean(), abs=1e-5)
        with Image.open(place) as image:
            assert frame.image.shape[:2] == image.size[::-1]
    expected = {str(pictures / name): pose for name, pose in ours.items() if name != "3.jpg"}
    assert set(found) == set(expected)
    assert all(np.allclose(found[name], pose, **CLOSE) for name, pose in expected.items())


def test_coco_in_sleap(poses, ours, pictures):
    sleap_io = pytest.importorskip("sleap_io")
    labels = sleap_io.load_file(poses / "keypoints.coco.json")
    assert len(labels) == len(ours) - 1
    for frame in labels:
        name = Path(frame.video.filename[frame.frame_idx]).relative_to(pictures).as_posix()
        assert np.allclose(frame.instances[0].numpy(), ours[name][:, :2], **CLOSE)


def test_coco_in_pycocotools(poses, ours):
    coco = pytest.importorskip("pycocotools.coco").COCO(poses / "keypoints.coco.json")
    evaluation = pytest.importorskip("pycocotools.cocoeval").COCOeval(coco, coco.loadRes(list(coco.anns.values())), "keypoints")
    for image in coco.imgs.values():
        (annotation,) = coco.imgToAnns[image["id"]]
        assert np.allclose(np.reshape(annotation["keypoints"], (-1, 3))[:, :2], ours[image["name"]][:, :2], **CLOSE)
    evaluation.params.kpt_oks_sigmas = np.array(coco.cats[1]["sigmas"])
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[0] == 1


def test_supervision(poses, ours, pictures):
    supervision = pytest.importorskip("supervision")
    arrays = np.load(poses / "keypoints.npz")
    points = supervision.KeyPoints(xy=arrays["keypoints_px"], keypoint_confidence=arrays["confidence"])
    assert np.allclose(points.xy, [pose[:, :2] for pose in ours.values()], **CLOSE)
    read = supervision.DetectionDataset.from_coco(str(pictures), str(poses / "keypoints.coco.json"))
    assert len(read) == len(ours) - 1
    for _, image, boxes in read:
        assert image is not None
        assert len(boxes) == 1


def test_tables_are_named_after_the_run_folder(lively_file, pictures, tmp_path):
    def scorer(model, out: str) -> str:
        assert ppl("infer", model, pictures / "sub", "--out", tmp_path / out, "--format", "dlc", "--device", "cpu") == 0
        (table,) = (tmp_path / out / "dlc").glob("*.csv")
        heading = table.read_text(encoding="utf-8").splitlines()[0].split(",")
        assert set(heading[1:]) == {table.stem.removeprefix("sub")}
        return heading[1]

    run = tmp_path / f"{'long' * 30} a, b=ä"
    run.mkdir()
    model = Path(shutil.copy(lively_file, run / "model.safetensors"))
    assert scorer(run, "bare") == "PPL_tiny_7"
    (run / "config.yaml").write_text("name: tiny")
    assert scorer(run, "run") == scorer(model, "file") == f"PPL_ng{'long' * 10}-a--b-ä_7"
    assert scorer(shutil.copy(model, run / "best.safetensors"), "other") == "PPL_tiny_7"
    several = tmp_path / "several"
    several.mkdir()
    (several / "seed-0.yaml").write_text("name: tiny")
    assert scorer(run.rename(several / "seed-0"), "trial") == "PPL_several-seed-0_7"


def test_folders_of_one_name_and_videos_of_one_stem_keep_their_tables(lively_file, pictures, tmp_path):
    (pictures / "pictures").mkdir()
    frames = [Image.open(pictures / f"{i}.jpg").resize((40, 40)) for i in range(3)]
    frames[0].save(pictures / "pictures" / "0.png")
    for name in ("a.tif", "A.gif"):  # of one name where capital letters are not told from small ones
        frames[0].save(pictures / name, save_all=True, append_images=frames[1:])
    out = tmp_path / "out"
    assert ppl("infer", lively_file, pictures, "--out", out, "--format", "dlc,npz", "--device", "cpu") == 0
    stems = {path.name.removesuffix("PPL_tiny_7.csv"): path for path in (out / "dlc").glob("*.csv")}
    assert set(stems) == {"pictures", "pictures_", "sub", "A", "a.tif"}
    assert [line.split(",")[0] for line in stems["A"].read_text().splitlines()[3:]] == ["0", "1", "2"]
    counts = {stem: len(path.read_text().splitlines()) - 3 for stem, path in stems.items()}
    assert sorted(counts.values()) == [1, 2, 3, 3, 6]


def test_videos_are_linked_and_have_tables_of_their_own(lively_file, tmp_path, monkeypatch):
    load_poses, sleap_io = pytest.importorskip("movement.io.load_poses"), pytest.importorskip("sleap_io")
    clips = tmp_path / "clips"
    clips.mkdir()
    for name in ("a.mp4", "b.avi"):
        write_clip(clips / name, range(7))
    (clips / "c.mp4").write_text("no video")
    for writer in ("sleap", "deeplabcut"):  # of so few frames several blocks
        monkeypatch.setattr(f"ppl_cli.results.{writer}.BLOCK", 3)
    out = tmp_path / "out"
    assert ppl("infer", lively_file, clips, "--out", out, "--format", FORMATS, "--device", "cpu") == 0
    arrays = np.load(out / "keypoints.npz")
    assert {path.name for path in (out / "dlc").glob("*.csv")} == {"aPPL_tiny_7.csv", "bPPL_tiny_7.csv"}
    labels = sleap_io.load_file(out / "keypoints.slp")
    assert [Path(video.filename) for video in labels.videos] == [clips / "a.mp4", clips / "b.avi"]
    for video, name in zip(labels.videos, ("a.mp4", "b.avi"), strict=True):
        points = arrays["keypoints_px"][arrays["video"] == name]
        table = load_poses.from_dlc_file(out / f"dlc/{name[0]}PPL_tiny_7.csv", fps=30)
        assert np.allclose(np.moveaxis(table.position.values[..., 0], 1, 2), points, **CLOSE)
        frames = sorted(labels.find(video), key=lambda frame: frame.frame_idx)
        assert [frame.frame_idx for frame in frames] == list(range(7))
        assert np.allclose([frame.predicted_instances[0].numpy() for frame in frames], points, **CLOSE)
        assert frames[3].image.ndim == 3  # it is found


def test_sleap_gets_poses_of_videos_that_it_does_not_read(lively_file, tmp_path, capsys):
    sleap_io = pytest.importorskip("sleap_io")
    clips, out = tmp_path / "clips", tmp_path / "out"
    clips.mkdir()
    for name in ("a.webm", "b.m4v", "c.mp4"):
        write_clip(clips / name, range(3))
    assert ppl("infer", lively_file, clips, "--out", out, "--format", "slp", "--device", "cpu") == 0
    assert "will show its poses without frames: a.webm, ...; " in capsys.readouterr().err
    labels = sleap_io.load_file(out / "keypoints.slp")
    assert [(Path(video.filename).name, tuple(video.shape)) for video in labels.videos] == [
        (name, (3, 48, 64, 3)) for name in ("a.webm", "b.m4v", "c.mp4")
    ]
    assert len(labels.labeled_frames) == 9


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes on Linux alone")
def test_sleap_gets_poses_of_videos_whose_names_are_not_utf8(forks, lively_file, tmp_path):
    sleap_io = pytest.importorskip("sleap_io")
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/v\xff.mkv")
    os.rename(write_clip(tmp_path / "v.mkv", range(3)), odd)
    done = forks.run("infer", lively_file, odd, "--out", tmp_path / "out", "--format", "slp", "--device", "cpu")
    assert done.wait() == 0, done.error  # sleap-io's readers end the program
    labels = sleap_io.load_file(tmp_path / "out" / "keypoints.slp")
    assert len(labels.labeled_frames) == 3
    assert labels.videos[0].filename.endswith("xff.mkv")


def test_tables_of_an_earlier_run_go_with_overwrite(poses, lively_file, pictures, capsys):
    again = ("infer", lively_file, pictures / "sub", "--out", poses, "--format", "dlc", "--device", "cpu")
    assert ppl(*again) == 2
    assert "already holds" in capsys.readouterr().err
    assert ppl(*again, "--overwrite") == 0
    assert {path.name for path in (poses / "dlc").glob("*.csv")} == {"subPPL_tiny_7.csv"}
    assert not (poses / "keypoints.slp").exists()


def test_without_sleap_io_one_line_says_what_to_install(lively_file, pictures, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "sleap_io", None)
    command = ("infer", lively_file, pictures, "--out", tmp_path / "out", "--format", "slp", "--device", "cpu")
    assert ppl(*command) == 1
    assert 'pip install "ppl-cli[formats]"' in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "out").exists()
    (tmp_path / "out").mkdir()
    earlier = tmp_path / "out" / "keypoints.csv"
    earlier.write_text("of an earlier run")
    assert ppl(*command, "--overwrite") == 1
    assert earlier.read_text() == "of an earlier run"


def test_a_keypoint_called_na_keeps_its_name(tmp_path):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("tables")
    path, columns = tmp_path / "mouse.csv", ["NA", "NA", "NA", "nose", "nose", "nose"]
    rows = [["scorer", *["PPL"] * 6], ["bodyparts", *columns], ["coords", *["x", "y", "likelihood"] * 2], [0, 1, 2, 1, 3, 4, 1]]
    path.write_text("".join(",".join(map(str, row)) + "\n" for row in rows))
    Table("mouse", path, False).save_h5(tmp_path / "mouse.h5")
    table = pandas.read_hdf(tmp_path / "mouse.h5", key="df_with_missing")
    assert table.columns.get_level_values("bodyparts").tolist() == columns
