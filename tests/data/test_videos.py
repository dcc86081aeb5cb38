"""Frames of videos as pictures."""

import io

import av
import numpy as np
from PIL import Image

from ppl_cli.data.videos import read_frames
from tests.clips import write_pictures


def test_colours_are_those_that_another_decoder_finds(tmp_path):
    """Every frame of an MJPEG is a JPEG. Rounded downwards, it was 0.7 grey levels darker, which moved keypoints by a pixel."""
    noise = np.random.default_rng(0).integers(0, 100, (3, 12, 16, 3)).repeat(4, 1).repeat(4, 2).astype(np.uint8)
    path = write_pictures(tmp_path / "a.avi", noise)
    with av.open(path) as file:
        jpegs = [bytes(packet) for packet in file.demux(video=0) if packet.size]
    for (_, image), jpeg in zip(read_frames(path, range(3)), jpegs, strict=True):
        away = np.asarray(image).astype(int) - np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB"))
        assert abs(away.mean()) < 0.25
