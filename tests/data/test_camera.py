"""A moving camera is told from a still one by what stands still."""

import numpy as np
import pytest
from PIL import Image

from ppl_cli.config.sections import DataConfig
from ppl_cli.data.camera import moves
from tests.training_images import open_dataset


def film(folder, frames: int, pan: int, seed: int) -> None:
    """A bright animal that walks before a landscape, of which the camera shows another part in every frame."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(seed)
    noise = random.integers(0, 256, (8, 30), dtype=np.uint8)
    scene = np.asarray(Image.fromarray(noise).resize((600, 90), Image.Resampling.BICUBIC))
    for frame in range(frames):
        picture = scene[:, pan * frame : pan * frame + 160].astype(int) + random.integers(-3, 4, (90, 160))
        left = 20 + 3 * (frame % 30)
        picture[30:60, left : left + 40] = 250
        Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(folder / f"{frame:03}.png")


@pytest.mark.parametrize(("pans", "moving"), [((0,), False), ((6,), True), ((0, 0, 6), False), ((6, 0, 6), True)])
@pytest.mark.parametrize("cache", [4, 0])
def test_what_most_videos_do(tmp_path, pans, moving, cache):
    for number, pan in enumerate(pans):
        film(tmp_path / str(number), 40, pan, number)
    assert moves(open_dataset(DataConfig(kind="video_frames", path=str(tmp_path), cache_gib=cache), 32, 0)) == moving


def test_a_still_picture_does_not_move(tmp_path):
    (tmp_path / "a").mkdir()
    for frame in range(3):
        Image.new("RGB", (30, 20), (128, 128, 128)).save(tmp_path / "a" / f"{frame}.png")
    assert not moves(open_dataset(DataConfig(kind="video_frames", path=str(tmp_path)), 32, 0))


def test_single_images_beside_a_video_do_not_count(tmp_path):
    film(tmp_path / "a09, a film among them", 40, 6, 0)
    for number in range(30):
        film(tmp_path / f"a{number:02}", 1, 0, number)
    assert moves(open_dataset(DataConfig(kind="video_frames", path=str(tmp_path)), 32, 0))
