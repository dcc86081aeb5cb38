"""The clips that tests of videos read are what they claim to be: checked by decoding them from beginning to end."""

from contextlib import suppress

import av
import numpy as np
import pytest

from tests.clips import BROKEN, FRAMES, GOOD, NOTHING, draw_number, read_number, uneven_times


def decode(path):
    with av.open(path) as file:
        return [(frame, upright(frame, "mirrored" in path.name)) for frame in file.decode(video=0)]


def upright(frame: av.VideoFrame, mirrored: bool) -> np.ndarray:
    """FFmpeg gives the angle of a mirrored picture as if the other axis were mirrored."""
    pixels, turns = frame.to_ndarray(format="rgb24"), round(frame.rotation / 90)
    return np.fliplr(np.rot90(pixels, 2 - turns)) if mirrored else np.rot90(pixels, turns)


@pytest.mark.parametrize("number", [0, 1, 4095, 43210, 65535])
@pytest.mark.parametrize("size", [(64, 48), (63, 47), (12, 200)])
def test_a_number_is_read_as_it_was_drawn(number, size):
    assert read_number(draw_number(number, size)) == number


def test_two_frames_mixed_are_no_number():
    with pytest.raises(AssertionError, match="neither dark nor light"):
        read_number(draw_number(21, (64, 48)) // 2 + draw_number(42, (64, 48)) // 2)


@pytest.mark.parametrize("name", GOOD)
def test_good_clips_hold_their_frames(clips, name):
    frames = decode(clips / "good" / name)
    assert [read_number(picture) for _, picture in frames] == list(range(FRAMES))
    if "turned" in name:
        assert (frames[0][0].width, frames[0][0].height) == (48, 64)
    if "uneven" in name:
        assert [round(1000 * frame.time) for frame, _ in frames] == uneven_times()
    assert all(frame.interlaced_frame == ("interlaced" in name) for frame, _ in frames)


@pytest.mark.parametrize("name", BROKEN)
def test_broken_clips_hold_the_first_frames_or_none(clips, name):
    numbers = []
    with suppress(av.error.FFmpegError, IndexError, AssertionError), av.open(clips / "broken" / name) as file:
        for frame in file.decode(file.streams.video[0]):
            numbers.append(read_number(frame.to_ndarray(format="rgb24")))
    assert numbers[:6] == ([] if name in NOTHING else list(range(6)))
