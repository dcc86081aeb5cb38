"""Frames of videos by their numbers, read off the pictures themselves, and their times beside those of PyAV."""

import csv
import errno
import io
from contextlib import suppress
from functools import partial
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from ppl_cli.data.frame import Frame
from ppl_cli.data.video_images import to_image
from ppl_cli.data.videos import Reader, open_video
from ppl_cli.errors import UnreadableImageError
from tests.clips import (
    BROKEN,
    FRAMES,
    GOOD,
    IN_PART,
    NOTHING,
    RATE,
    SIZE,
    read_number,
    write_clip,
    write_pictures,
    write_truncated,
)
from tests.conftest import ppl

BACK_AND_FORTH = [23, 0, 12, 11, 13, 22, 9, 10, 1, 2, 20, 3]


def read_frames(path, numbers) -> list[Image.Image | None]:
    """None for a frame that cannot be decoded."""
    images = []
    with Reader(open_video(path)) as reader:
        for number in numbers:
            images.append(None)
            with suppress(UnreadableImageError):
                images[-1] = to_image(reader.read(number))
    return images


def read(path, numbers) -> list[int | None]:
    """The number in each picture."""
    return [image and read_number(image) for image in read_frames(path, numbers)]


def times_by_pyav(path) -> list[float]:
    with av.open(path) as file:
        return [float(frame.pts * frame.time_base) for frame in file.decode(video=0)]


@pytest.mark.parametrize("name", GOOD)
def test_frames_are_those_of_their_numbers_in_any_order(clips, name):
    path = clips / "good" / name
    assert len(open_video(path)) == FRAMES
    assert open_video(path).note is None
    assert read(path, range(FRAMES)) == list(range(FRAMES))
    assert read(path, BACK_AND_FORTH) == BACK_AND_FORTH


