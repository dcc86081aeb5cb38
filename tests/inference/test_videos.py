"""Videos where images are: infer, refine and the Python API."""

import csv
import shutil

import av
import numpy as np
import pytest
import torch
from PIL import Image

import ppl_cli
from ppl_cli.checkpoints.model_file import save_model
from ppl_cli.data.videos import open_video
from ppl_cli.errors import PPLError, UsageError
from ppl_cli.inference.inputs import gather_inputs
from ppl_cli.results.journal import Journal
from tests.clips import FRAMES, uneven_times, write_clip, write_pictures, write_text
from tests.conftest import lively_model, ppl, shared


def read_rows(folder) -> list[dict[str, str]]:
    with (folder / "keypoints.csv").open() as file:
        return [row for row in csv.DictReader(file) if row["keypoint"] == "k0"]


def infer(model, *arguments) -> int:
    return ppl("infer", model, *arguments, "--device", "cpu")


def test_every_frame_has_a_row_with_its_time(lively_file, tmp_path):
    times = uneven_times()
    (tmp_path / "in").mkdir()
    write_clip(tmp_path / "in" / "b.mp4", times=times)
    write_text(tmp_path / "in" / "c.mp4")
    Image.new("RGB", (40, 40)).save(tmp_path / "in" / "a.png")
    assert infer(lively_file, tmp_path / "in", "--out", tmp_path / "out") == 0
    rows = read_rows(tmp_path / "out")
    assert [row["image"] for row in rows] == ["a.png", *(f"b.mp4#{k}" for k in range(FRAMES)), "c.mp4"]
    assert [row["video"] for row in rows] == ["", *["b.mp4"] * FRAMES, "c.mp4"]
    assert [row["frame"] for row in rows[1:-1]] == [str(k) for k in range(FRAMES)]
    assert np.allclose([float(row["time"]) for row in rows[1:-1]], np.array(times) / 1000, atol=2e-3)
    assert rows[-1]["status"] == "not a video"
    found = np.load(tmp_path / "out" / "keypoints.npz")
    assert found["video"].tolist() == [row["video"] for row in rows]
    assert np.array_equal(found["frame"][1:-1], np.arange(FRAMES))
    assert np.isnan(found["time"][0])


def test_poses_are_those_of_the_frames_as_images(lively_file, tmp_path):
    clip = write_clip(tmp_path / "a.mp4", size=(63, 48), pixels="yuv444p")
    (tmp_path / "frames").mkdir()
    with av.open(clip) as file:
        for number, frame in enumerate(file.decode(video=0)):
            frame.to_image().save(tmp_path / "frames" / f"{number}.png")
    model = ppl_cli.load(lively_file, "cpu")
    of_video, of_files = list(model.stream(clip)), list(model.stream(tmp_path / "frames"))
    assert [pose.frame for pose in of_video] == list(range(FRAMES))
    assert np.allclose([pose.time for pose in of_video], open_video(clip).times)
    assert max(np.abs(a.keypoints - b.keypoints).max() for a, b in zip(of_video, of_files, strict=True)) < 0.5
    assert np.abs(np.asarray(of_video[5].image).astype(int) - np.asarray(of_files[5].image)).max() <= 2


@pytest.mark.parametrize("suffix", ["mp4", "avi"])
def test_poses_in_a_real_video_are_those_of_its_frames(tiny, tmp_path, suffix):
    frames = sorted(shared("data", "mirror_mouse", "train", "test_vid").iterdir())[::10]
    frames = [np.asarray(Image.open(path).convert("RGB")) for path in frames]
    network = lively_model(tiny)
    with torch.no_grad():  # keypoints follow the mouse by up to 13 pixels
        network.encoder.attend.weight *= 10
        network.encoder.regress[2].weight *= 4
    save_model(tmp_path / "model.safetensors", network, tiny, 7)
    model = ppl_cli.load(tmp_path / "model.safetensors", "cpu")
    clip = write_pictures(tmp_path / f"mouse.{suffix}", frames)
    in_video, in_frames = (np.stack([pose.keypoints for pose in model.stream(given)]) for given in (clip, frames))
    assert np.ptp(in_frames, axis=0).max() > 8
    assert np.abs(in_video - in_frames).max() < 0.5


def test_an_excerpt(lively_file, tmp_path):
    clip = write_clip(tmp_path / "a.mp4")
    cut = ("--start", "5f", "--stop", "0:00.64", "--every", "3")
    assert infer(lively_file, clip, "--out", tmp_path / "out", *cut) == 0
    assert [row["frame"] for row in read_rows(tmp_path / "out")] == ["5", "8", "11", "14"]
    frames = [pose.frame for pose in ppl_cli.load(lively_file, "cpu").stream(clip, start=0.8)]
    assert frames == [20, 21, 22, 23]


