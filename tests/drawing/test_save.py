"""Pictures as files: pixels come back as they were, animations last as long as they should."""

import io

import numpy as np
import pytest
from PIL import Image

from ppl_cli.drawing.save import encode_png, save_animation, save_jpeg, save_png
from ppl_cli.drawing.sheets import captioned, grid
from ppl_cli.errors import PPLError


def test_a_picture_comes_back_pixel_by_pixel_and_a_figure_as_a_picture(tmp_path):
    from matplotlib.figure import Figure

    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    save_png(tmp_path / "a.png", Image.fromarray(pixels))
    assert np.array_equal(np.asarray(Image.open(tmp_path / "a.png")), pixels)
    save_png(tmp_path / "b.png", Figure(figsize=(2, 1)))
    assert Image.open(tmp_path / "b.png").size == (220, 110)
    with pytest.raises(PPLError, match="cannot write"):
        save_png(tmp_path / "nowhere" / "c.png", Image.fromarray(pixels))


def test_a_jpeg_keeps_the_colours_of_small_dots(tmp_path):
    pixels = np.full((40, 40, 3), 90, np.uint8)
    pixels[18:22, 18:22] = dot = (240, 20, 160)
    save_jpeg(tmp_path / "a.jpg", Image.fromarray(pixels))
    kept = np.asarray(Image.open(tmp_path / "a.jpg")).astype(int)
    assert np.abs(kept[20, 20] - dot).max() < 30
    assert np.abs(kept - 90)[:10].max() < 4


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (333, 21)])
def test_png_of_any_size(size):
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    picture = Image.open(io.BytesIO(encode_png(pixels)))
    assert picture.mode == "RGB"
    assert np.array_equal(np.asarray(picture), pixels)


def test_the_last_frame_of_an_animation_stays_longest(tmp_path):
    save_animation(tmp_path / "a.gif", [Image.new("RGB", (8, 8), colour) for colour in ("red", "green", "blue")], 300)
    frames = Image.open(tmp_path / "a.gif")
    durations = []
    for number in range(frames.n_frames):
        frames.seek(number)
        durations.append(frames.info["duration"])
    assert durations == [300, 300, 2500]


def test_tiles_lie_row_by_row_and_captions_above():
    tiles = [Image.new("RGB", (10, 6), colour) for colour in ("red", "lime", "blue")]
    sheet = grid(tiles, 2, 4)
    assert sheet.size == (24, 16)
    assert [sheet.getpixel(place) for place in ((0, 0), (14, 0), (0, 10))] == [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    assert sheet.getpixel((11, 2)) == sheet.getpixel((20, 12)) == (255, 255, 255)
    titled = captioned(tiles[0], "k", 20, (1, 1), 12)
    assert titled.size == (10, 26)
    assert titled.getpixel((0, 20)) == (255, 0, 0)
    assert np.asarray(titled)[:20].min() < 128
