"""Drawn videos beside the tables, and what becomes of them when a run is stopped."""

import shutil
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

import ppl_cli
from ppl_cli.api.details import Details
from ppl_cli.data.figures import figure
from ppl_cli.data.videos import open_video
from ppl_cli.drawing.video import writing_video
from ppl_cli.errors import UnreadableImageError, UsageError
from ppl_cli.inference import films
from ppl_cli.inference.films import drawing_video
from ppl_cli.results.pose import Pose
from tests.conftest import ppl

STAMPS = [0, 40, 80, 200, 240, 300]  # milliseconds: a rate that varies


def record(path, size=64):
    with writing_video(path, (size, size), Fraction(1, 1000), Fraction(20)) as add:
        for number, stamp in enumerate(STAMPS):
            add(figure(1, size, 0, number / len(STAMPS))[0], stamp)


def look(path):
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
        return [frame.time for frame in frames], [frame.to_ndarray(format="rgb24").astype(int) for frame in frames]


@pytest.fixture
def clips(tmp_path):
    (tmp_path / "clips" / "sub").mkdir(parents=True)
    record(tmp_path / "clips" / "a.mp4")
    record(tmp_path / "clips" / "sub" / "b.mp4")
    return tmp_path / "clips"


def infer(model, clips, out, *more):
    return ppl("infer", model, clips, "--out", out, "--overlay", "--device", "cpu", "--batch", "4", *more)


def test_each_video_gets_one_of_its_own_with_the_same_times_and_size(lively_file, clips, tmp_path):
    assert infer(lively_file, clips, tmp_path / "out") == 0
    drawn = sorted(
        path.relative_to(tmp_path / "out" / "overlay").as_posix() for path in (tmp_path / "out" / "overlay").rglob("*.*")
    )
    assert drawn == ["a.mp4", "sub/b.mp4"]
    times, frames = look(tmp_path / "out" / "overlay" / "sub" / "b.mp4")
    before, plain = look(clips / "sub" / "b.mp4")
    assert times == before
    for shown, bare in zip(frames, plain, strict=True):
        changed = np.abs(shown - bare).max(-1) > 60
        assert 0.001 < changed.mean() < 0.6


def test_videos_whose_names_differ_in_a_suffix_keep_a_drawing_each(lively_file, clips, tmp_path):
    shutil.copy(clips / "a.mp4", clips / "sub" / "b.mov")
    shutil.copy(clips / "a.mp4", clips / "sub" / "b.mov.mp4")
    assert infer(lively_file, clips / "sub", tmp_path / "out") == 0
    drawn = {path.name for path in (tmp_path / "out" / "overlay").iterdir()}
    assert drawn == {"b.mp4", "b.mov.mp4", "b.mov.mp4.mp4"}


def test_frames_that_come_in_parts_are_named_since_only_the_first_are_drawn(lively_file, clips, tmp_path, capsys):
    frames = ["a.mp4#1", "a.mp4#3", "sub/b.mp4#2", "a.mp4#5", "sub/b.mp4#1"]
    model = ppl_cli.load(lively_file, ppl_cli.Runtime("cpu", say=print))
    model.infer_files([clips / name for name in frames], ppl_cli.Output(tmp_path / "out"), Details(overlay=True))
    assert "2 pictures could not be written; the first: a.mp4: only its first frames are drawn" in capsys.readouterr().out
    assert [len(look(tmp_path / "out/overlay" / name)[0]) for name in ("a.mp4", "b.mp4")] == [2, 1]


def test_paths_with_colons_are_files(lively_file, clips, tmp_path, monkeypatch):
    """FFmpeg takes what is before a colon for the protocol of an address."""
    monkeypatch.chdir(tmp_path)
    (clips / "sub").rename("10:30")
    shutil.copy(clips / "a.mp4", "10:30/http:a.mp4")
    assert infer(lively_file, "10:30", "run:1") == 0
    assert {path.name for path in (tmp_path / "run:1/overlay").iterdir()} == {"b.mp4", "http:a.mp4"}


def test_a_trail_shows_the_last_positions(clips, tmp_path):
    """Of a keypoint that moves 8 pixels a frame: where it was up to `trail` frames ago, and nowhere else."""
    for trail in (0, 2):
        place, video = tmp_path / f"{trail}.mp4", open_video(clips / "a.mp4")
        with drawing_video(place, video, np.zeros((1, 1)), trail) as draw:
            for number in range(len(STAMPS)):
                draw(number, Pose(number, 64, 64, np.array([[8.0 + 8 * number, 32]]), np.ones(1)))
    (_, without), (_, with_trail) = (look(tmp_path / name) for name in ("0.mp4", "2.mp4"))
    changed = np.abs(with_trail[5] - without[5]).max(-1)[32]
    assert changed[8 + 8 * 4] > 25
    assert changed[:28].mean() < 6


