from fractions import Fraction

import av
import numpy as np
import pytest

from ppl_cli.data.video_images import EXACT
from ppl_cli.drawing import video
from ppl_cli.drawing.video import writing_video
from ppl_cli.errors import PPLError

PAL, NTSC = Fraction(25), Fraction(30000, 1001)


def written(path, stamps, size=(64, 48), tick=1 / PAL, rate=PAL):
    rng = np.random.default_rng(0)
    pictures = [np.kron(rng.integers(0, 256, (6, 8, 3)), np.ones((8, 8, 1))).astype(np.uint8) for _ in stamps]
    pictures = [np.resize(picture, (48, 64, 3))[: size[1], : size[0]] for picture in pictures]
    with writing_video(path, size, tick, rate) as add:
        for picture, stamp in zip(pictures, stamps, strict=True):
            add(picture, stamp)
    return pictures


def read(path):
    """Its stream's facts, and its frames."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = list(container.decode(stream))
        times = [frame.pts * stream.time_base for frame in frames]
        facts = (
            stream.codec_context.name,
            stream.codec_context.pix_fmt,
            stream.average_rate,
            stream.duration * stream.time_base,
        )
        return facts, times, [frame.to_ndarray(format="rgb24") for frame in frames]


def boxes(path):
    """The names of an MP4's outermost boxes, in order."""
    content, place, names = path.read_bytes(), 0, []
    while place < len(content):
        names.append(content[place + 4 : place + 8].decode())
        place += int.from_bytes(content[place : place + 4], "big")
    return names


@pytest.mark.parametrize(
    ("tick", "rate", "step"),
    [(1 / PAL, PAL, 1), (1 / NTSC, NTSC, 1), (Fraction(1, 90000), NTSC, 3003), (Fraction(1, 12800), PAL, 512)],
)
def test_size_rate_and_duration_are_those_asked_for(tmp_path, tick, rate, step):
    pictures = written(tmp_path / "a.mp4", [70 + step * number for number in range(12)], tick=tick, rate=rate)
    (codec, form, found, duration), times, frames = read(tmp_path / "a.mp4")
    assert (codec, form, found, duration) == ("h264", "yuv420p", rate, 12 / rate)
    assert times == [number / rate for number in range(12)]
    for picture, frame in zip(pictures, frames, strict=True):
        assert frame.shape == picture.shape
        assert np.abs(frame.astype(int) - picture).mean() < 12


def test_a_rate_that_varies_is_kept(tmp_path):
    """And the last frame is shown as long as the others on average."""
    written(tmp_path / "a.mp4", [500, 510, 600, 610, 900, 1500], tick=Fraction(1, 1000), rate=Fraction(20))
    (_, _, _, duration), times, _ = read(tmp_path / "a.mp4")
    assert times == [Fraction(time, 1000) for time in (0, 10, 100, 110, 400, 1000)]
    assert duration == Fraction(1200, 1000)


@pytest.mark.parametrize("size", [(63, 47), (63, 48), (64, 47), (1, 1)])
def test_an_odd_side_gets_one_more_pixel(tmp_path, size):
    (picture,) = written(tmp_path / "a.mp4", [0], size)
    frame = read(tmp_path / "a.mp4")[2][0]
    assert frame.shape == (size[1] + size[1] % 2, size[0] + size[0] % 2, 3)
    assert np.abs(frame[: size[1], : size[0]].astype(int) - picture).mean() < 12


def test_begins_before_it_is_loaded(tmp_path):
    written(tmp_path / "a.mp4", range(3))
    names = boxes(tmp_path / "a.mp4")
    assert names.index("moov") < names.index("mdat")


def test_says_which_colours_it_has(tmp_path):
    """Red and blue are not taken for those of another matrix, at any size."""
    flat = np.full((64, 64, 3), (200, 30, 60), np.uint8)
    with writing_video(tmp_path / "a.mp4", (64, 64), 1 / PAL, PAL) as add:
        add(flat, 0)
    with av.open(str(tmp_path / "a.mp4")) as container:
        frame = next(container.decode(video=0))
    assert (frame.colorspace, frame.color_primaries, frame.color_trc) == (1, 1, 1)
    assert np.abs(to_pixels(frame).astype(int) - flat).max() <= 2


def test_is_neither_darker_nor_brighter(tmp_path):
    grey = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 64, 0).repeat(3, -1)
    with writing_video(tmp_path / "a.mp4", (256, 64), 1 / PAL, PAL) as add:
        add(grey, 0)
    with av.open(str(tmp_path / "a.mp4")) as container:
        shown = to_pixels(next(container.decode(video=0)))
    assert abs((shown.astype(int) - grey).mean()) < 0.1


def to_pixels(frame):
    return frame.to_ndarray(format="rgb24", interpolation=EXACT)


@pytest.mark.parametrize("error", [KeyboardInterrupt, PPLError])
def test_an_interruption_leaves_what_was_there(tmp_path, error):
    (tmp_path / "a.mp4").write_text("before")

    def interrupted():
        with writing_video(tmp_path / "a.mp4", (64, 48), 1 / PAL, PAL) as add:
            add(np.zeros((48, 64, 3), np.uint8), 0)
            raise error

    with pytest.raises(error):
        interrupted()
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]
    assert (tmp_path / "a.mp4").read_text() == "before"


def test_without_a_frame_there_is_no_video(tmp_path):
    with pytest.raises(PPLError, match="no frame"):
        written(tmp_path / "a.mp4", [])
    assert not list(tmp_path.iterdir())


def test_without_an_encoder_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(video, "ENCODERS", {"libnothing": {}})
    with pytest.raises(PPLError, match="pip install"):
        written(tmp_path / "a.mp4", [0])