def test_an_excerpt_of_nothing(lively_file, tmp_path, capsys):
    write_clip(tmp_path / "a.mp4")
    Image.new("RGB", (40, 40)).save(tmp_path / "a.png")
    for arguments, words in {
        ("a.mp4", "--start", "50"): "no frame lies between",
        (
            "a.mp4#3",
            "--start",
            "0",
        ): "a.mp4#3 is a single frame; --start, --stop and --every choose among",
        ("a.png", "--every", "2"): "there is none",
        ("a.mp4", "--stop", "soon"): "--stop soon: write seconds",
        ("a.mp4", "--start", "1:99"): "--start 1:99: write seconds",
        ("a.mp4", "--start", "0:04", "--stop", "2.5"): "--stop 2.5 is not behind --start 0:04: nothing lies between",
    }.items():
        assert infer(lively_file, tmp_path / arguments[0], *arguments[1:], "--out", tmp_path / "out") == 2
        assert words in capsys.readouterr().err


def test_resume_within_a_video_and_two_processes(forks, lively_file, tmp_path, monkeypatch):
    clip = write_clip(tmp_path / "a.mp4")
    arguments = ["infer", lively_file, clip, "--device", "cpu", "--batch", "4", "--out"]
    assert ppl(*arguments, tmp_path / "whole") == 0
    two = forks.run_two(*arguments, tmp_path / "two")
    assert two.wait() == [0, 0], two.error
    append = Journal.append

    def fail_later(journal, poses):
        if journal.images == 8:
            raise KeyboardInterrupt
        append(journal, poses)

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "append", fail_later)
        assert ppl(*arguments, tmp_path / "cut") != 0
    assert ppl(*arguments, tmp_path / "cut", "--resume") == 0
    for name in ("keypoints.csv", "keypoints.npz", "keypoints.coco.json"):
        whole = (tmp_path / "whole" / name).read_bytes()
        assert (tmp_path / "two" / name).read_bytes() == whole
        assert (tmp_path / "cut" / name).read_bytes() == whole


@pytest.mark.parametrize("kind", ["video", "single", "folder", "one"])
def test_masks_of_videos(lively_file, tmp_path, kind):
    clip, masks = write_clip(tmp_path / "a.mp4"), tmp_path / "masks"
    masks.mkdir()
    hidden = np.zeros((FRAMES, 48, 64), np.uint8)
    for number in range(FRAMES):
        hidden[number, :, : 16 if kind == "one" else 8 + number] = 255
    if kind == "one":
        Image.fromarray(hidden[0]).save(masks / "a.png")
    elif kind == "folder":
        (masks / "a").mkdir()
        for number in range(FRAMES):
            Image.fromarray(hidden[number]).save(masks / "a" / f"{number + 1:06d}.png")
    else:
        place = masks / ("a.mkv" if kind == "video" else "m.mkv")
        write_pictures(place, (np.repeat(one[..., None], 3, 2) for one in hidden), codec="ffv1", pixels="bgr0")
    given = masks / "m.mkv" if kind == "single" else masks
    assert ppl("refine", lively_file, clip, "--masks", given, "--out", tmp_path / "out", "--device", "cpu") == 0
    assert {row["status"].split(",")[0] for row in read_rows(tmp_path / "out")} == {"ok"}


def test_a_mask_is_never_that_of_another_video(lively_file, tmp_path):
    """A folder of masks itself is for a video of as many frames, unless they are named for another."""
    (tmp_path / "in").mkdir()
    for name in ("one", "two"):
        write_clip(tmp_path / "in" / f"{name}.mp4")
    masks, hidden = tmp_path / "masks", np.zeros((48, 64), np.uint8)
    hidden[:, :16] = 255
    for files, left in (
        (["one.png"], 1),
        ([f"one#{number}.png" for number in range(FRAMES)], 1),
        ([f"{number}.png" for number in range(FRAMES)], 0),
    ):
        shutil.rmtree(masks, ignore_errors=True)
        masks.mkdir()
        for file in files:
            Image.fromarray(hidden).save(masks / file)
        out = tmp_path / f"out-{len(files)}-{left}"
        assert ppl("refine", lively_file, tmp_path / "in", "--masks", masks, "--out", out, "--device", "cpu") == 0
        lost = {row["image"] for row in read_rows(out) if not row["status"].startswith("ok")}
        assert lost == ({f"two.mp4#{number}" for number in range(FRAMES)} if left else set())


def test_two_videos_of_one_name_stay_two_whichever_frames_are_wanted(lively_file, tmp_path):
    for folder, first in (("a", 0), ("b", 100)):
        (tmp_path / folder).mkdir()
        write_clip(tmp_path / folder / "clip.mp4", range(first, first + FRAMES))
    given = (tmp_path / "a/clip.mp4#3", tmp_path / "b/clip.mp4#2")
    assert ppl("infer", lively_file, *given, "--out", tmp_path / "out", "--device", "cpu") == 0
    assert {row["image"] for row in read_rows(tmp_path / "out")} == {"a/clip.mp4#3", "b/clip.mp4#2"}