def test_a_stopped_run_keeps_whole_videos_and_draws_the_others_anew(lively_file, clips, tmp_path, monkeypatch):
    drawing_video, begun = films.drawing_video, []

    def stopped_in_the_second(place, *arguments):
        begun.append(place.name)
        if len(begun) == 2:
            raise KeyboardInterrupt
        return drawing_video(place, *arguments)

    monkeypatch.setattr(films, "drawing_video", stopped_in_the_second)
    assert infer(lively_file, clips, tmp_path / "out") == 130
    assert [path.name for path in (tmp_path / "out" / "overlay").rglob("*") if path.is_file()] == ["a.mp4"]
    assert infer(lively_file, clips, tmp_path / "out", "--resume") == 0
    assert begun == ["a.mp4", "b.mp4", "b.mp4"]
    assert infer(lively_file, clips, tmp_path / "whole") == 0
    for name in ("a.mp4", "sub/b.mp4"):
        resumed, whole = (look(tmp_path / out / "overlay" / name)[1] for out in ("out", "whole"))
        assert np.array_equal(resumed, whole)


def test_a_video_that_cannot_be_written_costs_no_result(lively_file, clips, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("ppl_cli.drawing.video.ENCODERS", {"libnothing": {}})
    assert infer(lively_file, clips, tmp_path / "out") == 0
    assert "2 pictures could not be written; the first: this FFmpeg can write no H.264" in capsys.readouterr().err
    assert len((tmp_path / "out" / "keypoints.csv").read_text().splitlines()) == 1 + 5 * 2 * len(STAMPS)


def test_a_video_that_cannot_be_opened_again_costs_no_result(lively_file, clips, tmp_path, monkeypatch, capsys):
    def vanished(path):
        raise UnreadableImageError("it is gone")

    monkeypatch.setattr(films, "open_video", vanished)
    assert infer(lively_file, clips / "a.mp4", tmp_path / "out") == 0
    assert "1 picture could not be written; the first: it is gone" in capsys.readouterr().err


def test_a_video_without_a_pose_has_none_and_only_the_reason_is_said(lively_file, clips, tmp_path, capsys):
    (tmp_path / "masks" / "a").mkdir(parents=True)
    for number in range(2):  # the video has more frames
        Image.new("L", (64, 64)).save(tmp_path / "masks" / "a" / f"{number}.png")
    options = ("--masks", tmp_path / "masks", "--out", tmp_path / "out", "--overlay", "--device", "cpu")
    assert ppl("refine", lively_file, clips / "a.mp4", *options) == 1
    said = capsys.readouterr().err
    assert "has 2 masks for its video" in said
    assert "could not be written" not in said


def test_a_trail_without_a_video_is_refused(lively_file, clips, tmp_path, capsys):
    assert ppl("infer", lively_file, clips, "--out", tmp_path / "out", "--trail", "3") == 2
    assert "--overlay" in capsys.readouterr().err
    Image.new("RGB", (64, 64)).save(tmp_path / "still.png")
    assert ppl("infer", lively_file, tmp_path / "still.png", "--out", tmp_path / "out", "--trail", "3", "--overlay") == 2
    assert "--trail is drawn in videos, and there is none" in capsys.readouterr().err
    for trail in (-1, 1.5):
        with pytest.raises(ppl_cli.UsageError, match="trail: expected a whole number of 0 or more"):
            Details(overlay=True, trail=trail)


def test_in_python_too(lively_file, clips, tmp_path):
    model = ppl_cli.load(lively_file, "cpu")
    poses = model.video(clips / "a.mp4", overlay=tmp_path / "drawn.mp4", trail=2, every=2)
    assert [pose.frame for pose in poses] == [0, 2, 4]
    assert look(tmp_path / "drawn.mp4")[0] == [0, 0.08, 0.24]
    with pytest.raises(UsageError, match="trail: it is drawn in the video of overlay"):
        model.video(clips / "a.mp4", trail=2)
    with pytest.raises(UsageError, match="the video itself"):
        model.video(clips / "a.mp4", overlay=clips / "a.mp4", overwrite=True)
    before = (tmp_path / "drawn.mp4").read_bytes()
    with pytest.raises(UsageError, match=r"drawn\.mp4 is there already: write to another file, or give overwrite=True"):
        model.video(clips / "a.mp4", overlay=tmp_path / "drawn.mp4")
    assert (tmp_path / "drawn.mp4").read_bytes() == before
    model.video(clips / "a.mp4", overlay=tmp_path / "drawn.mp4", overwrite=True, every=9)
    assert (tmp_path / "drawn.mp4").read_bytes() != before
    with pytest.raises(UsageError, match="whole number of 0 or more, got -2"):
        model.video(clips / "a.mp4", overlay=tmp_path / "drawn.mp4", overwrite=True, trail=-2)