@pytest.mark.parametrize("name", GOOD)
def test_times_are_those_of_the_stream(clips, name):
    video = open_video(clips / "good" / name)
    times = times_by_pyav(video.path)
    assert np.allclose(video.times, times, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", GOOD)
def test_size_is_that_of_the_picture_as_displayed(clips, name):
    video = open_video(clips / "good" / name)
    (image,) = read_frames(video.path, [5])
    assert image.size == (video.width, video.height) == ((63, 47) if name.startswith("odd") else SIZE)


@pytest.mark.parametrize(("pixels", "darkest", "span"), [("yuv420p", 16, 219), ("yuvj420p", 0, 255), ("yuv444p", 16, 219)])
def test_colours_are_exact(pixels, darkest, span):
    for level in range(darkest, darkest + span + 1, 7):
        frame = av.VideoFrame(64, 48, pixels)
        for plane, value in zip(frame.planes, (level, 128, 128), strict=True):
            plane.update(bytes([value]) * plane.buffer_size)
        assert np.abs(np.asarray(to_image(frame)) - (level - darkest) * 255 / span).max() <= 0.51


def test_a_long_group_of_frames_is_jumped_over(tmp_path, monkeypatch):
    video = open_video(write_clip(tmp_path / "long.mp4", range(300)))
    decoded = []
    advance = Reader.advance
    monkeypatch.setattr(Reader, "advance", lambda reader: (advance(reader), decoded.append(reader.stamp)))
    with Reader(video) as reader:
        assert [read_number(to_image(reader.read(number))) for number in (3, 288, 120)] == [3, 288, 120]
    assert len(decoded) < 50


def test_there_is_no_frame_behind_the_last(clips):
    video = open_video(clips / "good" / "plain.mp4")
    with Reader(video) as reader, pytest.raises(UnreadableImageError, match="no such frame: the video has 24 frames"):
        reader.read(FRAMES)


@pytest.mark.parametrize("name", NOTHING)
def test_why_nothing_can_be_read(clips, name):
    with pytest.raises(UnreadableImageError) as raised:
        open_video(clips / "broken" / name)
    assert "\n" not in str(raised.value)


def test_each_broken_video_has_one_line_and_the_rest_goes_on(clips, lively_file, tmp_path, capsys):
    out = tmp_path / "out"
    assert ppl("infer", lively_file, clips / "broken", "--out", out, "--device", "cpu", "--format", "csv") == 0
    notes = [line.split(":")[1].strip() for line in capsys.readouterr().err.splitlines() if "was it cut off?" in line]
    assert notes == ["damaged.avi", "truncated.avi", "truncated.mkv", "truncated.mp4"]
    with (out / "skipped.csv").open() as file:
        skipped = [row["image"] for row in csv.DictReader(file)]
    assert sorted(name for name in skipped if "#" not in name) == sorted(NOTHING)
    assert {name.split("#")[0] for name in skipped} <= set(BROKEN) - {"growing.webm", "truncated.mkv"}


def test_a_video_that_may_not_be_read_is_one_of_those_left_out(tmp_path, monkeypatch):
    """Who runs the tests as root may read everything."""
    path, open_file = write_clip(tmp_path / "a.mp4"), Path.open

    def refuse(self, *arguments, **options):
        if self == path:
            raise PermissionError(errno.EACCES, "Permission denied")
        return open_file(self, *arguments, **options)

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(UnreadableImageError, match="cannot be read: Permission denied"):
        open_video(path)


@pytest.mark.parametrize("name", [name for name in IN_PART if not name.startswith("damaged")])
def test_what_is_missing_at_the_end_shifts_no_frame(clips, name):
    path = clips / "broken" / name
    numbers = list(range(len(open_video(path))))
    found = read(path, numbers)
    lost = [number for number, seen in zip(numbers, found, strict=True) if seen is None]
    assert len(lost) <= 3
    assert found == [None if number in lost else number for number in numbers]
    assert all(number >= len(numbers) - 3 for number in lost)
    assert read(path, numbers[::-1]) == found[::-1]


def test_damage_in_the_middle_shifts_no_frame_behind_it(clips):
    path, whole = clips / "broken" / "damaged.mp4", [*range(20), *range(40, 48)]
    assert len(open_video(path)) == 48
    assert read(path, whole) == whole
    assert read(path, whole[::-1]) == whole[::-1]


def test_frames_that_an_avi_lost_leave_one_numbering(clips):
    """Those behind the damage move up, and its note says that frames are missing; a jump finds the same ones."""
    path = clips / "broken" / "damaged.avi"
    numbers = list(range(len(open_video(path))))
    found = read(path, numbers)
    assert found == [*range(16), None, *range(24, 48)]
    assert read(path, numbers[::-1]) == found[::-1]


def test_an_avi_may_hold_frames_in_another_order_than_they_are_shown(tmp_path):
    for codec in ("libx264", "mpeg4"):
        path = write_clip(tmp_path / f"{codec}.avi", codec=codec, options={"bf": "2"})
        assert len(open_video(path)) == FRAMES
        assert read(path, range(FRAMES)) == list(range(FRAMES))
        assert read(path, BACK_AND_FORTH) == BACK_AND_FORTH
        assert np.allclose(np.diff(open_video(path).times), 1 / RATE)


def test_an_avi_with_moments_without_a_frame_is_not_cut_off(tmp_path):
    times = [1000 * at // RATE for at in (*range(10), *range(14, 24))]
    path = write_clip(tmp_path / "gaps.avi", range(20), times=times, codec="mjpeg")
    assert read(path, range(len(open_video(path))))[-1] == 19
    assert open_video(path).note is None


@pytest.mark.parametrize("content", [b"GIF89a" + bytes(300), b"RIFF" + bytes(4) + b"WEBP" + bytes(300)])
def test_pictures_that_are_called_videos_are_none(tmp_path, content):
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(UnreadableImageError, match=r"^not a video$"):
        open_video(tmp_path / "a.mp4")


def test_frames_of_another_size_are_read_at_their_own(clips):
    found = [image.size for image in read_frames(clips / "broken" / "growing.webm", range(FRAMES))]
    assert found == [SIZE] * (FRAMES // 2) + [(2 * SIZE[0], 2 * SIZE[1])] * (FRAMES // 2)


def test_a_file_that_changes_is_read_anew(tmp_path):
    path = tmp_path / "a.mp4"
    assert len(open_video(write_clip(path, range(5)))) == 5
    assert len(open_video(write_clip(path, range(7)))) == 7


def test_a_file_cut_off_is_named_in_a_note(tmp_path):
    assert "was it cut off?" in open_video(write_truncated(tmp_path / "cut.mp4")).note


def test_colours_are_those_that_another_decoder_finds(tmp_path):
    """Every frame of an MJPEG is a JPEG. Rounded downwards, it was 0.7 grey levels darker, which moved keypoints by a pixel."""
    noise = np.random.default_rng(0).integers(0, 100, (3, 12, 16, 3)).repeat(4, 1).repeat(4, 2).astype(np.uint8)
    path = write_pictures(tmp_path / "a.avi", noise)
    with av.open(path) as file:
        jpegs = [bytes(packet) for packet in file.demux(video=0) if packet.size]
    for image, jpeg in zip(read_frames(path, range(3)), jpegs, strict=True):
        away = np.asarray(image).astype(int) - np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB"))
        assert abs(away.mean()) < 0.25


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("resize", ["letterbox", "squash"])
def test_a_frame_at_the_size_of_the_network_is_what_it_would_be_resized_to(clips, name, resize):
    """Turned as displayed. An interlaced one, and one that is smaller than the network's square, stay as they are."""
    with Reader(open_video(clips / "good" / name)) as reader:
        frame = reader.read(2)
    whole = to_image(frame)
    for side in (16, 200):
        fit = partial(Frame, size=side, resize=resize)
        small, frame_ = to_image(frame, fit), fit(*whole.size)
        assert small.size == (frame_.inner if side == 16 and not frame.interlaced_frame else whole.size)
        assert np.abs(frame_.apply_image(whole).astype(int) - frame_.apply_image(small)).mean() < 1