def test_masks_of_two_videos_of_one_name_and_beside_a_folder_of_it(lively_file, tmp_path):
    masks, one = tmp_path / "masks", np.zeros((48, 64, 3), np.uint8)
    (masks / "a").mkdir(parents=True)
    (tmp_path / "in").mkdir()
    one[:, :16] = 255
    Image.fromarray(one).save(masks / "a" / "other.png")
    for suffix, count in (("mp4", FRAMES), ("mkv", FRAMES - 4)):
        write_clip(tmp_path / "in" / f"a.{suffix}", numbers=range(count))
        write_pictures(masks / f"a.{suffix}", [one] * count)
    assert ppl("refine", lively_file, tmp_path / "in", "--masks", masks, "--out", tmp_path / "out", "--device", "cpu") == 0
    assert {row["status"].split(",")[0] for row in read_rows(tmp_path / "out")} == {"ok"}


@pytest.mark.parametrize("count", [FRAMES - 2, FRAMES + 3])
def test_a_mask_video_of_another_length_is_refused_whatever_its_name(lively_file, tmp_path, count):
    clip = write_clip(tmp_path / "a.mp4")
    for name in ("a", "m"):
        (tmp_path / name).mkdir()
        one = np.zeros((48, 64, 3), np.uint8)
        one[:, :16] = 255
        write_pictures(tmp_path / name / f"{name}.mkv", [one] * count, codec="ffv1", pixels="bgr0")
        out, given = tmp_path / f"out-{name}", tmp_path / name / ("m.mkv" if name == "m" else "")
        assert ppl("refine", lively_file, clip, "--masks", given, "--out", out, "--device", "cpu") == 1
        assert {row["status"].partition(" has ")[2].split(" for")[0] for row in read_rows(out)} == {f"{count} masks"}


def test_a_video_shorter_than_the_excerpt_is_named(lively_file, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    write_clip(tmp_path / "in" / "short.mp4", numbers=range(5))
    write_clip(tmp_path / "in" / "long.mp4")
    assert infer(lively_file, tmp_path / "in", "--start", "10f", "--stop", "12f", "--out", tmp_path / "out") == 0
    assert (
        "note: short.mp4: no frame lies between --start and --stop; its last frame is 4f, at 0.16 s" in capsys.readouterr().err
    )
    assert {row["video"] for row in read_rows(tmp_path / "out")} == {"long.mp4"}


def test_a_video_that_cannot_be_read_is_the_reason_also_of_an_empty_excerpt(lively_file, tmp_path, capsys):
    write_text(tmp_path / "a.mp4")
    assert infer(lively_file, tmp_path / "a.mp4", "--start", "1", "--out", tmp_path / "out") == 1
    assert "the video could not be used (a.mp4: not a video)" in capsys.readouterr().err


def test_a_frame_behind_the_end_is_a_row_without_a_pose(lively_file, tmp_path):
    clip = write_clip(tmp_path / "a.mp4")
    asked = [f"{clip}#{number}" for number in (3, 5000)]
    assert infer(lively_file, *asked, "--out", tmp_path / "out") == 0
    rows = read_rows(tmp_path / "out")
    assert [(row["frame"], row["time"] == "", row["x"] == "") for row in rows[:: len(rows) // 2]] == [
        ("3", False, False),
        ("5000", True, True),
    ]


def test_a_video_that_changes_its_size_is_named(lively_file, clips, tmp_path, capsys):
    assert infer(lively_file, clips / "broken" / "growing.webm", "--out", tmp_path / "out") == 0
    assert f"growing.webm#{FRAMES // 2}: from here on the pictures of this video have another size" in capsys.readouterr().err


def test_videos_that_cannot_be_opened_are_counted_as_videos(lively_file, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    write_clip(tmp_path / "in" / "a.mp4", numbers=range(2))
    write_text(tmp_path / "in" / "b.mp4")
    (tmp_path / "in" / "c.jpg").write_bytes(b"no image")
    assert infer(lively_file, tmp_path / "in", "--out", tmp_path / "out") == 0
    assert "; 1 image and 1 video left out, see skipped.csv" in capsys.readouterr().out


def test_a_run_to_resume_is_described_by_the_number_of_its_frames(tmp_path):
    clip = write_clip(tmp_path / "a.mp4")
    assert gather_inputs([clip], None).fingerprint().startswith(f"{FRAMES} images, ")


def test_what_is_no_video_is_refused_in_python(lively_file, tmp_path):
    model, clip = ppl_cli.load(lively_file, "cpu"), write_clip(tmp_path / "a.mp4")
    with pytest.raises(UsageError, match="expected a video, got"):
        model.video(tmp_path)
    with pytest.raises(PPLError, match="not a video"):
        model.video(write_text(tmp_path / "text.mp4"))
    with pytest.raises(UsageError, match=r"a name that ends in \.mp4, got"):
        model.video(clip, overlay=tmp_path / "drawn.avi")
    with pytest.raises(
        PPLError, match=rf"it has {FRAMES} frames: take model\.stream or model\.video for all of them, or give them one by one"
    ):
        model(clip)
